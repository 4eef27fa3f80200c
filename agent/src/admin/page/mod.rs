//! The page: one file, that shows what it is told by `/events`.

use prost::bytes::Bytes;
use serde::Serialize;
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
};
use vfiod_proto::status::{Row, Summary, Update};

/// The whole page. `NONCE` stands where each answer puts its own.
const PAGE: &str = include_str!("index.html");
const NONCE: &str = "{{nonce}}";

/// What `/status` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    api_version: &'static str,
    kind: &'static str,
    summary: Option<&'a Summary>,
    devices: Vec<&'a Row>,
}

/// The page, and the policy under which a browser runs its script and its style and nothing else
/// (Content Security Policy Level 3).
pub(super) fn page() -> (String, String) {
    let nonce = nonce();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    (PAGE.replace(NONCE, &nonce), policy)
}

/// Something that nobody guesses: the keys of `RandomState` are the system's random numbers.
fn nonce() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// Everything as one document.
pub(super) fn status(parts: &[Arc<Update>]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Status {
        api_version: "vfiod.dev/v1",
        kind: "NodeStatus",
        summary: parts.first().and_then(|part| part.summary.as_ref()),
        devices: parts.iter().flat_map(|part| &part.rows).collect(),
    })
}

/// One update as a server-sent event.
pub(super) fn event(update: &Update) -> Bytes {
    let mut event = b"data: ".to_vec();
    // Writing such a message to memory does not fail; if it did, the page would wait for the next one.
    let _ = serde_json::to_writer(&mut event, update);
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for elsewhere in ["http://", "https://", "src=", "@import", "url(", "<link", "innerHTML"] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn every_answer_has_a_nonce_of_its_own() {
        let ((page, policy), (other, _)) = (page(), page());
        assert!(!page.contains(NONCE));
        assert_ne!(page, other);
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(nonce.len(), 32);
        assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2, "the style and the script");
    }
}
