//! When and how the plugin ends.

use crate::conform::check::{Check, Group, Needs};

/// The checks of this file.
pub const GROUP: Group =
    Group { name: "stop", about: "when and how the plugin ends", checks: &[&BY_ITSELF, &NO_EMPTY_LIST, &ENDS] };

/// It does not end by itself.
pub static BY_ITSELF: Check = Check {
    name: "stop.not-by-itself",
    title: "the plugin does not end while it is called",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go, runClient: with the process its streams end, and all devices are unhealthy",
    consequence: "One call takes all devices away until the plugin was started again, each time later (CrashLoopBackOff).",
    needs: Needs::Command,
};

/// Nothing is zeroed.
pub static NO_EMPTY_LIST: Check = Check {
    name: "stop.no-empty-list",
    title: "a plugin that is asked to end closes its streams, and sends no shorter list before",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, GetCapacity: devices of a closed stream count for five minutes, an empty list counts at once",
    consequence: "At each update of the plugin the node has 0 devices; pods are refused, and re-admission of running ones may fail.",
    needs: Needs::Command,
};

/// It ends.
pub static ENDS: Check = Check {
    name: "stop.ends",
    title: "the plugin ends when it is asked to (SIGTERM)",
    source: "kubelet: pkg/kubelet/kuberuntime/kuberuntime_container.go, killContainer: SIGTERM, and SIGKILL when the grace period (30 s) is over",
    consequence: "Each update of the plugin takes half a minute a node, in which the old one keeps the name.",
    needs: Needs::Command,
};
