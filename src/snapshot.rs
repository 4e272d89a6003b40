//! What the proxy serves by: one immutable value, swapped whole.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;

use crate::{
    config::{Config, NodeAddress, Upstream},
    upstream::{Node, Pool},
};

/// The addresses that the host names of upstream nodes resolve to. A name that is
/// not there does not resolve.
pub type Addresses = HashMap<NodeAddress, Box<[SocketAddr]>>;

/// A configuration, ready to serve: its table, its policies and its pools.
///
/// A request is decided and answered by the one snapshot that it began with.
#[derive(Debug)]
pub struct Snapshot {
    config: Arc<Config>,
    addresses: Addresses,
    /// One for each of `config.upstreams`.
    pools: Box<[Arc<Pool>]>,
}

impl Snapshot {
    /// Makes a configuration ready. The pool of an upstream whose nodes are the
    /// same in `previous` is carried over, and goes on where it stood.
    #[must_use]
    pub fn compile(config: Arc<Config>, addresses: Addresses, previous: Option<&Self>) -> Self {
        let pools = config
            .upstreams
            .iter()
            .map(|upstream| {
                let nodes = nodes(upstream, &addresses);
                previous
                    .and_then(|previous| previous.pool_of(&upstream.name))
                    .filter(|pool| pool.nodes() == nodes)
                    .cloned()
                    .unwrap_or_else(|| Arc::new(Pool::new(nodes)))
            })
            .collect();
        Self { config, addresses, pools }
    }

    /// The same configuration, after its nodes' names resolved to `addresses`.
    #[must_use]
    pub fn with_addresses(&self, addresses: Addresses) -> Self {
        Self::compile(Arc::clone(&self.config), addresses, Some(self))
    }

    /// The configuration that this serves.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the names of nodes resolved to.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The upstream at this index of the configuration, and its pool.
    #[must_use]
    pub fn upstream(&self, index: usize) -> Option<(&Upstream, &Pool)> {
        Some((self.config.upstreams.get(index)?, self.pools.get(index)?))
    }

    fn pool_of(&self, name: &str) -> Option<&Arc<Pool>> {
        let index = self.config.upstreams.iter().position(|upstream| *upstream.name == *name)?;
        self.pools.get(index)
    }
}

fn nodes(upstream: &Upstream, addresses: &Addresses) -> Vec<Node> {
    let resolved = |address: &NodeAddress| match address {
        NodeAddress::Ip(address) => Box::from([*address]),
        NodeAddress::Name(..) => addresses.get(address).cloned().unwrap_or_default(),
    };
    upstream
        .nodes
        .iter()
        .map(|node| Node { weight: u32::from(node.weight), addresses: resolved(&node.address) })
        .collect()
}

/// The one place where a snapshot is swapped for another.
#[derive(Debug)]
pub struct SnapshotCell(ArcSwap<Snapshot>);

impl SnapshotCell {
    /// A cell that serves `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The snapshot that serves now. Takes no lock.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Serves `snapshot` from the next request on.
    pub fn store(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
