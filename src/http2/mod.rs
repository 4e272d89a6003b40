//! HTTP/2 as bytes: which frames pass, when they are a flood, and what a request's head may
//! say.
//!
//! Frames are read and written by the crate `h2`. It does not tell of those that are no part
//! of a request, and so bounds few of them: they are counted here as they pass. It is also
//! lenient with heads, which HTTP/1.1 and HTTP/2 must not read in two ways.

pub mod flood;
pub mod frames;
pub mod head;

pub use self::flood::{Flood, FloodLimits};

/// What a client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
