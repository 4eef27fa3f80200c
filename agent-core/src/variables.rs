//! Environment variables that carry allocated devices into the container.
