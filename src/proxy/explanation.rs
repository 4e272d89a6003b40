//! `Corsac-Explain: 1`, answered: why a response is as it is, for clients that may ask.

use std::fmt::Write;

use http::{HeaderName, HeaderValue};
use pingora_proxy::Session;

use super::context::Context;
use crate::{config::Config, edge::Caller};

/// How a client asks. Never forwarded: the client asks the corsac that it reaches, and an
/// upstream that is a corsac, too, would take this one for the client.
pub(super) const ASKED_BY: HeaderName = HeaderName::from_static("corsac-explain");

/// What the answer stands in.
pub(super) const HEADER: HeaderName = HeaderName::from_static("corsac-explanation");

/// Whether the client asks, and may.
pub(super) fn is_due(session: &Session, caller: Caller, config: &Config) -> bool {
    let asks = || session.req_header().headers.get(ASKED_BY).is_some_and(|value| value == "1");
    caller.is_client_of(&config.admin.debug_clients) && asks()
}

/// Why the response to this request is as it is.
///
/// Nothing of it comes from the request: names are the configuration's, and
/// reasons are a small fixed set.
pub(super) fn of(ctx: &Context, config: &Config) -> HeaderValue {
    let route = ctx.route();
    let policy = route.and_then(|route| route.cors.as_ref());
    let mut text = String::with_capacity(128);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "route={}; policy={}",
        route.map_or("none", |route| &*route.name),
        policy.map_or("none", |policy| &*policy.name),
    );
    if let Some((kind, reason)) = ctx.decided.cors {
        let _ = write!(text, "; cors={} {}", kind.as_str(), reason.as_str());
    }
    if let Some(cause) = ctx.decided.cause {
        let _ = write!(text, "; reason={}", cause.as_str());
    }
    let _ = write!(text, "; config={}", config.hash());
    HeaderValue::try_from(text).expect("names and reasons are visible ASCII (config, E006)")
}
