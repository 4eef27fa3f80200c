//! The sources of ownership: the kubelet's checkpoint and its PodResources API.
