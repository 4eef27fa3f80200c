//! The connections of an endpoint's socket.

use super::authority::Lenient;
use futures_util::{Stream, stream};
use std::{convert::Infallible, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    time::sleep,
};
use tracing::{debug, info, warn};
use vfiod_core::permit::ResourceName;

/// The pause after a connection that could not be accepted. The kernel keeps it waiting, so whoever asks again at once is
/// refused at once: tonic would, and turn in circles for as long as there are no file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Every connection that is made to `listener`. Never ends, and never fails: what keeps one from being accepted, such as
/// too many open files, is told and waited out.
pub(super) fn incoming(
    listener: UnixListener,
    resource: ResourceName,
) -> impl Stream<Item = Result<Lenient<UnixStream>, Infallible>> + Send {
    stream::unfold((listener, resource), |(listener, resource)| async move {
        let mut refused = false;
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
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
        Some((Ok(Lenient::new(stream)), (listener, resource)))
    })
}
