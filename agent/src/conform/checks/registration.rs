//! What the plugin says when it registers.

use crate::conform::{
    book::Book,
    check::{Check, Group, Needs},
    kubelet::Answered,
};
use vfiod_core::permit::ResourceName;
use vfiod_proto::{DEVICE_PLUGIN_VERSION, deviceplugin::RegisterRequest};

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "registration",
    about: "what the plugin tells the kubelet when it registers",
    checks: &[&BEFORE_KUBELET, &VERSION, &NAME, &ENDPOINT, &ONCE],
};

/// A plugin that starts first waits for the kubelet.
pub static BEFORE_KUBELET: Check = Check {
    name: "registration.before-kubelet",
    title: "a plugin that starts before the kubelet waits for it and registers",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, Start: kubelet.sock comes with the kubelet, after a reboot later than the plugin",
    consequence: "After a reboot the node has no such resource until somebody restarts the plugin; pods stay Pending.",
    needs: Needs::Command,
};

/// The version of the API.
pub static VERSION: Check = Check {
    name: "registration.version",
    title: "registers with API version v1beta1",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, Register and isVersionCompatibleWithPlugin",
    consequence: "The kubelet refuses the registration: the node never has the resource, and pods stay Pending.",
    needs: Needs::Command,
};

/// The name of the resource.
pub static NAME: Check = Check {
    name: "registration.name",
    title: "the resource name is one that the kubelet takes: <domain>/<name>, not of kubernetes.io, a qualified name",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, Register; Kubernetes pkg/apis/core/v1/helper/helpers.go, IsExtendedResourceName",
    consequence: "The kubelet refuses the registration: the node never has the resource, and pods stay Pending.",
    needs: Needs::Command,
};

/// The socket is there and answers when the plugin registers.
pub static ENDPOINT: Check = Check {
    name: "registration.endpoint",
    title: "the endpoint is a file name in the plugin folder, and is served before Register is called",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, Register, and handler.go, connectClient: the kubelet joins the name to its folder and dials back, for 10 s, before it answers",
    consequence: "Register fails after 10 s and the node does not have the resource, or only after the plugin has tried again.",
    needs: Needs::Command,
};

/// One live registration a resource.
pub static ONCE: Check = Check {
    name: "registration.once",
    title: "a resource that is registered and whose stream is open is not registered again",
    source: "kubelet up to 1.32: pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go, runClient: the end of the old stream disconnects the new client of the name",
    consequence: "The resource falls to 0 allocatable devices whenever the plugin registers again, and pods are refused meanwhile.",
    needs: Needs::Command,
};

/// Checks what one call of `Register` says.
pub(in crate::conform) fn check(request: &RegisterRequest, answered: &Answered, book: &mut Book) {
    let name = &request.resource_name;
    book.judge(&VERSION, name, request.version == DEVICE_PLUGIN_VERSION, || {
        format!("registered with version {:?}", request.version)
    });
    match name.parse::<ResourceName>() {
        Ok(_) => book.pass(&NAME),
        Err(error) => book.fail(&NAME, name, format!("registered as {name:?}: {error}")),
    }
    let endpoint = &request.endpoint;
    if endpoint.contains('/') || endpoint.is_empty() {
        book.fail(&ENDPOINT, name, format!("registered with endpoint {endpoint:?}, which is not the name of a file"));
    }
    match answered {
        Ok(_) => book.pass(&ENDPOINT),
        Err(error) => {
            book.fail(&ENDPOINT, name, format!("registered with endpoint {endpoint:?}, and dialling back: {error}"));
        }
    }
}
