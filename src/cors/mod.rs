//! The CORS protocol, as a function of a policy and a request head.

mod policy;
mod spec;

pub use policy::Policy;
pub use spec::{
    Dangerous, Finding, Mode, OptionsMode, Place, PolicySpec, PreflightFailure, Severity,
    SharedOrigins, UpstreamCors, WebSocketMode,
};
