//! Which endpoint of an upstream serves next, pure: addresses are given, and
//! nothing here connects, resolves or looks at a clock.

mod pool;

pub use pool::{Endpoint, Pool, ResolvedNode, Tried};
