//! The API server itself, seen by a client of no particular kind.

use super::*;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

fn ask(server: &ApiServer, request: &str, body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    BufReader::new(stream)
}

fn text(server: &ApiServer, request: &str, body: &str) -> String {
    let mut text = String::new();
    ask(server, request, body).read_to_string(&mut text).unwrap();
    text
}

/// The next event of a watch.
fn next(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the watch ended");
        if line.starts_with('{') {
            return line;
        }
    }
}

const ALL: &str = "GET /apis/kubevirt.io/v1/kubevirts";

#[test]
fn a_watch_goes_on_where_a_list_ended() {
    let server = ApiServer::start().unwrap();
    server.permit("kubevirt", "kv", &[("8086:6F54", "intel.com/qat")]);
    assert!(text(&server, ALL, "").contains(r#""resourceVersion":"1""#));
    let mut watch = ask(&server, &format!("{ALL}?watch=true&resourceVersion=1&timeoutSeconds=20"), "");
    server.permit("kubevirt", "kv", &[]);
    assert!(next(&mut watch).contains("MODIFIED"));
    server.bookmark();
    assert!(next(&mut watch).contains("BOOKMARK"));
    server.delete("kubevirt", "kv");
    assert!(next(&mut watch).contains("DELETED"));
    server.forget(Gone::Event);
    assert!(next(&mut watch).contains("410"));
    assert!(text(&server, &format!("{ALL}?watch=true&resourceVersion=1"), "").contains("410"));
}

#[test]
fn a_name_and_a_namespace_choose_one_object() {
    let server = ApiServer::start().unwrap();
    for (namespace, name) in [("a", "kv"), ("b", "kv"), ("b", "other")] {
        server.permit(namespace, name, &[]);
    }
    let path = "GET /apis/kubevirt.io/v1/namespaces/b/kubevirts?fieldSelector=metadata.name%3Dkv";
    let list = text(&server, path, "");
    assert!(list.contains("uid-of-b-kv") && !list.contains("other") && !list.contains("uid-of-a"), "{list}");
}

#[test]
fn it_goes_away_comes_back_and_refuses() {
    let mut server = ApiServer::start().unwrap();
    server.permit("kubevirt", "kv", &[]);
    server.go_away();
    assert!(TcpStream::connect(server.url().trim_start_matches("http://")).is_err());
    server.come_back().unwrap();
    assert!(text(&server, ALL, "").contains("kv"));
    server.refuse(Some(Refusal::all(403)));
    assert!(text(&server, ALL, "").starts_with("HTTP/1.1 403"));
}

#[test]
fn events_are_made_once_and_patched_afterwards() {
    let server = ApiServer::start().unwrap();
    let post = "POST /apis/events.k8s.io/v1/namespaces/default/events";
    let patch = "PATCH /apis/events.k8s.io/v1/namespaces/default/events";
    assert!(text(&server, &format!("{patch}/a"), "{}").starts_with("HTTP/1.1 404"));
    assert!(text(&server, post, r#"{"metadata":{"name":"a"},"reason":"X"}"#).starts_with("HTTP/1.1 201"));
    assert!(text(&server, post, r#"{"metadata":{"name":"a"}}"#).starts_with("HTTP/1.1 409"));
    assert!(text(&server, &format!("{patch}/a"), r#"{"series":{"count":2}}"#).starts_with("HTTP/1.1 200"));
    let events = server.events();
    assert_eq!(
        (events.len(), events[0]["reason"].as_str(), events[0]["series"]["count"].as_u64()),
        (1, Some("X"), Some(2))
    );
}
