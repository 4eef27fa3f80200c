//! Accepting connections: as many as there are places for, each with little time to say what it wants.

use super::{Listen, http::Site};
use crate::board::{Condition, Part};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

/// Connections at a time; a browser makes up to six.
const MOST: usize = 64;
/// How long a client may take for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before an address that is taken is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to end when the agent stops.
const GRACE: Duration = Duration::from_millis(500);

/// Serves a site until the agent stops. An address that cannot be had is told and tried again: serving devices matters
/// more.
pub(super) async fn serve(listen: Listen, part: Part, site: Arc<Site>) {
    let Listen::At(address) = listen else { return };
    let mut stop = site.stop.clone();
    let Some(listener) = bound(address, part, &site).await else { return };
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // Whoever finds no place is told by a closed connection.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let site = Arc::clone(&site);
                connections.spawn_local(async move {
                    converse(stream, site).await;
                    drop(place);
                });
            }
            Err(error) => {
                debug!(part = part.name(), "cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever is still there is cut off: streams of changes never end by themselves.
    let _ = timeout(GRACE, all).await;
}

/// The listener, as soon as the address can be had; `None` when the agent stops first.
async fn bound(address: SocketAddr, part: Part, site: &Site) -> Option<TcpListener> {
    let mut stop = site.stop.clone();
    let mut told = false;
    loop {
        match bind(address).await {
            Ok(listener) => {
                let at = listener.local_addr().unwrap_or(address);
                info!(address = %at, "{} on http://{at}/", site.face.offer());
                site.board.set(part, Condition::Good(format!("http://{at}/")));
                return Some(listener);
            }
            Err(error) => {
                let flag = if part == Part::Page { "--listen" } else { "--metrics" };
                let reason = format!(
                    "cannot listen on {address}: {error}; devices are served all the same, and the address is tried again; \
                     end what uses it, or name another with {flag}"
                );
                if !std::mem::replace(&mut told, true) {
                    warn!("{reason}");
                }
                site.board.set(part, Condition::Degraded(reason));
            }
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            _ = stop.wait_for(|stop| *stop) => return None,
        }
    }
}

/// All addresses means those of IPv4 alone where the host has no IPv6.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && !is_taken(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

async fn converse(stream: TcpStream, site: Arc<Site>) {
    let mut stop = site.stop.clone();
    let answer = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { site.answer(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stop.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("a client of the page or of the metrics: {error}");
    }
}
