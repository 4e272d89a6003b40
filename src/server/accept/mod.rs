//! Connections: where they come in, who serves them, and when they end.

pub(in crate::server) mod connection;
pub(in crate::server) mod connections;
pub(in crate::server) mod listener;
pub(in crate::server) mod self_check;
pub(in crate::server) mod sockets;
pub(in crate::server) mod workers;
