//! What passes as it is.

use super::{
    super::frames::Frames,
    PATH, conversation, pass,
    writer::{
        CONTINUATION, DATA, END_HEADERS, HEADERS, Name, PADDED, Request, SETTINGS, frame, integer, opening, text,
    },
};

fn assert_untouched(bytes: &[u8]) {
    assert_eq!(pass(bytes, &[]), bytes);
    assert_eq!(pass(bytes, &vec![1; bytes.len()]), bytes);
}

/// A connection whose first block is `block`, and then a request with a path.
fn after(block: &[u8]) -> Vec<u8> {
    let mut bytes = opening();
    frame(HEADERS, END_HEADERS, 1, block, &mut bytes);
    Request::new(PATH).write(3, &mut bytes);
    bytes
}

#[test]
fn a_sound_authority_and_everything_after_it() {
    for authority in ["localhost", "[fe80::1%25eth0]:443", "[::1]", "node-1.example.org:8443", ""] {
        for request in [Request::new(authority), Request::new(authority).huffman()] {
            assert_untouched(&conversation(&[request, Request::new(PATH)]));
        }
    }
}

#[test]
fn nothing_is_looked_at_any_more_once_the_first_request_was_sound() {
    let mut frames = Frames::new();
    let mut request = opening();
    Request::new("localhost").write(1, &mut request);
    let last = request.pop().unwrap();
    frames.pass(&mut request);
    assert!(frames.watching(), "the request is not complete");
    frames.pass(&mut [last]);
    assert!(!frames.watching());
}

#[test]
fn a_client_with_a_path_stays_under_watch() {
    let mut frames = Frames::new();
    assert!(frames.pass(&mut conversation(&[Request::new(PATH), Request::new("localhost")])));
    assert!(frames.watching());
}

#[test]
fn slashes_in_other_fields() {
    let others = vec![("x-path", "/etc/passwd"), ("content-type", "application/grpc"), (":authorit", "/a"), ("x", "")];
    let request = Request { others: others.clone(), ..Request::new("localhost") };
    assert_untouched(&conversation(&[request]));
    // Also in a connection that has something to exchange.
    let request = Request { others, ..Request::new(PATH) };
    let expected = Request { authority: super::INSTEAD, ..request.clone() };
    assert_eq!(pass(&conversation(&[request]), &[]), conversation(&[expected]));
}

#[test]
fn names_that_only_resemble_authority() {
    for name in [":authorit", ":authority2", "authority", ":Authority", ":authoritz"] {
        for huffman in [false, true] {
            let mut block = vec![0x83, 0x00];
            text(name, huffman, &mut block);
            text(PATH, huffman, &mut block);
            assert_untouched(&after(&block));
        }
    }
}

#[test]
fn what_is_not_http2() {
    assert_untouched(b"GET /v1/devices HTTP/1.1\r\nHost: /var/lib\r\n\r\n");
    assert_untouched(b"");
    let mut almost = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!".to_vec();
    almost.extend(&conversation(&[Request::new(PATH)]));
    assert_untouched(&almost);
}

#[test]
fn frames_in_an_order_that_http2_forbids() {
    let mut lone = opening();
    frame(CONTINUATION, END_HEADERS, 1, &Request::new(PATH).block(), &mut lone);
    Request::new(PATH).write(1, &mut lone);
    assert_untouched(&lone);
    for between in [DATA, HEADERS, SETTINGS] {
        let mut torn = opening();
        frame(HEADERS, 0, 1, &[0x83], &mut torn);
        frame(between, 0, 1, &[], &mut torn);
        frame(CONTINUATION, END_HEADERS, 1, &Request::new(PATH).block(), &mut torn);
        assert_untouched(&torn);
    }
}

#[test]
fn padding_that_is_longer_than_its_frame() {
    let mut bytes = opening();
    let mut payload = vec![200];
    payload.extend(Request::new(PATH).block());
    frame(HEADERS, END_HEADERS | PADDED, 1, &payload, &mut bytes);
    Request::new(PATH).write(3, &mut bytes);
    assert_untouched(&bytes);
    let mut bytes = opening();
    frame(HEADERS, END_HEADERS | PADDED, 1, &[], &mut bytes);
    Request::new(PATH).write(3, &mut bytes);
    assert_untouched(&bytes);
}

#[test]
fn a_block_that_breaks_off() {
    let block = Request::new("localhost").named(Name::Raw).block();
    for length in 0..block.len() {
        assert_untouched(&after(&block[..length]));
    }
}

#[test]
fn an_integer_without_end() {
    let mut block = vec![0xff];
    block.extend([0xff; 20]);
    block.extend(Request::new(PATH).block());
    assert_untouched(&after(&block));
}

#[test]
fn a_string_of_four_gigabytes_that_is_not_there() {
    let mut block = vec![0x41];
    integer(0x0fff_ffff, 7, 0, &mut block);
    block.extend(b"localhost");
    assert_untouched(&after(&block));
}
