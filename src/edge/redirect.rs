//! Clients that come in the clear, and are sent to TLS.

use http::{HeaderValue, Method, StatusCode, Uri, header::LOCATION, uri::Port};

use super::{
    caller::Scheme,
    reply::{Cause, Reply},
    request::Request,
};
use crate::{
    config::{Config, Listener},
    route::{canonical_host, canonical_path},
};

/// Where certificate authorities look for a challenge (RFC 8555, 8.3): in the clear, on a
/// machine that may have no certificate yet.
const ACME: &str = "/.well-known/acme-challenge/";

/// The answer to a request whose client came in the clear, on a listener that sends to TLS.
/// `None`: it is served as any other.
pub(super) fn to_tls(request: &Request<'_>) -> Option<Reply<'static>> {
    let port = asked_for(request)?;
    let path = canonical_path(request.path).ok()?;
    if request.path == "*" || is_challenge(request.method, &path) {
        return None;
    }
    let host = canonical_host(request.facts.authority);
    if host.is_empty() {
        return Some(Reply::error(StatusCode::BAD_REQUEST, Cause::HostMissing));
    }
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(location) = HeaderValue::try_from(format!("https://{host}{port}{path}{query}")) else {
        return Some(Reply::error(StatusCode::BAD_REQUEST, Cause::PathMalformed));
    };
    // 308: the method and the body stay as they are.
    let mut reply = Reply::of_route(StatusCode::PERMANENT_REDIRECT, Cause::RedirectHttps);
    reply.edits.set(LOCATION, location);
    Some(reply)
}

/// The port that a request is to come to; `None`: it has come over TLS, if only to a proxy in
/// front, or may come in the clear.
fn asked_for(request: &Request<'_>) -> Option<u16> {
    request.facts.redirects_to.filter(|_| request.facts.caller.scheme() == Scheme::Http)
}

/// Whether a request in the clear is sent to TLS, or is one of those that its listener excepts
/// for good reason: it gets nothing that is for clients with a certificate.
pub(super) fn is_sent_away(request: &Request<'_>) -> bool {
    asked_for(request).is_some() && request.path != "*"
}

fn is_challenge(method: &Method, path: &str) -> bool {
    let is_one_segment = |token: &str| !token.is_empty() && !token.contains('/');
    matches!(*method, Method::GET | Method::HEAD)
        && path.strip_prefix(ACME).is_some_and(is_one_segment)
}

/// Listeners of which one sends requests for a URL to TLS, and another one does not, or to
/// another port: which of them is asked, the URL does not say.
#[derive(Clone, Copy, Debug)]
pub struct Ambiguous<'c>(pub &'c str, pub &'c str);

/// Where the listener that a URL leads to sends a request: the one in the clear with the URL's
/// port; without such a one, any in the clear.
///
/// # Errors
/// They differ.
pub fn redirect_of<'c>(config: &'c Config, url: &Uri) -> Result<Option<u16>, Ambiguous<'c>> {
    if url.scheme() != Some(&http::uri::Scheme::HTTP) {
        return Ok(None);
    }
    let port = url.port().as_ref().map_or(80, Port::as_u16);
    let is_at = |it: &&Listener| it.addresses.iter().any(|address| address.port() == port);
    let in_the_clear = || config.listeners.iter().filter(|listener| listener.tls.is_none());
    let of_port: Vec<_> = in_the_clear().filter(is_at).collect();
    let asked = if of_port.is_empty() { in_the_clear().collect() } else { of_port };
    let Some((first, others)) = asked.split_first() else { return Ok(None) };
    match others.iter().find(|other| other.redirect_https != first.redirect_https) {
        Some(other) => Err(Ambiguous(&first.name, &other.name)),
        None => Ok(first.redirect_https),
    }
}
