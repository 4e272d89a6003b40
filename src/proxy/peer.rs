//! An endpoint, as Pingora connects to it.

use pingora_core::upstreams::peer::HttpPeer;

use crate::{config::Upstream, upstream::Endpoint};

/// The endpoint, with its upstream's timeouts.
pub(super) fn of(endpoint: Endpoint, upstream: &Upstream) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(endpoint.address, false, String::new());
    let timeouts = &upstream.timeouts;
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.read);
    peer.options.write_timeout = Some(timeouts.write);
    peer.options.idle_timeout = Some(timeouts.idle);
    Box::new(peer)
}
