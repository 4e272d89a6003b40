//! HTTP/1 as bytes: where a request's head and body end, and what is none.
//!
//! corsac decides this itself, before Pingora sees a byte, and hands on exactly one
//! message at a time. So what two parsers could read in two ways is read once, and what
//! is refused has a reason of ours, an id and a line in the log.

pub mod chunked;
pub mod head;

pub use self::head::{Body, HeadLimits, Malformed, RequestHead};
