//! A node in a folder: sysfs and devfs as the kernel lays them out.
