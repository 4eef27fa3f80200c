//! Discovery: what sysfs and devfs say about devices, groups and nodes.
