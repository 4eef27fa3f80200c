//! A kubelet: its device manager, as far as a plugin can see it.
