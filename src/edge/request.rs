//! A request's head, as far as it decides anything.

use http::{HeaderMap, Method, Uri};

/// A request's head, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its `Host`, as sent; empty where an HTTP/1.0 client sent none.
    pub host: &'r str,
    /// Its path, as sent.
    pub path: &'r str,
    /// Its query, without the `?`.
    pub query: Option<&'r str>,
    /// Its headers.
    pub headers: &'r HeaderMap,
}

impl<'r> Request<'r> {
    /// A request for an absolute URL.
    #[must_use]
    pub fn new(method: &'r Method, url: &'r Uri, headers: &'r HeaderMap) -> Self {
        Self {
            method,
            host: url.authority().map_or("", http::uri::Authority::as_str),
            path: url.path(),
            query: url.query(),
            headers,
        }
    }
}
