//! A request's head, as far as it decides anything, and what is known beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, Method, Uri};

use super::caller::{Caller, Scheme};
use crate::certificate::Standing;

/// Who asks where nobody does: an address of the first network for documentation (RFC 5737).
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 0);

/// A request's head, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// What is known beside it.
    pub facts: Facts<'r>,
    pub method: &'r Method,
    /// Its path, as sent.
    pub path: &'r str,
    /// Its query, without the `?`.
    pub query: Option<&'r str>,
    pub headers: &'r HeaderMap,
}

/// What is known of a request that its target and headers do not say, or that they say in
/// more than one way: read in one place, and the same for whoever asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Facts<'r> {
    /// Who sent it, and how.
    pub caller: Caller,
    /// The port to which the listener sends clients that come in the clear; `None`: none.
    pub redirects_to: Option<u16>,
    /// What it may expect, by the certificate that the client has shown.
    pub standing: Standing,
    /// The host and port that the client asks for, as sent; empty where an HTTP/1.0 client
    /// sent none.
    pub authority: &'r str,
}

impl<'r> Facts<'r> {
    /// What an absolute URL says, which nobody has sent.
    #[must_use]
    pub fn of_url(url: &'r Uri) -> Self {
        let is_https = url.scheme() == Some(&http::uri::Scheme::HTTPS);
        let scheme = if is_https { Scheme::Https } else { Scheme::Http };
        Self {
            caller: Caller::direct(NOBODY, scheme),
            redirects_to: None,
            standing: Standing::Admitted,
            authority: url.authority().map_or("", http::uri::Authority::as_str),
        }
    }

    /// Whether a page of this origin, as the `Origin` header has it, asks its own server.
    #[must_use]
    pub fn is_of_origin(&self, origin: &str) -> bool {
        let scheme = self.caller.scheme();
        let port = format!(":{}", scheme.default_port());
        let authority = self.authority.strip_suffix(&port).unwrap_or(self.authority);
        origin.eq_ignore_ascii_case(&format!("{}://{authority}", scheme.as_str()))
    }
}

impl<'r> Request<'r> {
    /// A request for an absolute URL.
    #[must_use]
    pub fn new(method: &'r Method, url: &'r Uri, headers: &'r HeaderMap) -> Self {
        let facts = Facts::of_url(url);
        Self { facts, method, path: url.path(), query: url.query(), headers }
    }
}
