//! Discovery on trees laid out as the kernel lays out sysfs and devfs, whole and damaged.

mod faults;
mod groups;
mod sound;
mod tree;
