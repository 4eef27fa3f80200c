//! The name of a resource, as the kubelet accepts it.

use std::{fmt, str::FromStr, sync::Arc};

/// An extended resource name such as `nvidia.com/TU104GL_Tesla_T4`. Cloning is cheap.
///
/// Holds only what the kubelet's registration accepts (Kubernetes: `IsExtendedResourceName` in
/// `pkg/apis/core/v1/helper/helpers.go`, called from `pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

/// Why the kubelet would refuse a resource name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseResourceNameError {
    /// There is no `/`: such names are Kubernetes' own.
    #[error("it has no /")]
    NoDomain,
    /// There is more than one `/`.
    #[error("it has more than one /")]
    TwoSlashes,
    /// It holds `kubernetes.io/`.
    #[error("names with kubernetes.io/ belong to Kubernetes")]
    Native,
    /// It begins with `requests.`.
    #[error("it begins with requests., which quotas use")]
    Quota,
    /// The part before `/` is not a DNS subdomain.
    #[error("the part before / is not a DNS subdomain (lower-case letters, digits, - and .)")]
    Domain,
    /// The part before `/` is longer than 244 characters: with `requests.` before it, it must fit in 253.
    #[error("the part before / is longer than 244 characters")]
    DomainLength,
    /// The part after `/` holds what it must not.
    #[error("the part after / must be letters, digits, -, _ and ., with a letter or a digit at both ends")]
    Name,
    /// The part after `/` is longer than 63 characters.
    #[error("the part after / is longer than 63 characters")]
    NameLength,
}

/// The kubelet checks the name with this before it, because quotas are named so.
const QUOTA_PREFIX: &str = "requests.";
/// Kubernetes: `DNS1123SubdomainMaxLength`.
const DOMAIN_MAX: usize = 253 - QUOTA_PREFIX.len();
/// Kubernetes: `qualifiedNameMaxLength`.
const NAME_MAX: usize = 63;

impl ResourceName {
    /// The name, shared without a copy.
    #[must_use]
    pub const fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts before and after the `/`.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or(("", &self.0))
    }
}

impl FromStr for ResourceName {
    type Err = ParseResourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use ParseResourceNameError as E;
        let (domain, name) = text.split_once('/').ok_or(E::NoDomain)?;
        if text.contains("kubernetes.io/") {
            return Err(E::Native);
        }
        if text.starts_with(QUOTA_PREFIX) {
            return Err(E::Quota);
        }
        if name.contains('/') {
            return Err(E::TwoSlashes);
        }
        if domain.len() > DOMAIN_MAX {
            return Err(E::DomainLength);
        }
        if !domain.split('.').all(is_dns_label) {
            return Err(E::Domain);
        }
        if name.len() > NAME_MAX {
            return Err(E::NameLength);
        }
        if !is_name(name) {
            return Err(E::Name);
        }
        Ok(Self(text.into()))
    }
}

/// One label of `IsDNS1123Subdomain`. As there, the length of a single label is not limited.
fn is_dns_label(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(|b| plain(*b))
        && bytes.last().is_some_and(|b| plain(*b))
        && bytes.iter().all(|b| plain(*b) || *b == b'-')
}

/// The name part of `IsQualifiedName`.
fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl AsRef<str> for ResourceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ResourceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{ParseResourceNameError as E, *};
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ResourceName, E> {
        text.parse()
    }

    #[test]
    fn names_of_the_field_are_accepted() {
        let longest = format!("{}/{}", "d".repeat(244), "n".repeat(63));
        for text in ["nvidia.com/TU104GL_Tesla_T4", "intel.com/qat", "nvidia.com/GRID_T4-1Q", "a/b", "1.2/3", &longest]
        {
            assert_eq!(parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_the_kubelet_refuses_is_refused_with_its_reason() {
        let long_domain = format!("{}/x", "d".repeat(245));
        let long_name = format!("a.com/{}", "n".repeat(64));
        for (text, why) in [
            ("", E::NoDomain),
            ("cpu", E::NoDomain),
            ("kubernetes.io/gpu", E::Native),
            ("my.kubernetes.io/gpu", E::Native),
            ("requests.nvidia.com/gpu", E::Quota),
            ("nvidia.com/gpu/0", E::TwoSlashes),
            ("/gpu", E::Domain),
            ("NVIDIA.com/gpu", E::Domain),
            ("nvidia..com/gpu", E::Domain),
            ("-nvidia.com/gpu", E::Domain),
            ("nvidia_com/gpu", E::Domain),
            (".com/gpu", E::Domain),
            ("nvidia.com/", E::Name),
            ("nvidia.com/-gpu", E::Name),
            ("nvidia.com/gpu_", E::Name),
            ("nvidia.com/GRID T4-1Q", E::Name),
            ("nvidia.com/gpü", E::Name),
            (&long_domain, E::DomainLength),
            (&long_name, E::NameLength),
        ] {
            assert_eq!(parse(text), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn the_parts_make_the_whole(text in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}/[A-Za-z0-9]([-_.A-Za-z0-9]{0,20}[A-Za-z0-9])?") {
            if let Ok(name) = parse(&text) {
                let (domain, rest) = name.parts();
                prop_assert_eq!(format!("{domain}/{rest}"), text);
            }
        }
    }
}
