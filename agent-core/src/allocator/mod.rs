//! The lock-free part: what an `Allocate` touches.
