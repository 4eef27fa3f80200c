//! The kubelet as a plugin sees it: a folder with a registration socket, and a client that dials back.

use crate::client::{self, Client, Registration};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::Duration,
};
use vfiod_proto::{KUBELET_CHECKPOINT, KUBELET_SOCKET};

/// How long a plugin may take from its start to its registration.
const PATIENCE: Duration = Duration::from_secs(30);
/// A kubelet that has given nothing away (kubelet: `pkg/kubelet/cm/devicemanager/checkpoint`).
const CHECKPOINT: &str = r#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":0}"#;

/// A kubelet.
#[derive(Debug)]
pub struct Kubelet {
    folder: PathBuf,
    /// None while it is gone: its socket file stays, and refuses.
    listener: Option<UnixListener>,
    /// The connections on which plugins have registered; a kubelet leaves closing them to the plugin.
    registered: Vec<Registration>,
}

/// A plugin that has registered.
#[derive(Debug)]
pub struct Plugin {
    /// Its resource.
    pub resource: String,
    /// The connection to it; `ListAndWatch` is open on it.
    pub client: Client,
}

impl Kubelet {
    /// Starts in a kubelet's folder (`--kubelet-dir`).
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn start(kubelet_dir: &Path) -> Result<Self> {
        let folder = kubelet_dir.join("device-plugins");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(KUBELET_CHECKPOINT), CHECKPOINT)?;
        Ok(Self { listener: Some(listen(&folder)?), folder, registered: Vec::new() })
    }

    /// Ends, as a process does: its sockets are closed, and its files stay.
    pub fn end(&mut self) {
        self.registered.clear();
        self.listener = None;
    }

    /// Ends, where it has not, and starts again: wipes the folder of all but the checkpoint, as a kubelet does
    /// (kubelet: `pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go`, `cleanup`).
    ///
    /// # Errors
    /// When the folder cannot be wiped.
    pub fn restart(&mut self) -> Result<()> {
        self.end();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if entry.file_name() != KUBELET_CHECKPOINT {
                let _ = fs::remove_file(entry.path()); // the plugin may have been quicker
            }
        }
        self.listener = Some(listen(&self.folder)?);
        Ok(())
    }

    /// Takes the next registration: dials back, asks for the options, answers, and asks for the list, as a kubelet does
    /// (kubelet: `pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go`, `Register`; `client.go`, `Connect` and `Run`).
    ///
    /// # Errors
    /// When none comes, or the plugin does not answer.
    pub fn accept(&mut self) -> Result<Plugin> {
        let listener = self.listener.as_ref().context("the kubelet is gone")?;
        let mut registration = loop {
            let mut fds = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
            let patience = rustix::time::Timespec::try_from(PATIENCE).context("a time too long")?;
            if rustix::event::poll(&mut fds, Some(&patience))? == 0 {
                bail!("nobody registered within {} s", PATIENCE.as_secs());
            }
            let (socket, _) = listener.accept()?;
            if let Some(registration) = client::receive_registration(socket)? {
                break registration;
            }
        };
        let mut client = Client::connect(&self.folder.join(&registration.endpoint))?;
        client.call(client::OPTIONS, &[])?;
        registration.accept()?;
        client.watch()?;
        let resource = registration.resource.clone();
        self.registered.push(registration);
        Ok(Plugin { resource, client })
    }
}

fn listen(folder: &Path) -> Result<UnixListener> {
    let path = folder.join(KUBELET_SOCKET);
    UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))
}
