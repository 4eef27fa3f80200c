//! The client of the API server, and what its errors mean.

use super::{pause::Why, reporter::is_worth_another_try};
use kube::{Client, Config, Error};
use std::time::Duration;

/// How long a connection may take to come about: beyond it the server is away.
const CONNECT: Duration = Duration::from_secs(3);

/// Why the API server could not be asked, or did not answer as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Of which kind it is.
    pub(super) why: Why,
    /// In words, with the remedy.
    pub(super) text: String,
    /// Whether the same would be refused again.
    pub(super) is_final: bool,
}

impl Failure {
    /// Nobody answered.
    pub(super) fn unreached(text: impl Into<String>) -> Self {
        Self { why: Why::Unreached, text: text.into(), is_final: false }
    }

    /// What `doing` it has met.
    pub(super) fn of(doing: &str, error: &Error) -> Self {
        let Error::Api(status) = error else {
            return Self::unreached(format!("the API server cannot be reached to {doing}: {}", innermost(error)));
        };
        let said = if status.message.is_empty() { &status.reason } else { &status.message };
        let hint = match status.code {
            401 => {
                "; vfiod's credentials are not accepted: see that its service account has a token, or that KUBECONFIG is right"
            }
            403 => "; vfiod's service account lacks the right: docs/KUBEVIRT.md lists those that it needs",
            404 => "; is KubeVirt installed?",
            _ => "",
        };
        let text = format!("the API server refused to {doing} ({}: {said}){hint}", status.code);
        Self { why: Why::Refused, text, is_final: !is_worth_another_try(status.code) }
    }
}

/// A client as the environment configures it: `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
///
/// It is made anew after each failure, so that a new token, certificate or address is found.
pub(super) async fn connect() -> Result<Client, Failure> {
    let unconfigured = |error: &dyn std::error::Error| Failure {
        why: Why::Refused,
        text: format!(
            "there is no access to an API server: {error}; run vfiod in a pod with a service account, or set KUBECONFIG"
        ),
        is_final: false,
    };
    let mut config = Config::infer().await.map_err(|error| unconfigured(&error))?;
    config.connect_timeout = Some(CONNECT);
    // Who waits, and how long, is decided here: see `pause`.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| unconfigured(&error))
}

/// The outer errors say that something failed, the innermost what.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Whether the resource version is too old to watch from.
pub(super) fn is_expired(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 410)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16, message: &str) -> Failure {
        Failure::of("list the KubeVirt CRs", &Error::Api(Status::failure(message, "Reason").with_code(code).boxed()))
    }

    #[test]
    fn a_refusal_names_code_reason_and_remedy() {
        let forbidden = api(403, "kubevirts.kubevirt.io is forbidden");
        assert!(forbidden.text.contains("403: kubevirts.kubevirt.io is forbidden"), "{}", forbidden.text);
        assert!(forbidden.text.contains("docs/KUBEVIRT.md") && forbidden.why == Why::Refused);
        assert!(api(401, "Unauthorized").text.contains("KUBECONFIG"));
        assert!(api(404, "").text.contains("404: Reason"));
    }

    #[test]
    fn what_nobody_answered_is_told_by_its_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let failure = Failure::of("list the KubeVirt CRs", &Error::Service(Box::new(refused)));
        assert!(failure.text.contains("connection refused") && failure.why == Why::Unreached, "{}", failure.text);
    }
}
