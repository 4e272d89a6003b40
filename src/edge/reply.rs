//! The answers that corsac makes itself, and why it makes them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};

use crate::{cors, edits::HeaderEdits};

/// An answer that corsac makes itself.
#[derive(Debug)]
pub struct Reply<'s> {
    pub status: StatusCode,
    /// Why corsac answers, and not the upstream.
    pub cause: Cause,
    /// Headers that were made when the configuration was compiled.
    pub prebuilt: Option<&'s HeaderMap>,
    /// Headers of this answer alone, set upon those.
    pub edits: HeaderEdits,
    /// Its body; `Content-Length` is among the headers only where [`Self::complete`].
    pub body: &'s [u8],
    /// Nothing is to be added to it but the request's id: it has its length, and
    /// [`finish`](super::finish) is not for it.
    pub complete: bool,
    /// The connection ends with it: what comes next on it may not be the beginning of a
    /// request.
    pub closes: bool,
}

impl<'s> Reply<'s> {
    /// A policy's own answer.
    #[must_use]
    pub(super) fn of_policy(answer: cors::Answer<'s>) -> Self {
        Self {
            status: answer.status,
            cause: Cause::Cors,
            prebuilt: Some(answer.headers),
            edits: answer.edits,
            body: b"",
            complete: true,
            closes: false,
        }
    }

    /// What a route answers by itself.
    #[must_use]
    pub(super) fn of_route(status: StatusCode, cause: Cause) -> Self {
        Self {
            status,
            cause,
            prebuilt: None,
            edits: HeaderEdits::new(),
            body: b"",
            complete: false,
            closes: false,
        }
    }

    /// Also with headers that were made when the configuration was compiled.
    #[must_use]
    pub(super) fn with_headers(self, headers: &'s HeaderMap) -> Self {
        Self { prebuilt: Some(headers), ..self }
    }

    /// Also with a body: text, unless its headers say what it is.
    #[must_use]
    pub(super) fn with_body(mut self, body: &'s [u8]) -> Self {
        let typed = self.prebuilt.is_some_and(|headers| headers.contains_key(CONTENT_TYPE));
        if !typed && !body.is_empty() {
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            self.edits.set(CONTENT_TYPE, text);
        }
        Self { body, ..self }
    }

    /// An error, with a line of text for whoever reads it.
    #[must_use]
    pub fn error(status: StatusCode, cause: Cause) -> Self {
        let closes = matches!(cause, Cause::HostMissing | Cause::PathMalformed);
        Self { closes, ..Self::of_route(status, cause).with_body(cause.text()) }
    }

    /// An error after the request had begun to be passed on: how much of it was read is
    /// not known.
    #[must_use]
    pub fn failure(status: StatusCode, cause: Cause) -> Self {
        Self { closes: true, ..Self::error(status, cause) }
    }
}

/// Why corsac answered a request itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// HTTP/1.1 requires a `Host` (RFC 9112, 3.2).
    HostMissing,
    /// The head is no HTTP/1.
    HeadMalformed,
    /// `Host` is none, is there twice, or is not the target's.
    HostMalformed,
    /// The target has no form that is served, or what may not stand in one.
    PathMalformed,
    /// Where the request's body ends is told twice, or not at all.
    FramingMalformed,
    /// The request's body has a transfer coding besides `chunked`.
    CodingUnknown,
    /// The body is not what its framing says.
    BodyMalformed,
    /// The client has sent more, or more often, than a limit allows.
    ClientLimit,
    /// The client has taken longer than a limit allows.
    ClientSlow,
    /// No route's host and path match.
    RouteNotFound,
    /// A route's host and path match, its methods do not.
    MethodNotAllowed,
    /// The route's CORS policy answers: a preflight, or a refusal.
    Cors,
    Redirect,
    /// The listener sends clients to TLS.
    RedirectHttps,
    /// The route answers itself.
    Respond,
    /// The request's body is larger than the limit.
    BodyTooLarge,
    /// No node of the upstream has an address.
    UpstreamUnresolved,
    /// No connection to the upstream.
    UpstreamConnect,
    /// corsac itself had no local port or descriptor left to connect from.
    NoSocket,
    /// The upstream took too long: to connect, to read, or to answer.
    UpstreamTimeout,
    /// The upstream closed the connection or sent no HTTP.
    UpstreamFailed,
    /// The client went away, or was too slow.
    ClientFailed,
    /// The process ended before the request did.
    CutOff,
    /// The host is not for clients of this connection (RFC 9110, 15.5.20).
    Misdirected,
    /// The client has shown no certificate.
    ClientCertificate,
    /// A bug: please report it.
    Internal,
}

impl Cause {
    /// As it is written in the access log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostMissing => "host_missing",
            Self::HeadMalformed => "head_malformed",
            Self::HostMalformed => "host_malformed",
            Self::PathMalformed => "path_malformed",
            Self::FramingMalformed => "framing_malformed",
            Self::CodingUnknown => "coding_unknown",
            Self::BodyMalformed => "body_malformed",
            Self::ClientLimit => "client_limit",
            Self::ClientSlow => "client_slow",
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Cors => "cors",
            Self::Redirect => "redirect",
            Self::RedirectHttps => "redirect_https",
            Self::Respond => "respond",
            Self::BodyTooLarge => "body_too_large",
            Self::UpstreamUnresolved => "upstream_unresolved",
            Self::UpstreamConnect => "upstream_connect",
            Self::NoSocket => "no_socket",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamFailed => "upstream_failed",
            Self::ClientFailed => "client_failed",
            Self::CutOff => "cut_off",
            Self::Misdirected => "misdirected",
            Self::ClientCertificate => "client_certificate",
            Self::Internal => "internal",
        }
    }

    /// What the client reads.
    fn text(self) -> &'static [u8] {
        match self {
            Self::HostMissing => b"400: a request needs a Host header\n",
            Self::HeadMalformed => b"400: this is no HTTP/1.1\n",
            Self::HostMalformed => b"400: the Host header is no host, or not the target's\n",
            Self::PathMalformed => b"400: the path is malformed\n",
            Self::FramingMalformed => b"400: where the body ends is not clear\n",
            Self::CodingUnknown => b"501: bodies may be chunked, and nothing else\n",
            Self::BodyMalformed => b"400: the body is not what its framing says\n",
            Self::ClientLimit => b"the request's head is too large\n",
            Self::ClientSlow => b"408: the request took too long to come\n",
            Self::RouteNotFound => b"404: no route for this host and path\n",
            Self::MethodNotAllowed => b"405: this path has no such method; see Allow\n",
            Self::BodyTooLarge => b"413: the body is larger than the limit\n",
            Self::UpstreamUnresolved | Self::UpstreamConnect => {
                b"502: the upstream cannot be reached\n"
            }
            Self::NoSocket => b"503: the proxy cannot open another connection\n",
            Self::UpstreamFailed => b"502: the upstream did not answer properly\n",
            Self::UpstreamTimeout => b"504: the upstream took too long\n",
            Self::ClientFailed => b"the request could not be read\n",
            Self::Misdirected => b"421: this connection is not for this host\n",
            Self::ClientCertificate => b"403: a client certificate is needed\n",
            Self::Internal => b"500: an error of the proxy\n",
            Self::Cors | Self::Redirect | Self::RedirectHttps | Self::Respond | Self::CutOff => b"",
        }
    }
}

/// Header names that a hop keeps to itself in responses (RFC 9110, 7.6.1), beside
/// `Connection`, which is rewritten for each connection.
pub const HOP_BY_HOP: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    // No trailers are passed on over HTTP/1, so none are to be announced.
    HeaderName::from_static("trailer"),
];
