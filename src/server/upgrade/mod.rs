//! Replacing the process without losing a request.
//!
//! The old process never stops accepting before the new one has proved that it
//! answers, and has said that it has taken over. Whatever goes wrong until then ends
//! the new process, which first answers what it has accepted. After that the old one
//! drains. [`steps`] has what either side does when something happens.
//!
//! ```text
//! old                                        new
//! NEW check CONFIG, or it ends here
//! NEW run --takeover                     ->  starts twice, to be the manager's child
//!                                        <-  Attached
//! Hello, Sockets.., Tickets, Complete    ->  binds what is new, accepts
//!                                            asks itself on every listener
//!                                        <-  Serving
//! Go                                     ->  admin; MAINPID=, READY=1
//!                                        <-  TookOver; watchers
//! stops accepting, drains
//! Draining.., Counted                    ->  shows it in its status, adds the counts
//!
//! until Go; after it, if the new one does not take over:
//! Withdrawn                              ->  accepts nothing more, drains for 2 s
//!                                            ends; it is killed if it does not
//! ```

mod channel;
mod elders;
mod pause;
mod secrets;
mod step;
pub(super) mod steps;
mod successor;
mod takeover;
mod upgrader;

pub(super) use channel::Draining;
pub(super) use elders::Elders;
pub(super) use pause::pause_at;
pub(super) use secrets::Secrets;
pub(super) use step::HandOverStep;
pub(super) use successor::Successor;
pub(super) use takeover::{Predecessor, Received};
pub use takeover::{Takeover, launch};
pub use upgrader::UpgradeRequest;
pub(super) use upgrader::{HandedOver, Upgrader};
