//! Properties over generated connections.

use super::{
    conversation, pass,
    writer::{HEADERS, Memory, Name, Request, frame, opening},
};
use proptest::{collection::vec, prelude::*, sample::select};

/// What should come out for an authority: the table of `text.rs`, over a whole string.
fn instead(authority: &str) -> String {
    let zone = authority.starts_with('[');
    authority
        .chars()
        .map(|character| match character {
            '/' => '3',
            '%' if !zone => '.',
            ' ' if !zone => '-',
            other => other,
        })
        .collect()
}

fn authority() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9._-]{1,20}",
        "(/[a-z0-9._-]{0,9}){1,9}",
        "[a-z]{0,3}(%2F[a-z0-9._-]{0,9}){1,9}",
        "\\[[a-f0-9:/ ]{1,7}(%25[a-z0-9]{1,4})?\\](:[0-9]{1,5})?",
        "[/%3. -]{0,12}",
        "[ -_a-~]{0,40}",
        "(/[a-z]{1,3}){60,90}",
    ]
}

/// Authorities with everything that RFC 3986 and RFC 9113 let them have: name or address with its zone, port.
fn accepted() -> impl Strategy<Value = String> {
    "([a-zA-Z0-9._~!$&'()*+,;=-]{1,20}|\\[[a-f0-9:]{1,7}(%25[a-z0-9]{1,4})?\\])(:[0-9]{1,5})?"
}

/// Everything of a request but its authority.
fn shape() -> impl Strategy<Value = Request<'static>> {
    let fields = select(vec![("user-agent", "grpc-go/1.47.0"), ("te", "trailers"), ("x", "/%/ /"), ("y", "")]);
    (
        any::<bool>(),
        select(vec![Name::Static, Name::Raw, Name::Huffman]),
        select(vec![Memory::Indexed, Memory::NotIndexed, Memory::NeverIndexed]),
        vec(fields, 0..4),
        any::<Option<u8>>(),
        any::<bool>(),
        vec(any::<usize>(), 0..4),
    )
        .prop_map(|(huffman, name, memory, others, padding, priority, cuts)| Request {
            authority: "",
            huffman,
            name,
            memory,
            others,
            padding,
            priority,
            cuts,
        })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..4_usize, 0..200), vec(0..90_usize, 0..30)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn exactly_the_paths_are_exchanged(
        requests in vec((authority(), shape()), 1..5),
        pieces in pieces(),
    ) {
        let sent: Vec<_> =
            requests.iter().map(|(authority, shape)| Request { authority, ..shape.clone() }).collect();
        // If the first request is sound, the connection is left alone.
        let sound = instead(&requests[0].0) == requests[0].0;
        let authorities: Vec<_> =
            requests.iter().map(|(authority, _)| if sound { authority.clone() } else { instead(authority) }).collect();
        let expected: Vec<_> =
            requests.iter().zip(&authorities).map(|((_, shape), authority)| Request { authority, ..shape.clone() }).collect();
        prop_assert_eq!(pass(&conversation(&sent), &pieces), conversation(&expected));
    }

    #[test]
    fn what_a_server_accepts_as_authority_is_left_alone(authority in accepted(), shape in shape()) {
        prop_assert!(authority.parse::<http::uri::Authority>().is_ok(), "{}", authority);
        let sent = conversation(&[Request { authority: &authority, ..shape }]);
        prop_assert_eq!(pass(&sent, &[]), sent);
    }

    #[test]
    fn a_path_of_ordinary_characters_becomes_what_a_server_accepts(path in "(/[a-zA-Z0-9._ %-]{1,9}){1,9}") {
        prop_assert!(instead(&path).parse::<http::uri::Authority>().is_ok());
    }

    #[test]
    fn bytes_that_are_no_http2_are_left_alone(bytes in vec(any::<u8>(), 0..300), pieces in pieces()) {
        prop_assert_eq!(pass(&bytes, &pieces), bytes);
    }

    #[test]
    fn frames_other_than_headers_are_left_alone(
        frames in vec((any::<u8>(), any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..100)), 0..20),
        pieces in pieces(),
    ) {
        let mut bytes = opening();
        for (kind, flags, stream, payload) in frames {
            if kind != HEADERS {
                frame(kind, flags, stream, &payload, &mut bytes);
            }
        }
        prop_assert_eq!(pass(&bytes, &pieces), bytes);
    }

    #[test]
    fn garbage_in_frames_comes_out_the_same_however_it_is_cut_and_is_exchanged_only_once(
        frames in vec((select(vec![0, 1, 1, 1, 9]), any::<u8>(), vec(any::<u8>(), 0..60)), 0..20),
        pieces in pieces(),
    ) {
        let mut bytes = opening();
        for (kind, flags, payload) in frames {
            frame(kind, flags, 1, &payload, &mut bytes);
        }
        let out = pass(&bytes, &[]);
        prop_assert_eq!(out.len(), bytes.len());
        prop_assert_eq!(&pass(&bytes, &pieces), &out);
        prop_assert_eq!(&pass(&out, &pieces), &out);
    }
}
