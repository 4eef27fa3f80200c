//! The connections of an endpoint's socket.

use super::{authority::Lenient, connection::Connection};
use futures_util::{Stream, stream};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{net::UnixListener, sync::Semaphore, time::sleep};
use tracing::{debug, info, warn};
use vfiod_core::permit::ResourceName;

/// The most connections to one endpoint at a time; a kubelet needs one. Whoever makes more finds them closed.
const MOST: usize = 64;

/// The pause after a connection that could not be accepted. The kernel keeps it waiting, so whoever asks again at once is
/// refused at once: tonic would, and turn in circles for as long as there are no file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// The connections that are made to `listener`. Never ends, and never fails: what keeps one from being accepted, such as
/// too many open files, is told and waited out.
pub(super) fn incoming(
    listener: UnixListener,
    resource: ResourceName,
) -> impl Stream<Item = Result<Lenient<Connection>, Infallible>> + Send {
    let places = Arc::new(Semaphore::new(MOST));
    stream::unfold((listener, resource, places), |(listener, resource, places)| async move {
        let mut refused = false;
        let connection = loop {
            match listener.accept().await {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => break Connection::new(stream, place),
                    Err(_) => continue,
                },
                Err(error) if refused => debug!(%resource, "still cannot accept a connection: {error}"),
                Err(error) => {
                    warn!(%resource, "cannot accept a connection of the kubelet: {error}; trying again until it works")
                }
            }
            refused = true;
            sleep(PAUSE).await;
        };
        if refused {
            info!(%resource, "connections are accepted again");
        }
        Some((Ok(Lenient::new(connection)), (listener, resource, places)))
    })
}
