//! Where the nodes of upstreams are.

use std::{collections::HashMap, net::SocketAddr};

use crate::{
    config::{NodeAddress, Upstream},
    upstream::ResolvedNode,
};

/// The addresses that the host names of upstream nodes resolve to. A name that is
/// not there does not resolve.
pub type Addresses = HashMap<NodeAddress, Box<[SocketAddr]>>;

/// The nodes of an upstream, each with its addresses.
pub(super) fn nodes(upstream: &Upstream, addresses: &Addresses) -> Vec<ResolvedNode> {
    let resolved = |address: &NodeAddress| match address {
        NodeAddress::Ip(address) => Box::from([*address]),
        NodeAddress::Name(..) => addresses.get(address).cloned().unwrap_or_default(),
    };
    upstream
        .nodes
        .iter()
        .map(|node| ResolvedNode {
            weight: u32::from(node.weight),
            addresses: resolved(&node.address),
        })
        .collect()
}
