//! Paths, in every shape in which they may come.

use super::{
    ESCAPED, ESCAPED_INSTEAD, INSTEAD, PATH, conversation, pass,
    writer::{Memory, Name, Request},
};

/// Asserts that `request` comes out as if it had been written with `instead`, wherever the stream is cut in two, and
/// when every byte comes alone.
fn assert_exchanged(request: &Request<'_>, instead: &str) {
    let expected = Request { authority: instead, ..request.clone() };
    let sent = conversation(&[request.clone(), request.clone()]);
    let expected = conversation(&[expected.clone(), expected]);
    assert_ne!(sent, expected);
    assert_eq!(pass(&sent, &[]), expected, "{request:?}");
    assert_eq!(pass(&sent, &vec![1; sent.len()]), expected, "byte by byte: {request:?}");
    for cut in 0..sent.len() {
        assert_eq!(pass(&sent, &[cut]), expected, "cut at {cut}: {request:?}");
    }
}

#[test]
fn the_path_of_the_socket_is_exchanged_raw_and_in_huffmans_code() {
    assert_exchanged(&Request::new(PATH), INSTEAD);
    assert_exchanged(&Request::new(PATH).huffman(), INSTEAD);
}

#[test]
fn so_is_an_escaped_path() {
    assert_exchanged(&Request::new(ESCAPED), ESCAPED_INSTEAD);
    assert_exchanged(&Request::new(ESCAPED).huffman(), ESCAPED_INSTEAD);
    // gRPC's C core strips the first slash.
    assert_exchanged(&Request::new(&ESCAPED[3..]), &ESCAPED_INSTEAD[3..]);
    assert_exchanged(&Request::new(&ESCAPED[3..]).huffman(), &ESCAPED_INSTEAD[3..]);
}

#[test]
fn a_folder_may_have_blanks_and_percents_and_a_path_need_not_begin_with_a_slash() {
    for (path, instead) in [
        ("/a b/50%/x", "3a-b350.3x"),
        ("plugins/100%/a b", "plugins3100.3a-b"),
        (" /x", "-3x"),
        ("/", "3"),
        ("a//", "a33"),
    ] {
        assert_exchanged(&Request::new(path), instead);
        assert_exchanged(&Request::new(path).huffman(), instead);
    }
}

#[test]
fn characters_with_long_codes_do_not_lead_astray() {
    for (path, instead) in [("/~!+#^<\\\0/@/", "3~!+#^<\\\x003@3"), ("\\{`}|>\"/Z/", "\\{`}|>\"3Z3")] {
        assert_exchanged(&Request::new(path).huffman(), instead);
    }
}

#[test]
fn the_name_may_be_spelled_out_and_the_field_remembered_or_not() {
    for name in [Name::Static, Name::Raw, Name::Huffman] {
        for memory in [Memory::Indexed, Memory::NotIndexed, Memory::NeverIndexed] {
            let request = Request { memory, ..Request::new(PATH).named(name) };
            assert_exchanged(&request, INSTEAD);
            assert_exchanged(&request.huffman(), INSTEAD);
        }
    }
}

#[test]
fn a_frame_may_be_padded_and_carry_a_priority() {
    for padding in [None, Some(0), Some(1), Some(255)] {
        for priority in [false, true] {
            assert_exchanged(&Request { padding, priority, ..Request::new(PATH) }, INSTEAD);
        }
    }
}

#[test]
fn a_header_block_may_go_on_in_any_number_of_frames() {
    let request = Request::new(PATH).huffman();
    for cut in 0..=request.block().len() {
        let cuts = vec![cut];
        let request = Request { cuts, padding: Some(3), priority: true, ..request.clone() };
        let expected = Request { authority: INSTEAD, ..request.clone() };
        assert_eq!(pass(&conversation(std::slice::from_ref(&request)), &[]), conversation(&[expected]), "{request:?}");
    }
    assert_exchanged(&Request { cuts: vec![0, 0, 1, 7, 60, 61, 62, 80], ..request }, INSTEAD);
}

#[test]
fn a_long_path_has_a_length_of_several_bytes() {
    let (path, instead) = ("/abc".repeat(100), "3abc".repeat(100));
    assert_exchanged(&Request::new(&path), &instead);
    assert_exchanged(&Request::new(&path).huffman(), &instead);
}

#[test]
fn a_later_request_with_another_path_is_exchanged_too() {
    let sent = [Request::new(PATH), Request::new("localhost"), Request::new("/other").huffman()];
    let expected = [Request::new(INSTEAD), Request::new("localhost"), Request::new("3other").huffman()];
    assert_eq!(pass(&conversation(&sent), &[]), conversation(&expected));
}
