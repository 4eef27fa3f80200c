//! The device plugin: one kubelet endpoint per resource.
