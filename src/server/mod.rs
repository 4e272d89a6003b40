//! The process: files, sockets, signals.
//!
//! Pingora's proxy serves the connections; its `Server` is not used. That one
//! cannot say whether its listeners are bound, sleeps through its grace period
//! however idle it is, and needs its own hand-over for sockets. What is here
//! instead is short: bind everything, or say why not; accept; on a signal stop
//! accepting, let what is in flight end, and go.

mod accept;
mod access_log;
mod admin;
mod aside;
mod drain;
mod echo;
mod intake;
mod process;
mod process_log;
mod reload;
mod retire;
mod running;
mod signals;
mod start;
mod stop;
mod supply;
mod systemd;
mod upgrade;
mod upstreams;

pub use admin::{AdminEndpoint, Ask, ENDPOINTS, LiveRequest, Reach};
pub use echo::start_echo;
pub use process_log::ProcessLog;
pub use reload::Supply;
pub use running::{RunningServer, StartError};
pub use start::{Inherited, start};
pub use stop::SuccessorEnded;
pub use supply::files::{Disk, Memory};
pub use upgrade::{Takeover, UpgradeRequest, launch};
