//! Discovery on trees laid out as the kernel lays out sysfs and devfs, whole and damaged.

mod churn;
mod faults;
mod groups;
mod sound;
mod tree;
