//! `docs/METRICS.md` says what the code defines. `VFIOD_RECORD=1 cargo test -p vfiod --test metrics_document` writes it anew.

use std::{env, fs, path::Path};

#[test]
fn the_document_lists_the_metrics_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let document = vfiod::admin::metrics::document();
    if env::var_os("VFIOD_RECORD").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == document,
        "docs/METRICS.md is not what the code says; write it anew with \
         `VFIOD_RECORD=1 cargo test -p vfiod --test metrics_document`"
    );
}
