//! Requests and answers.

use super::{
    faults::{Gone, Refusal},
    process::Shared,
    store::Scope,
};
use axum::{
    body::Body,
    http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE},
};
use futures_util::stream;
use serde_json::{Value, json};
use std::{collections::VecDeque, io, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

const KUBEVIRTS: &str = "/apis/kubevirt.io/v1";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/";

/// Answers one request.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let refusal = shared.update(|store| {
        store.requests.push(format!("{} {}", parts.method, parts.uri));
        store.refusal.clone().filter(|refusal| refusal.hits(parts.method.as_str()))
    });
    if let Some(refusal) = refusal {
        return refused(&refusal, &format!("{path} is refused"));
    }
    if let Some(rest) = path.strip_prefix(EVENTS) {
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
        return write_event(&shared, &parts.method, rest, &body);
    }
    let scope = path.strip_prefix(KUBEVIRTS).and_then(|rest| scope(rest, &query));
    match scope {
        Some(scope) if parameter(&query, "watch").is_some() => watch_from(&shared, scope, &query),
        Some(scope) => json_answer(StatusCode::OK, &shared.read().list(&scope)),
        None => refused(&Refusal::all(404), "the server could not find the requested resource"),
    }
}

/// `/kubevirts`, or `/namespaces/NAMESPACE/kubevirts`.
fn scope(path: &str, query: &str) -> Option<Scope> {
    let namespace = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["kubevirts"] => None,
        ["namespaces", namespace, "kubevirts"] => Some((*namespace).to_owned()),
        _ => return None,
    };
    let name = parameter(query, "fieldSelector")
        .and_then(|selector| selector.replace("%3D", "=").strip_prefix("metadata.name=").map(str::to_owned));
    Some(Scope { namespace, name })
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// One watch: what it has still to send, and what ends it.
struct Watch {
    shared: Arc<Shared>,
    changes: watch::Receiver<()>,
    scope: Scope,
    version: u64,
    cuts: u64,
    expirations: u64,
    bookmarks: u64,
    until: Instant,
    pending: VecDeque<Value>,
    /// Whether what is pending is the last.
    last: bool,
}

fn watch_from(shared: &Arc<Shared>, scope: Scope, query: &str) -> Response<Body> {
    let version = parameter(query, "resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let seconds = parameter(query, "timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(290);
    let changes = shared.changes();
    let store = shared.read();
    let mut watch = Watch {
        shared: Arc::clone(shared),
        changes,
        scope,
        version,
        cuts: store.cuts,
        expirations: store.expirations,
        bookmarks: store.bookmarks,
        until: Instant::now() + Duration::from_secs(seconds),
        pending: VecDeque::new(),
        last: false,
    };
    if version < store.oldest {
        match store.gone {
            Gone::Status => return refused(&Refusal::all(410), "too old resource version"),
            Gone::Event => watch.expire(),
        }
    }
    drop(store);
    let lines = stream::unfold(watch, |mut watch| async move { watch.next().await.map(|line| (line, watch)) });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}

impl Watch {
    /// The next line; an error cuts the connection.
    async fn next(&mut self) -> Option<io::Result<String>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(format!("{event}\n")));
            }
            if self.last {
                return None;
            }
            self.changes.borrow_and_update();
            if self.look() {
                return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
            if self.pending.is_empty() && timeout_at(self.until, self.changes.changed()).await.is_err() {
                return None;
            }
        }
    }

    /// Gathers what is new; true when the connection is to be cut.
    fn look(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let store = shared.read();
        if store.cuts != self.cuts {
            return true;
        }
        if store.expirations != self.expirations {
            drop(store);
            self.expire();
            return false;
        }
        for change in store.history.iter().filter(|change| change.version > self.version) {
            if self.scope.holds(&change.object) {
                self.pending.push_back(json!({ "type": change.kind, "object": change.object }));
            }
        }
        self.version = store.version.max(self.version);
        if store.bookmarks != self.bookmarks {
            self.bookmarks = store.bookmarks;
            self.pending.push_back(json!({ "type": "BOOKMARK", "object": {
                "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
                "metadata": { "resourceVersion": store.version.to_string(), "creationTimestamp": null },
            } }));
        }
        false
    }

    fn expire(&mut self) {
        let status = status(&Refusal::all(410), "too old resource version");
        self.pending.push_back(json!({ "type": "ERROR", "object": status }));
        self.last = true;
    }
}

/// `POST …/events`, `PATCH …/events/NAME` (a JSON merge patch).
fn write_event(shared: &Shared, method: &Method, rest: &str, body: &[u8]) -> Response<Body> {
    let Ok(event) = serde_json::from_slice::<Value>(body) else { return refused(&Refusal::all(400), "no JSON") };
    let parts: Vec<&str> = rest.split('/').collect();
    let (namespace, name) = match (method, parts.as_slice()) {
        (&Method::POST, [namespace, "events"]) => {
            (*namespace, event.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned())
        }
        (&Method::PATCH, [namespace, "events", name]) => (*namespace, (*name).to_owned()),
        _ => return refused(&Refusal::all(404), "not found"),
    };
    let is_of_pod = event.pointer("/regarding/namespace").is_some();
    let key = (namespace.to_owned(), name);
    shared.update(|store| {
        if store.events_of_1_20 && method == Method::POST && !is_of_pod && namespace != "kube-system" {
            let message = "involvedObject.namespace: Invalid value: \"\": does not match event.namespace";
            return refused(&Refusal::all(422), message);
        }
        let known = store.events.get(&key).cloned();
        let written = match (method, known) {
            (&Method::POST, None) => event.clone(),
            (&Method::PATCH, Some(known)) => merge(known, &event),
            (&Method::POST, Some(_)) => return refused(&Refusal::all(409), "exists already"),
            _ => return refused(&Refusal::all(404), "events not found"),
        };
        store.events.insert(key, written.clone());
        store.event_writes.push(event);
        json_answer(if method == Method::POST { StatusCode::CREATED } else { StatusCode::OK }, &written)
    })
}

/// RFC 7396.
fn merge(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = if let Value::Object(target) = target { target } else { serde_json::Map::new() };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            let merged = merge(target.remove(key).unwrap_or(Value::Null), value);
            target.insert(key.clone(), merged);
        }
    }
    Value::Object(target)
}

fn status(refusal: &Refusal, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": refusal.reason(), "code": refusal.code,
    })
}

fn refused(refusal: &Refusal, message: &str) -> Response<Body> {
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_answer(code, &status(refusal, message))
}

fn json_answer(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}
