//! What the upstream sees of a request.

use std::{io::Write as _, net::IpAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version,
    header::{FORWARDED, HOST},
};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::{context::Context, explanation, line::ipv4, plain, wire::Arrival};
use crate::{
    config::Config,
    edge::{Caller, Facts, Request, standing},
    edits::HeaderEdits,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a client may not say of itself, beside the three above, which are replaced;
/// and what it says to this corsac alone.
const DROPPED: [HeaderName; 5] = [
    explanation::ASKED_BY,
    FORWARDED,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
];

/// How many headers are added to nearly every request: those three, and the id.
const ADDED: usize = 4;

/// The head, as [`crate::edge`] looks at it, of a request on a connection that has arrived so.
/// `None`: HTTP/1.1 without a `Host`, which is to be refused (RFC 9112, 3.2), and which Pingora
/// lets pass.
pub(super) fn request<'s>(
    session: &'s Session,
    config: &Config,
    arrival: Option<&Arrival>,
    caller: Caller,
    redirects_to: Option<u16>,
) -> Option<Request<'s>> {
    let head = session.req_header();
    let authority = match head.headers.get(HOST) {
        Some(host) => std::str::from_utf8(host.as_bytes()).ok()?,
        None if head.version >= Version::HTTP_11 => return None,
        None => "",
    };
    let standing = match arrival {
        Some(arrival) => standing(config, &arrival.listener, arrival.shown(), authority),
        // A stream of Pingora's own.
        None => standing(config, "", None, authority),
    };
    Some(Request {
        facts: Facts { caller, redirects_to, standing, authority },
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    })
}

/// Makes the upstream's head of a copy of the client's, which Pingora has freed
/// of what concerned the client's hop alone. Names leave in lower case; see
/// [`super::plain`].
pub(super) fn rewrite(session: &Session, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let Some(served) = ctx.served() else { return Ok(()) };
    // A target that is no UTF-8 is kept beside the parts.
    let target = (!request.raw_path_is_utf8()).then(|| request.raw_path().to_vec());
    let mut parts = plain::request(request);
    if let Some(path) = &served.path {
        parts.uri = with_path(&parts.uri, path)?;
    }
    let headers = &mut parts.headers;
    // Otherwise a head with few headers grows twice.
    headers.reserve(ADDED);
    set_forwarded(session, ctx.caller, headers)?;
    if let Some(claims) = ctx.arrival.as_ref().and_then(|arrival| arrival.claims()) {
        claims.set(headers);
    }
    if let (Some(id), Some(config)) = (ctx.id(), ctx.config()) {
        headers.insert(&config.request_id.header, id.clone());
    }
    match ctx.upstream().and_then(|(upstream, _)| upstream.host.as_ref()) {
        Some(host) => drop(headers.insert(HOST, host.clone())),
        None if headers.contains_key(HOST) => {}
        None => drop(headers.insert(HOST, node(ctx, &parts.uri)?)),
    }
    let edits = served.route().map(|route| &route.headers.request);
    drop_shadows(headers, |name| is_ours(name, ctx, edits));
    if let Some(edits) = edits {
        edits.apply(headers);
    }
    *request = parts.into();
    match target {
        Some(target) if served.path.is_none() => request.set_raw_path(&target),
        _ => Ok(()),
    }
}

/// What is matched is what is forwarded: the canonical path, or what the route
/// rewrites it to. The query stays as it came.
fn with_path(uri: &Uri, path: &str) -> Result<Uri> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri = Uri::builder().path_and_query(target).build();
    uri.or_err(ErrorType::InternalError, "a canonical path is a valid one")
}

/// The host of an HTTP/1.0 request that says none: it goes on as HTTP/1.1, which requires
/// one (RFC 9112, 3.2).
fn node(ctx: &Context, uri: &Uri) -> Result<HeaderValue> {
    let node = || {
        let (upstream, _) = ctx.upstream()?;
        let node = upstream.nodes.get(ctx.attempts.endpoint()?.node)?;
        Some(node.address.to_string())
    };
    let host = uri.authority().map(ToString::to_string).or_else(node).unwrap_or_default();
    HeaderValue::try_from(host).or_err(ErrorType::InternalError, "a node's name is a host")
}

/// Drops names that differ from those that are `ours` only by `_` in place of `-`: to
/// applications behind CGI, WSGI and the like both are one name, and which of the two
/// values it has cannot be known.
fn drop_shadows(headers: &mut HeaderMap, ours: impl Fn(&HeaderName) -> bool) {
    let is_shadow = |name: &HeaderName| {
        let shadowed = name.as_str().replace('_', "-");
        HeaderName::try_from(shadowed).is_ok_and(|name| ours(&name))
    };
    // Hardly any request has one.
    if headers.keys().any(|name| name.as_str().contains('_')) {
        let underscored = headers.keys().filter(|name| name.as_str().contains('_'));
        let shadows: Vec<HeaderName> =
            underscored.filter(|name| is_shadow(name)).cloned().collect();
        for name in shadows {
            headers.remove(name);
        }
    }
}

/// Whether corsac sets or drops this header of a request: then it is not the client's.
fn is_ours(name: &HeaderName, ctx: &Context, edits: Option<&HeaderEdits>) -> bool {
    const SET: [HeaderName; 3] = [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST];
    SET.contains(name)
        || DROPPED.contains(name)
        || ctx.config().is_some_and(|config| config.request_id.header == *name)
        || edits.is_some_and(|edits| edits.iter().any(|edit| edit.name() == name))
}

/// Says where the request came from. What was said of that is dropped, unless a trusted peer
/// has: an upstream that believes these must be able to.
fn set_forwarded(session: &Session, caller: Option<Caller>, headers: &mut HeaderMap) -> Result<()> {
    // Hardly any request has one, and looking at each name costs less than looking
    // each of these up.
    if headers.keys().any(|name| DROPPED.contains(name)) {
        for name in &DROPPED {
            headers.remove(name);
        }
    }
    let Some(caller) = caller else {
        return Err(Error::explain(ErrorType::InternalError, "a connection has a peer"));
    };
    headers.insert(FORWARDED_FOR, text(&caller.chain(&session.req_header().headers)));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(caller.scheme().as_str()));
    match headers.get(HOST).cloned() {
        Some(host) => drop(headers.insert(FORWARDED_HOST, host)),
        None => drop(headers.remove(FORWARDED_HOST)),
    }
    Ok(())
}

fn text(chain: &[IpAddr]) -> HeaderValue {
    /// Bytes of the longest text of an address.
    const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();
    let mut text = SmallVec::<[u8; LONGEST]>::new();
    for (index, address) in chain.iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(b", ");
        }
        match address {
            IpAddr::V4(address) => ipv4(*address, |byte| text.push(byte)),
            // Writing to memory cannot fail.
            IpAddr::V6(address) => drop(write!(text, "{address}")),
        }
    }
    HeaderValue::from_bytes(&text).expect("a list of addresses is a header value")
}
