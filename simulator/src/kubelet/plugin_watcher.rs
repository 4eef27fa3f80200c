//! The plugin watcher: finds sockets in `plugins_registry`, asks who is there, and registers it
//! (`pkg/kubelet/pluginmanager`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use tonic::transport::Channel;
use vfiod_proto::DEVICE_PLUGIN_VERSION;
use vfiod_proto::pluginregistration::registration_client::RegistrationClient;
use vfiod_proto::pluginregistration::{InfoRequest, PluginInfo, RegistrationStatus};

use super::builder::KubeletVersion;
use super::client::{self, Client, dial};
use super::resource_name::is_extended_resource_name;
use super::state::{Registration, Shared};

/// How long `GetInfo` may take (`pluginwatcher/plugin_watcher.go`, `GenerateRegisterPluginFunc`: one second).
const INFO: Duration = Duration::from_secs(1);

/// A socket file: a new one of an old name is another plugin.
type Identity = (u64, i64, i64);

/// What is known of one socket.
#[derive(Debug)]
struct Found {
    identity: Identity,
    /// Name and endpoint, once it is registered.
    registered: Option<(String, PathBuf)>,
    /// When it is tried again after a failure, and the pause after the next one.
    again: (Instant, Duration),
}

/// The pause after a first failure (`pkg/util/goroutinemap/exponentialbackoff`, `initialDurationBeforeRetry`).
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(122);

/// Watches until the kubelet ends (`reconciler/reconciler.go`, `reconcile`): first what is gone, then what is new.
pub(super) async fn watch(shared: Arc<Shared>) {
    let registry = shared.config.kubelet_dir.join("plugins_registry");
    let mut known: BTreeMap<PathBuf, Found> = BTreeMap::new();
    loop {
        let present = sockets(&registry);
        let gone: Vec<PathBuf> = known
            .iter()
            .filter(|(path, found)| present.get(*path) != Some(&found.identity))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            if let Some(Found { registered: Some((name, endpoint)), .. }) = known.remove(&path) {
                deregister(&shared, &name, &endpoint);
            }
        }
        for (path, identity) in present {
            let again = (Instant::now(), FIRST_PAUSE);
            let found = known.entry(path.clone()).or_insert(Found { identity, registered: None, again });
            if found.registered.is_some() || Instant::now() < found.again.0 {
                continue;
            }
            match register(&shared, &path).await {
                Ok(registered) => found.registered = Some(registered),
                Err(status) => {
                    tracing::info!(socket = %path.display(), %status, "the plugin watcher could not register a plugin");
                    found.again = (Instant::now() + found.again.1, (found.again.1 * 2).min(LONGEST_PAUSE));
                }
            }
        }
        tokio::time::sleep(shared.config.watcher_pause).await;
    }
}

/// The sockets in the folder; those whose names begin with a dot are left alone (`pluginwatcher/plugin_watcher.go`,
/// `handleCreateEvent`).
fn sockets(registry: &Path) -> BTreeMap<PathBuf, Identity> {
    let entries = fs::read_dir(registry).into_iter().flatten().flatten();
    let sockets = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).filter_map(|entry| {
        let meta = fs::symlink_metadata(entry.path()).ok().filter(|meta| meta.file_type().is_socket())?;
        Some((entry.path(), (meta.ino(), meta.mtime(), meta.mtime_nsec())))
    });
    sockets.collect()
}

/// Asks, validates, connects, and says what came of it (`operationexecutor/operation_generator.go`,
/// `GenerateRegisterPluginFunc`; plugin/v1beta1/handler.go, `ValidatePlugin`, `RegisterPlugin`).
async fn register(shared: &Arc<Shared>, path: &Path) -> Result<(String, PathBuf), Status> {
    let channel = dial(path, shared.config.authority, shared.config.dial_timeout).await?;
    let mut client = RegistrationClient::new(channel);
    let info = tokio::time::timeout(INFO, client.get_info(InfoRequest {})).await;
    let info = info.map_err(|_| Status::deadline_exceeded("GetInfo"))??.into_inner();
    let endpoint = if info.endpoint.is_empty() { path.to_path_buf() } else { PathBuf::from(&info.endpoint) };
    let outcome = match validate(&info) {
        Ok(()) => client::connect(Arc::clone(shared), Client::new(&info.name, endpoint.clone())).await,
        Err(status) => Err(status),
    };
    shared.update(|state| {
        state.registrations.push(Registration {
            answered: Instant::now(),
            resource: info.name.clone(),
            endpoint: info.endpoint.clone(),
            outcome: outcome.clone().map_err(|status| status.message().to_owned()),
        });
    });
    notify(&mut client, &outcome).await;
    outcome.map(|()| (info.name, endpoint))
}

fn validate(info: &PluginInfo) -> Result<(), Status> {
    let PluginInfo { r#type, name, supported_versions, .. } = info;
    if r#type != "DevicePlugin" {
        return Err(Status::unknown(format!("no handler registered for plugin type: {type}")));
    }
    if !supported_versions.iter().any(|version| version == DEVICE_PLUGIN_VERSION) {
        return Err(Status::unknown(format!(
            "manager version {DEVICE_PLUGIN_VERSION} is not among {supported_versions:?}"
        )));
    }
    if !is_extended_resource_name(name) {
        return Err(Status::unknown(format!("invalid name of device plugin socket: {name}")));
    }
    Ok(())
}

async fn notify(client: &mut RegistrationClient<Channel>, outcome: &Result<(), Status>) {
    let (plugin_registered, error) = match outcome {
        Ok(()) => (true, String::new()),
        Err(status) => (false, status.message().to_owned()),
    };
    let told = client.notify_registration_status(RegistrationStatus { plugin_registered, error }).await;
    if let Err(status) = told {
        tracing::info!(%status, "a plugin did not take what came of its registration");
    }
}

/// plugin/v1beta1/handler.go, `DeRegisterPlugin`: whatever client the name has; with kubernetes#135437 that of the path.
fn deregister(shared: &Shared, name: &str, endpoint: &Path) {
    let version: KubeletVersion = shared.config.version;
    let current = shared.read().clients.get(version, name, endpoint);
    if let Some(current) = current {
        client::disconnect(shared, &current);
    }
}
