//! The client's address, as its connection has it.

use std::net::IpAddr;

use pingora_proxy::Session;

/// The address of the connection's other end; of an IPv4 client, as IPv4.
pub(super) fn ip(session: &Session) -> Option<IpAddr> {
    Some(session.client_addr()?.as_inet()?.ip().to_canonical())
}
