//! Registering, and registering again.

use super::{
    answers::RESOURCE,
    fault::Fault,
    service::{OPTIONS, Plugin, Served, api},
};
use anyhow::Context;
use futures_util::stream;
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{exit, id},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::transport::{Endpoint, Server};
use vfiod_proto::deviceplugin::{device_plugin_server::DevicePluginServer, registration_client::RegistrationClient};

/// How often the folder is looked at.
const PERIOD: Duration = Duration::from_millis(10);

/// Which kubelet it is.
type Identity = (u64, u64, i64, i64);

/// Lives until SIGTERM.
pub async fn live(plugin: Arc<Plugin>, dir: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let life = serve(&plugin, dir);
    tokio::select! {
        ended = life => return ended,
        () = async {
            loop {
                terminate.recv().await;
                if !plugin.fault.is("stop.ends") { return; }
            }
        } => {}
    }
    plugin.stop.send_replace(true);
    // Streams end first.
    let _ = timeout(Duration::from_secs(5), streams_end(&plugin)).await;
    sleep(PERIOD).await;
    Ok(())
}

async fn streams_end(plugin: &Plugin) {
    while plugin.open.load(Ordering::Relaxed) > 0 {
        sleep(PERIOD).await;
    }
}

async fn serve(plugin: &Arc<Plugin>, dir: &Path) -> anyhow::Result<()> {
    let kubelet = dir.join("kubelet.sock");
    let fault = &plugin.fault;
    if fault.is("registration.before-kubelet") && !kubelet.exists() {
        anyhow::bail!("there is no kubelet at {}", kubelet.display());
    }
    let mut known = None;
    // A call that found the kubelet's socket a moment before anybody listened on it was no registration.
    let mut ever = false;
    for count in 0.. {
        let seen = loop {
            match identity(&kubelet) {
                Some(seen) => break seen,
                None => sleep(PERIOD).await,
            }
        };
        plugin.meets(&mut known, seen);
        let socket = dir.join(format!("card-{}-{count}.sock", id()));
        let late = !ever && fault.is("registration.endpoint:late");
        let server = if late { None } else { Some(listen(plugin, &socket)?) };
        // A stream of before that ends only now says nothing about this registration.
        let before = plugin.opened.load(Ordering::Relaxed);
        let registered = register(fault, &kubelet, &socket).await;
        // The next kubelet may have come between the look and the call, and has answered it then.
        let seen = if registered.is_ok() { identity(&kubelet).unwrap_or(seen) } else { seen };
        plugin.meets(&mut known, seen);
        if ever && registered.is_err() && fault.is("restart.kubelet") {
            std::future::pending::<()>().await;
        }
        let server = match server {
            Some(server) => server,
            None => listen(plugin, &socket)?,
        };
        if registered.is_ok() {
            ever = true;
            watch(plugin, &kubelet, seen, &socket, before).await;
        } else {
            sleep(PERIOD).await;
        }
        plugin.registration.send_modify(|registration| *registration += 1);
        let _ = timeout(Duration::from_secs(5), streams_end(plugin)).await;
        server.abort();
        let _ = fs::remove_file(&socket);
    }
    Ok(())
}

impl Plugin {
    /// Notes which kubelet is there, and counts how often it was another one.
    fn meets(&self, known: &mut Option<Identity>, seen: Identity) {
        if known.replace(seen).is_some_and(|known| known != seen) {
            let restarts = self.kubelet_restarts.fetch_add(1, Ordering::Relaxed) + 1;
            if restarts == 2 && self.fault.is("restart.kubelet-twice") {
                exit(2);
            }
        }
    }
}

/// Waits until the registration is of no use any more.
async fn watch(plugin: &Arc<Plugin>, kubelet: &Path, seen: Identity, socket: &Path, before: usize) {
    let fault = &plugin.fault;
    let mut again = before == 0 && fault.is("registration.once");
    loop {
        if again && plugin.open.load(Ordering::Relaxed) > 0 {
            again = false;
            let _ = register(fault, kubelet, socket).await;
        }
        let now = identity(kubelet);
        let other = now.is_some_and(|now| now != seen);
        if other && !fault.is("restart.kubelet") {
            return;
        }
        tokio::select! {
            () = plugin.stream_ended.notified() => {
                let last = plugin.open.load(Ordering::Relaxed) == 0 && plugin.opened.load(Ordering::Relaxed) > before;
                // The kubelet that goes ends the stream, too; then the next one is waited for above.
                if last && !fault.is("restart.stream-end") && identity(kubelet) == Some(seen) {
                    return;
                }
            }
            () = sleep(PERIOD) => {}
        }
    }
}

fn identity(kubelet: &Path) -> Option<Identity> {
    let meta = fs::metadata(kubelet).ok()?;
    Some((meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()))
}

fn listen(plugin: &Arc<Plugin>, socket: &Path) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::bind(socket)?;
    let incoming = stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let service = DevicePluginServer::new(Served(Arc::clone(plugin)));
    Ok(tokio::spawn(async move {
        let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
    }))
}

async fn register(fault: &Fault, kubelet: &Path, socket: &Path) -> anyhow::Result<()> {
    let name = socket.file_name().and_then(|name| name.to_str()).context("no name")?;
    let channel = Endpoint::from_shared(format!("unix:{}", kubelet.display()))?.connect().await?;
    let request = api::RegisterRequest {
        version: if fault.is("registration.version") { "v1alpha" } else { "v1beta1" }.to_owned(),
        endpoint: if fault.is("registration.endpoint") { format!("./{name}") } else { name.to_owned() },
        resource_name: if fault.is("registration.name") { RESOURCE.replace('c', "C") } else { RESOURCE.to_owned() },
        options: (!fault.is("options.same")).then_some(OPTIONS),
    };
    RegistrationClient::new(channel).register(request).await?;
    Ok(())
}
