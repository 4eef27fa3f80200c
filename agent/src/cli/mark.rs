//! `vfiod cordon`, `uncordon` and `clear`: what sticks to a device until an administrator or a reboot ends it.

use super::{Failure, holders::failed};
use crate::{
    io::{IoMode, Runtime},
    status::{self, DEFAULT_SOCKET, Mark},
};
use clap::Args;
use std::{
    io::{self, Write},
    path::PathBuf,
};
use tonic::Code;
use vfiod_core::device::DeviceId;
use vfiod_proto::status::MarkRequest;

/// Marks devices.
#[derive(Debug, Args)]
pub(super) struct MarkArgs {
    /// Addresses (0000:3b:00.0) or, for mediated devices, UUIDs
    #[arg(value_name = "DEVICE", required = true)]
    devices: Vec<DeviceId>,
    /// The status socket of the running daemon
    #[arg(long, env = "VFIOD_STATUS_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    status_socket: PathBuf,
}

/// Marks each device, and says what came of it.
///
/// # Errors
/// When no daemon runs, or it refuses one of them; the others are marked nevertheless.
pub(super) fn run(args: &MarkArgs, mark: Mark) -> Result<(), Failure> {
    let (runtime, _) = Runtime::start(IoMode::Plain).map_err(|error| Failure::Error(error.to_string()))?;
    runtime.block_on(mark_all(args, mark))
}

async fn mark_all(args: &MarkArgs, mark: Mark) -> Result<(), Failure> {
    let socket = args.status_socket.display();
    let client = status::connect(&args.status_socket).await.map_err(|error| {
        Failure::Error(format!("{socket}: {error}; run this as root, or name another socket with --status-socket"))
    })?;
    let mut client = client.ok_or_else(|| {
        Failure::Error(format!("no vfiod answers on {socket}; start it, or name another socket with --status-socket"))
    })?;
    let mut refused = None;
    for device in &args.devices {
        let request = MarkRequest { device: device.to_string() };
        let reply = match mark {
            Mark::Cordon => client.cordon(request).await,
            Mark::Uncordon => client.uncordon(request).await,
            Mark::Clear => client.clear(request).await,
        };
        let said = match reply {
            Ok(reply) if reply.get_ref().changed => format!("{device} {}", mark.done()),
            Ok(_) => format!("{device} {}", mark.was_so()),
            Err(status) if status.code() == Code::NotFound => {
                refused =
                    Some(Failure::Error(format!("{}; `vfiod devices --all` shows what there is", status.message())));
                continue;
            }
            Err(status) => return Err(failed(&status)),
        };
        _ = writeln!(io::stdout(), "{said}");
    }
    refused.map_or(Ok(()), Err)
}
