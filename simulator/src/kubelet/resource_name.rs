//! Which resource names a kubelet takes.

/// The longest DNS subdomain, in bytes (`k8s.io/apimachinery` `validation.DNS1123SubdomainMaxLength`).
const MAX_PREFIX: usize = 253;
/// The longest name part of a qualified name, in bytes (`validation.qualifiedNameMaxLength`).
const MAX_NAME: usize = 63;
/// What a quota puts before an extended resource (`k8s.io/api` `DefaultResourceRequestsPrefix`).
const QUOTA_PREFIX: &str = "requests.";

/// Whether the kubelet accepts a plugin for this resource name: it has a `/`, is not in `kubernetes.io/`, does not
/// begin with `requests.`, and is a qualified name even with that prefix
/// (`pkg/apis/core/v1/helper/helpers.go`, `IsExtendedResourceName`).
pub fn is_extended_resource_name(name: &str) -> bool {
    if !name.contains('/') || name.contains("kubernetes.io/") || name.starts_with(QUOTA_PREFIX) {
        return false;
    }
    match format!("{QUOTA_PREFIX}{name}").split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => false,
    }
}

/// `k8s.io/apimachinery/pkg/util/validation/validation.go`, `IsDNS1123Subdomain`.
fn is_dns_subdomain(prefix: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    prefix.len() <= MAX_PREFIX
        && prefix
            .split('.')
            .all(|label| label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-'))
}

/// `k8s.io/apimachinery/pkg/util/validation/validation.go`, `IsQualifiedName`, the part after the `/`.
fn is_name_part(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    name.len() <= MAX_NAME
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::is_extended_resource_name;

    #[test]
    fn names_of_real_resources_are_accepted() {
        for name in ["nvidia.com/TU104GL_Tesla_T4", "intel.com/qat", "nvidia.com/GRID_T4-1Q", "a/b"] {
            assert!(is_extended_resource_name(name), "{name}");
        }
    }

    #[test]
    fn names_outside_the_rules_are_refused() {
        let long = format!("intel.com/{}", "q".repeat(64));
        let long_prefix = format!("{}/q", ["a"; 124].join("."));
        for name in [
            "",
            "qat",
            "intel.com/",
            "/qat",
            "Intel.com/qat",
            "intel.com/qat/2",
            "intel..com/qat",
            "intel.com/-qat",
            "intel.com/q at",
            "kubernetes.io/qat",
            "x.kubernetes.io/qat",
            "requests.intel.com/qat",
            &long,
            &long_prefix,
        ] {
            assert!(!is_extended_resource_name(name), "{name}");
        }
    }
}
