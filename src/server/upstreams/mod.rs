//! What the process does for upstreams beside requests.

pub(in crate::server) mod resolve;
