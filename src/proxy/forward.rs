//! What the upstream sees of a request, and where it is.

use http::{
    HeaderName, HeaderValue, Uri, Version,
    header::{FORWARDED, HOST},
};
use pingora_core::{Error, ErrorType, OrErr, Result, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{Context, explanation};
use crate::{config::Upstream, edge::Request, edits::Edit, upstream::Endpoint};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a client may not say of itself, beside the three above, which are replaced.
const SPOOFABLE: [HeaderName; 4] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
];

/// The head, as [`crate::edge`] looks at it. `None`: HTTP/1.1 without a `Host`,
/// which is to be refused (RFC 9112, 3.2), and which Pingora lets pass.
pub(super) fn request(head: &RequestHeader) -> Option<Request<'_>> {
    let host = match head.headers.get(HOST) {
        Some(host) => std::str::from_utf8(host.as_bytes()).ok()?,
        None if head.version >= Version::HTTP_11 => return None,
        None => "",
    };
    Some(Request {
        method: &head.method,
        host,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    })
}

/// The endpoint, with its upstream's timeouts.
pub(super) fn peer(endpoint: Endpoint, upstream: &Upstream) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(endpoint.address, false, String::new());
    let timeouts = &upstream.timeouts;
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.read);
    peer.options.write_timeout = Some(timeouts.write);
    peer.options.idle_timeout = Some(timeouts.idle);
    Box::new(peer)
}

/// Makes the upstream's head of a copy of the client's, which Pingora has freed
/// of what concerned the client's hop alone.
pub(super) fn rewrite(session: &Session, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let Some(serving) = &ctx.serving else { return Ok(()) };
    if let Some(path) = &serving.path {
        set_path(request, path)?;
    }
    set_forwarded(session, request)?;
    if let Some((name, id)) = &ctx.id {
        request.insert_header(name.clone(), id.clone())?;
    }
    request.remove_header(&explanation::ASKED_BY);
    if let Some((upstream, _)) = ctx.upstream()
        && let Some(host) = &upstream.host
    {
        request.insert_header(HOST, host.clone())?;
    }
    let Some(route) = serving.route() else { return Ok(()) };
    for edit in route.headers.request.iter() {
        match edit {
            Edit::Remove(name) => drop(request.remove_header(name)),
            Edit::Set(name, value) => request.insert_header(name.clone(), value.clone())?,
            Edit::Append(name, value) => {
                request.append_header(name.clone(), value.clone())?;
            }
        }
    }
    Ok(())
}

/// What is matched is what is forwarded: the canonical path, or what the route
/// rewrites it to. The query stays as it came.
fn set_path(request: &mut RequestHeader, path: &str) -> Result<()> {
    let target = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri = Uri::builder()
        .path_and_query(target)
        .build()
        .or_err(ErrorType::InternalError, "a canonical path is a valid one")?;
    request.set_uri(uri);
    Ok(())
}

/// Says where the request came from. What the client says of that is dropped:
/// an upstream that believes these must be able to.
fn set_forwarded(session: &Session, request: &mut RequestHeader) -> Result<()> {
    for name in &SPOOFABLE {
        if request.headers.contains_key(name) {
            request.remove_header(name);
        }
    }
    let client = session
        .client_addr()
        .and_then(|address| address.as_inet())
        .ok_or_else(|| Error::explain(ErrorType::InternalError, "a connection has a peer"))?;
    request.insert_header(FORWARDED_FOR, client.ip().to_canonical().to_string())?;
    request.insert_header(FORWARDED_PROTO, HeaderValue::from_static("http"))?;
    match session.req_header().headers.get(HOST) {
        Some(host) => request.insert_header(FORWARDED_HOST, host.clone())?,
        None => drop(request.remove_header(&FORWARDED_HOST)),
    }
    Ok(())
}
