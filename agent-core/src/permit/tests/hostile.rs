//! Texts that are made to break a reader, or broken by accident.

use super::*;
use proptest::prelude::*;
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Reads texts on a thread with a stack as small as any thread's of the daemon, and gives up after a minute.
fn survive(texts: Vec<String>) {
    let (done, finished) = mpsc::channel();
    let reader = thread::Builder::new().stack_size(512 << 10).spawn(move || {
        for text in texts {
            let begun = Instant::now();
            _ = parse(&text, ServeMode::Auto).map(|parsed| Permit::succeeding(&Permit::default(), parsed));
            done.send((text.chars().take(20).collect::<String>(), begun.elapsed())).unwrap();
        }
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match finished.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(_) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("still reading after a minute"),
        }
    }
    reader.unwrap().join().unwrap();
}

#[test]
fn endless_repetition_ends() {
    let units = [
        "[", "{", "- ", "? ", "{a: ", "[{a: ", "- - ", "a: [", "!!x ", "!", "&a ", "&a [", "*a ", "\"", "%", "|\n",
        "a: b: ", "#", "' ", " ", "\n", "\t", "---\n", "- a\n", "\"\\n", "a b\n", "- &a x\n", "- *a\n", ",", "]", "}",
        ":", "\u{feff}", "\0",
    ];
    survive(units.iter().map(|unit| unit.repeat((128 << 10) / unit.len())).collect());
}

#[test]
fn nesting_beyond_64_levels_is_refused() {
    let block: String = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    for text in [block, "[".repeat(100_000), "{a: ".repeat(100_000)] {
        let problem = rejected(&text);
        assert!(problem.contains("nested more than 64 levels deep"), "{problem}");
    }
    // Aliases nest a value deeper than the text is.
    let chain: String = (1..100_000).map(|i| format!("a{i}: &a{i} [*a{}]\n", i - 1)).collect();
    assert!(rejected(&format!("a0: &a0 x\n{chain}")).contains("nested more than 64 levels deep"));
}

#[test]
fn a_bomb_of_aliases_does_not_go_off() {
    let level = |i: usize| format!("a{i}: &a{i} [{}]\n", format!("*a{},", i - 1).repeat(9));
    let bomb: String = std::iter::once("a0: &a0 [x]\n".to_owned()).chain((1..60).map(level)).collect();
    good(&format!("kind: KubeVirt\n{bomb}"));
    let entries = "  - *x\n".repeat(10_000);
    let text = format!(
        "permittedHostDevices:\n  pciHostDevices:\n  - &x {{pciVendorSelector: '10de:1eb8', resourceName: a.b/c}}\n{entries}"
    );
    assert_eq!(good(&text).permit.resources().len(), 1);
}

#[test]
fn a_document_beyond_the_limit_is_refused() {
    assert!(rejected(&"#".repeat(DOCUMENT_MAX + 1)).contains("is longer than 4194304 bytes"));
}

#[test]
fn what_is_no_text_is_refused_with_its_place() {
    assert_eq!(decode("ä: 1\n".as_bytes()), Ok("ä: 1\n"));
    let problem = decode(b"a: 1\n\xc3\xa4: \xff").unwrap_err();
    assert_eq!(problem.at, Position { line: 2, column: 4 });
}

/// Pieces of documents, so that random texts reach further than the scanner.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "permittedHostDevices",
        "configuration",
        "pciHostDevices",
        "mediatedDevices",
        "usb",
        "pciVendorSelector",
        "mdevNameSelector",
        "resourceName",
        "externalResourceProvider",
        "envAliases",
        "envNames",
        "preStart",
        "releaseWait",
        "kind",
        "KubeVirt",
        "List",
        "items",
        "spec",
        "selectors",
        "10de:1eb8",
        "nvidia.com/T4",
        "true",
        "20s",
        "<<",
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!str ",
        "|\n",
        "#",
        "---\n",
        "\t",
        "\r\n",
        "null",
        "~",
        "ü",
        "\0",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Every finding has a place that exists, and an excerpt that can be shown.
fn check_findings(text: &str) {
    let findings = match parse(text, ServeMode::Auto) {
        Ok(parsed) => {
            let after = Permit::succeeding(&parsed.permit, parsed.clone());
            assert!(Permit::diff(&parsed.permit, &after.permit).is_empty(), "{text:?}");
            [parsed.problems, parsed.notices].concat()
        }
        Err(problem) => vec![problem],
    };
    for finding in findings {
        assert!(
            finding.at >= Position::START && finding.at.line <= text.split(['\n', '\r']).count() + 1,
            "{finding:?}"
        );
        assert!(!finding.what.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
        _ = finding.excerpt(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        check_findings(&text);
    }

    #[test]
    fn any_mixture_of_pieces_is_survived(text in pieces()) {
        check_findings(&text);
    }

    #[test]
    fn a_document_cut_or_changed_anywhere_is_survived(cut in 0..SEED.len(), insert in ".{0,3}", drop in 0..20usize) {
        let rest = SEED.get(cut + drop..).unwrap_or_default();
        check_findings(&format!("{}{insert}{rest}", &SEED[..cut]));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(problem) = decode(&bytes) {
            prop_assert!(problem.at >= Position::START);
        }
    }
}
