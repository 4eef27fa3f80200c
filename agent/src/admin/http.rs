//! What is answered to which path, and to whom.

use super::{metrics, readiness};
use crate::{board::Board, status::Query};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue},
};
use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
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
    pub(super) stop: watch::Receiver<bool>,
}

type Answer = Response<Full<Bytes>>;

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
            (_, "/metrics") => match metrics::render(&self.board) {
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
            (Face::People, _) => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
        }
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
    let mut answer = Response::new(Full::new(body.into()));
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
