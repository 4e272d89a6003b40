//! What the proxy serves by: one immutable value, swapped whole.

mod addresses;
mod cell;
mod compiled;
mod kept;
#[cfg(feature = "server")]
mod tls;

pub use self::{
    addresses::Addresses,
    cell::{Lender, Lent, SnapshotCell},
    compiled::Snapshot,
};

#[cfg(feature = "server")]
pub use self::tls::{ALPN_H2, ListenerTls, Rules};
