//! What the plugin does when the kubelet restarts, and when it is restarted itself.

use crate::conform::check::{Check, Group, Needs};

/// The checks of this file.
pub const GROUP: Group = Group {
    name: "restart",
    about: "what the plugin does when the kubelet restarts, and when it is restarted itself",
    checks: &[&STREAM_END, &KUBELET, &KUBELET_TWICE, &LIST_AGAIN, &IDS],
};

/// A stream that the kubelet ends.
pub static STREAM_END: Check = Check {
    name: "restart.stream-end",
    title: "when the kubelet ends the stream, the resource is registered again",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go, runClient and disconnectClient: the kubelet forgets the plugin when the stream ends, for whatever reason",
    consequence: "The resource stays at 0 allocatable devices until somebody restarts the plugin.",
    needs: Needs::Command,
};

/// A kubelet that restarts.
pub static KUBELET: Check = Check {
    name: "restart.kubelet",
    title: "when the kubelet restarts (folder wiped, kubelet.sock made again), every resource is registered again",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, Start and cleanup (removeContents)",
    consequence: "After an upgrade of the kubelet the node has no such resource until somebody restarts the plugin.",
    needs: Needs::Command,
};

/// A kubelet that restarts once more.
pub static KUBELET_TWICE: Check = Check {
    name: "restart.kubelet-twice",
    title: "the same at the second restart of the kubelet",
    source: "kubelet: pkg/kubelet/cm/devicemanager/plugin/v1beta1/server.go, Start; KubeVirt's own plugin panics then (kubevirt#18622)",
    consequence: "The second upgrade of the kubelet takes the resource away, long after the plugin was tried out.",
    needs: Needs::Command,
};

/// The list after that.
pub static LIST_AGAIN: Check = Check {
    name: "restart.list",
    title: "the first list after a restart of the kubelet has the same ids as before",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, readCheckpoint: pods keep the ids that they have; a new stream starts with nothing",
    consequence: "The node shows no capacity after the restart, or running pods lose their devices in the kubelet's books and others are given them.",
    needs: Needs::Command,
};

/// The ids of the next process.
pub static IDS: Check = Check {
    name: "restart.ids",
    title: "ids are the same after the plugin was restarted",
    source: "kubelet: pkg/kubelet/cm/devicemanager/manager.go, readCheckpoint and UpdateAllocatedDevices: allocations are remembered by id",
    consequence: "After an update of the plugin, devices that running pods have are counted as free and given away a second time.",
    needs: Needs::Command,
};
