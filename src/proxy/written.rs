//! A reply of corsac's own, ready to be written.

use std::{fmt::Display, io::Write as _, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH},
    response,
};
use jiff::Timestamp;

use super::answer::may_have_body;
use crate::edge::Reply;

/// A reply in the form in which Pingora writes it.
#[derive(Debug)]
pub struct Written {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    /// [`Reply::complete`].
    pub(super) is_complete: bool,
    /// The connection ends with it.
    pub(super) closes: bool,
}

impl Written {
    /// Makes the head: what was prebuilt, and the few headers of this reply alone.
    pub(super) fn new(reply: &Reply<'_>) -> Self {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = reply.status;
        if let Some(prebuilt) = reply.prebuilt {
            parts.headers.clone_from(prebuilt);
        }
        reply.edits.apply(&mut parts.headers);
        if !reply.complete && may_have_body(reply.status) {
            parts.headers.insert(CONTENT_LENGTH, reply.body.len().into());
        }
        let Reply { complete, closes, body, .. } = *reply;
        Self { head: parts, body: Bytes::copy_from_slice(body), is_complete: complete, closes }
    }

    /// Adds a header.
    pub(super) fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.head.headers.insert(name, value);
    }

    /// As bytes, for where Pingora has written another head already, or has no session.
    /// After it the connection is over.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let Self { mut head, body, is_complete: _, closes: _ } = self;
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let mut bytes = Vec::with_capacity(512);
        // Writing to memory cannot fail.
        let _ = write!(bytes, "HTTP/1.1 {}\r\nDate: {}\r\n", head.status, httpdate());
        for (name, value) in &head.headers {
            let _ = write!(bytes, "{name}: ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Its head and its body, for a stream of HTTP/2.
    #[must_use]
    pub fn into_parts(self) -> (response::Parts, Bytes) {
        (self.head, self.body)
    }
}

/// Now, as RFC 9110, 5.6.7 writes it.
fn httpdate() -> impl Display {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    now.strftime("%a, %d %b %Y %H:%M:%S GMT")
}
