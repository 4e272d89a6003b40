//! The CORS protocol, as a function of a policy and a request head.
//!
//! A [`PolicySpec`] says what its author wrote; [`Policy::new`] checks it, with every
//! mistake at once, and compiles it. [`Policy::admit`] then judges a request, and
//! [`Policy::stamp`] its response: both return data, and nothing here reads a socket,
//! a clock or a file, or knows TOML or Pingora.
//!
//! Terms follow the Fetch standard, <https://fetch.spec.whatwg.org/#http-cors-protocol>.
//! Where corsac is stricter, the code says why, and `docs/cors.md` lists the difference.
//!
//! # Invariants
//!
//! - A refused request gets no `Access-Control-*` header.
//! - `Access-Control-Allow-Origin: *` never meets `Access-Control-Allow-Credentials`:
//!   [`Policy::new`] cannot build such a policy.
//! - A policy and a browser agree: what [`Reason::Ok`] says of a preflight, [`browser`]
//!   says of its answer.
//! - Deciding allocates nothing (`tests/allocations.rs`), takes time linear in the
//!   request head, and cannot fail.

pub mod browser;

mod decide;
mod expose;
mod findings;
mod methods;
mod origin;
mod origin_regex;
mod origins;
mod overridden;
mod pattern;
mod policy;
mod request_headers;
mod sources;
mod spec;
mod suffix;
mod token;
mod vary;

#[cfg(test)]
mod tests;

pub use decide::{
    ALLOW_PRIVATE_NETWORK, Admission, Answer, Judgement, Kind, REQUEST_PRIVATE_NETWORK, Reason,
    TIMING_ALLOW_ORIGIN, announced, is_probe,
};
pub use methods::AllowMethods;
pub use origin::{ORIGIN_LEN_MAX, Origin};
pub use origins::OriginEntry;
pub use overridden::Overridden;
pub use pattern::{OriginError, OriginPattern, PortPattern, TuplePattern};
pub use policy::Policy;
pub use request_headers::{AllowHeaders, REQUESTED_LEN_MAX};
pub use spec::{
    Dangerous, Finding, Mode, OptionsMode, Part, PolicySpec, PreflightFailure, PreflightMode,
    Severity, SharedOrigins, UpstreamCors, WebSocketMode,
};
pub use suffix::LIST_DATE as PUBLIC_SUFFIX_LIST_DATE;
