//! Who owns a device: what the kubelet says.
