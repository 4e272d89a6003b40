//! What the proxy serves by: one immutable value, swapped whole.

mod addresses;
mod cell;
mod compiled;
mod kept;

pub use self::{
    addresses::Addresses,
    cell::{Lender, Lent, SnapshotCell},
    compiled::Snapshot,
};
