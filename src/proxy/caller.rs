//! Who sent a request, as its connection and its headers have it.

use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::wire::Arrival;
use crate::{
    config::Listener,
    edge::{Caller, Scheme},
};

/// The caller of a request that came on this connection and this listener.
pub(super) fn of(
    session: &Session,
    arrival: Option<&Arrival>,
    listener: Option<&Listener>,
) -> Result<Caller> {
    let direct = match arrival {
        Some(arrival) => Some(Caller::direct(arrival.peer, arrival.scheme())),
        // A stream of Pingora's own.
        None => session
            .client_addr()
            .and_then(|peer| Some(Caller::direct(*peer.as_inet()?, Scheme::Http))),
    };
    let Some(caller) = direct else {
        return Err(Error::explain(ErrorType::InternalError, "a connection has a peer"));
    };
    Ok(match listener {
        Some(listener) => caller.trusting(&listener.trust_forwarded, &session.req_header().headers),
        None => caller,
    })
}
