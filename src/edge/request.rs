//! A request's head, as far as it decides anything, and what is known beside it.

use std::net::IpAddr;

use http::{HeaderMap, Method, Uri};

/// A request's head, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Who sent it, and how they reached corsac.
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
    /// The client's address; of an IPv4 client, as IPv4. `None`: nobody sent it, as where
    /// it is only explained.
    pub client: Option<IpAddr>,
    /// How the client reached corsac.
    pub scheme: Scheme,
    /// The port to which the listener sends clients that come in the clear; `None`: none.
    pub redirects_to: Option<u16>,
    /// The host and port that the client asks for, as sent; empty where an HTTP/1.0 client
    /// sent none.
    pub authority: &'r str,
}

/// How a client reaches corsac.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As URLs have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL need not name.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl<'r> Facts<'r> {
    /// What an absolute URL says, which nobody has sent.
    #[must_use]
    pub fn of_url(url: &'r Uri) -> Self {
        let is_https = url.scheme() == Some(&http::uri::Scheme::HTTPS);
        Self {
            client: None,
            scheme: if is_https { Scheme::Https } else { Scheme::Http },
            redirects_to: None,
            authority: url.authority().map_or("", http::uri::Authority::as_str),
        }
    }

    /// Whether a page of this origin, as the `Origin` header has it, asks its own server.
    #[must_use]
    pub fn is_of_origin(&self, origin: &str) -> bool {
        let port = format!(":{}", self.scheme.default_port());
        let authority = self.authority.strip_suffix(&port).unwrap_or(self.authority);
        origin.eq_ignore_ascii_case(&format!("{}://{authority}", self.scheme.as_str()))
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
