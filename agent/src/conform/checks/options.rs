//! The options that the plugin registers and serves.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    kubelet,
};
use tonic::Status;
use vfiod_proto::deviceplugin::{DevicePluginOptions, RegisterRequest};

/// The checks of this file.
pub const GROUP: Group =
    Group { name: "options", about: "GetDevicePluginOptions, and what it promises", checks: &[&SERVED, &SAME] };

/// The call is served.
pub static SERVED: Check = Check {
    name: "options.served",
    title: "GetDevicePluginOptions is answered",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, PluginConnected: without an answer the plugin is not connected",
    consequence: "The kubelet refuses the registration: the node never has the resource, and pods stay Pending.",
    needs: Needs::Socket,
};

/// Registered and served options agree.
pub static SAME: Check = Check {
    name: "options.same",
    title: "the options of Register are those that GetDevicePluginOptions answers",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, PluginConnected asks; kubelets before 1.25 believed the registration (addEndpoint)",
    consequence: "PreStartContainer or GetPreferredAllocation is called by some kubelets and not by others: devices are not prepared or badly chosen on part of the nodes.",
    needs: Needs::Command,
};

/// Checks that the call was answered, and the options with it.
pub(in crate::conform) fn check(
    resource: &str,
    registered: Option<&RegisterRequest>,
    answer: &Result<DevicePluginOptions, Status>,
    book: &mut Book,
) {
    let served = match answer {
        Ok(served) => *served,
        Err(status) => {
            return book.fail(&SERVED, resource, format!("GetDevicePluginOptions: {}", kubelet::told(status)));
        }
    };
    book.pass(&SERVED);
    let Some(request) = registered else { return };
    let registered = request.options.unwrap_or_default();
    book.judge(&SAME, resource, registered == served, || {
        format!("registered with {}, serves {}", told(registered), told(served))
    });
}

fn told(options: DevicePluginOptions) -> String {
    let DevicePluginOptions { pre_start_required, get_preferred_allocation_available } = options;
    format!(
        "pre_start_required={pre_start_required} get_preferred_allocation_available={get_preferred_allocation_available}"
    )
}
