//! Which KubeVirt CR is the source (`--kubevirt`).

use std::{fmt, str::FromStr};

/// Which KubeVirt CR is the source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CrName {
    /// The only one in the cluster.
    #[default]
    Only,
    /// The one of this name.
    Named {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// What stands for [`CrName::Only`] where a value must be given.
const ONLY: &str = "only";

impl CrName {
    /// Whether `namespace/name` is, or may be, the source.
    #[must_use]
    pub fn allows(&self, other_namespace: &str, other_name: &str) -> bool {
        match self {
            Self::Only => true,
            Self::Named { namespace, name } => namespace == other_namespace && name == other_name,
        }
    }
}

impl FromStr for CrName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == ONLY {
            return Ok(Self::Only);
        }
        // RFC 1123: what Kubernetes takes for the name of a namespace and of an object.
        let good = |part: &str| {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.len() <= 253
                && part.starts_with(letter)
                && part.ends_with(letter)
                && part.chars().all(|c| letter(c) || matches!(c, '-' | '.'))
        };
        match text.split_once('/') {
            Some((namespace, name)) if good(namespace) && good(name) => {
                Ok(Self::Named { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => {
                Err(format!("write NAMESPACE/NAME, as in kubevirt/kubevirt, or {ONLY} for the only one of the cluster"))
            }
        }
    }
}

impl fmt::Display for CrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the only KubeVirt CR of the cluster"),
            Self::Named { namespace, name } => write!(f, "KubeVirt {namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_namespace_and_a_name() {
        let named = CrName::Named { namespace: "kubevirt".into(), name: "kv-1.a".into() };
        assert_eq!("kubevirt/kv-1.a".parse(), Ok(named.clone()));
        assert_eq!("only".parse(), Ok(CrName::Only));
        assert!(named.allows("kubevirt", "kv-1.a") && !named.allows("kubevirt", "other"));
        assert!(CrName::Only.allows("a", "b"));
    }

    #[test]
    fn anything_else_is_told_with_what_would_be_right() {
        for text in ["", "kubevirt", "/kubevirt", "kubevirt/", "a/b/c", "A/b", "a b/c", "any", "-a/b"] {
            let error = text.parse::<CrName>().unwrap_err();
            assert!(error.contains("kubevirt/kubevirt"), "{text:?}: {error}");
        }
    }
}
