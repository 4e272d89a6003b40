//! Connections: where they come in, which thread serves them, and when they end.

mod clock;
pub(in crate::server) mod connection;
pub(in crate::server) mod connections;
pub(in crate::server) mod gate;
mod h1;
mod h2;
mod handshake;
mod handshakes;
mod linger;
pub(in crate::server) mod listener;
mod load;
mod outgoing;
mod preface;
mod rate;
pub(in crate::server) mod reserve;
pub(in crate::server) mod self_check;
mod socket;
pub(in crate::server) mod sockets;
mod taking;
mod transport;
mod waits;
pub(in crate::server) mod workers;
