//! The inventory of this node, kept by the reactor.
