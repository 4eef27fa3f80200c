//! What is answered to which path, and to whom.

use super::{metrics, page, readiness};
use crate::{
    board::Board,
    status::{Ask, Asks, Held, Query, updates},
};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue},
};
use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

/// How long the reactor may take to say that it is alive; it never blocks, so this is far too long.
const ALIVE: Duration = Duration::from_secs(5);

const TEXT: &str = "text/plain; charset=utf-8";
/// OpenMetrics 1.0, "Content-Type".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// For whom it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// Everything, for people on this host.
    People,
    /// Metrics and readiness, for the cluster.
    Machines,
}

/// What one listener serves.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) face: Face,
    pub(super) board: Arc<Board>,
    pub(super) queries: mpsc::UnboundedSender<Query>,
    pub(super) asks: Asks,
    pub(super) stop: watch::Receiver<bool>,
    /// Places for readers of `/events`.
    pub(super) readers: Arc<Semaphore>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Face {
    /// What is offered, for the log.
    pub(super) const fn offer(self) -> &'static str {
        match self {
            Self::People => "the page, metrics and readiness are",
            Self::Machines => "metrics and readiness are",
        }
    }
}

impl Site {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let mut answer = self.routed(&request).await;
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(answer)
    }

    async fn routed(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        if self.face == Face::People && !is_address(request.headers()) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "this is answered to localhost and to addresses, not to names: another site could make its name point here; \
                 open it as http://localhost:PORT/ or http://127.0.0.1:PORT/\n",
            );
        }
        match (self.face, request.uri().path()) {
            (_, "/metrics") => match metrics::render(&self.board, self.held().await) {
                Ok(metrics) => of(StatusCode::OK, OPEN_METRICS, metrics),
                Err(error) => {
                    text(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be written: {error}\n"))
                }
            },
            (_, "/healthz") => self.healthz().await,
            (_, "/readyz") => {
                let readiness = readiness(&self.board);
                let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                text(status, readiness.text())
            }
            (Face::Machines, _) => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
            (Face::People, "/") => {
                let (page, policy) = page::page();
                let mut answer = of(StatusCode::OK, "text/html; charset=utf-8", page);
                if let Ok(policy) = HeaderValue::from_str(&policy) {
                    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
                }
                answer
            }
            (Face::People, "/status") => self.status().await,
            (Face::People, "/events") => self.events(),
            (Face::People, _) => {
                text(StatusCode::NOT_FOUND, "there are /, /status, /events, /metrics, /healthz and /readyz\n")
            }
        }
    }

    /// Everything, as one JSON document.
    async fn status(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = self.asks.send(Ask::All(answer)).is_ok();
        match answered.await {
            Ok(parts) if asked => match page::status(&parts) {
                Ok(json) => of(StatusCode::OK, "application/json", json),
                Err(error) => {
                    text(StatusCode::INTERNAL_SERVER_ERROR, format!("the status cannot be written: {error}\n"))
                }
            },
            _ => text(StatusCode::SERVICE_UNAVAILABLE, "vfiod is stopping\n"),
        }
    }

    /// Everything, then what changes, as server-sent events (HTML Living Standard, section 9.2).
    fn events(&self) -> Answer {
        let Ok(place) = Arc::clone(&self.readers).try_acquire_owned() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close one\n");
        };
        let mut stop = self.stop.clone();
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        // A page that has lost its connection asks again after so many milliseconds.
        let first = stream::iter([Bytes::from_static(b"retry: 1000\n\n")]);
        let updates = updates(self.asks.clone()).map(move |update| {
            let _ = &place; // held as long as the stream is
            page::event(&update)
        });
        let frames = first.chain(updates).take_until(stopped).map(|bytes| Ok(Frame::data(bytes)));
        let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        answer
    }

    /// Who has what open.
    async fn held(&self) -> Held {
        let (answer, answered) = oneshot::channel();
        // Without an answer vfiod is stopping.
        let _ = self.asks.send(Ask::Held(answer));
        answered.await.unwrap_or_default()
    }

    /// Alive is who answers: the reactor, too.
    async fn healthz(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = self.queries.send(Query::Ping(answer)).is_ok();
        match timeout(ALIVE, answered).await {
            Ok(Ok(())) if asked => text(StatusCode::OK, "ok\n"),
            _ => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the reactor does not answer within {} s; see the log\n", ALIVE.as_secs()),
            ),
        }
    }
}

/// Whether the request was made to an address, or to `localhost`. A page of another site can have its own name point to this
/// host, and would then read what is served here (DNS rebinding); it cannot do so with an address.
fn is_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    of(status, TEXT, body)
}

fn of(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_as(host: &str) -> bool {
        is_address(&HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]))
    }

    #[test]
    fn only_addresses_and_localhost_are_answered() {
        for host in ["localhost", "LocalHost:8080", "127.0.0.1:9420", "10.1.2.3", "[::1]:9420", "[fe80::1]"] {
            assert!(asked_as(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:9420", "127.0.0.1.nip.io", "[evil]:80", ""] {
            assert!(!asked_as(host), "{host}");
        }
        assert!(!is_address(&HeaderMap::new()));
    }
}
