//! The kubelet's plugin APIs and vfiod's own as Rust types, generated from the `.proto` files beside this crate.
//!
//! | module | API | who serves it |
//! |---|---|---|
//! | [`deviceplugin`] | device plugin v1beta1 | the plugin; `Registration` by the kubelet |
//! | [`pluginregistration`] | plugin watcher registration v1 | the plugin |
//! | [`podresources`] | pod resources v1 | the kubelet |
//! | [`status`] | vfiod's status v1 | vfiod |

/// Device plugin API v1beta1.
pub mod deviceplugin {
    #![allow(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("v1beta1");
}

/// Plugin watcher registration API v1.
pub mod pluginregistration {
    #![allow(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("pluginregistration");
}

/// Pod resources API v1.
pub mod podresources {
    #![allow(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("v1");
}

/// vfiod's own status API v1.
pub mod status {
    #![allow(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("vfiod.status.v1");
}

/// `RegisterRequest.version` of the device plugin API.
pub const DEVICE_PLUGIN_VERSION: &str = "v1beta1";
/// `Device.health` of a device that may be allocated.
pub const HEALTHY: &str = "Healthy";
/// `Device.health` of a device that may not be allocated.
pub const UNHEALTHY: &str = "Unhealthy";
/// File name of the kubelet's registration socket in its plugin folder.
pub const KUBELET_SOCKET: &str = "kubelet.sock";
/// File name of the kubelet's device manager checkpoint in its plugin folder.
pub const KUBELET_CHECKPOINT: &str = "kubelet_internal_checkpoint";
/// The largest gRPC message that a kubelet receives, in bytes
/// (grpc-go's default; kubernetes#109304 shows what happens past it).
pub const KUBELET_RECEIVE_LIMIT: usize = 4 * 1024 * 1024;
