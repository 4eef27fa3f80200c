//! The verdict on one device: a pure function from facts to health and reason.
