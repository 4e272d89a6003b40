//! Host names of upstreams, resolved off the request path.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{net::lookup_host, task::JoinSet, time::timeout};

use crate::{
    config::{Config, NodeAddress},
    snapshot::{Addresses, Snapshot},
};

/// How often names are looked up again. Their TTL is not to be had from the
/// system's resolver, and this is what most zones that move use.
pub(super) const REFRESH: Duration = Duration::from_secs(30);

/// How long one look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks up every name that the configuration's upstreams have, all at once.
/// A name that does not resolve is left out, with a warning.
pub(super) async fn resolve(config: &Config) -> Addresses {
    let mut lookups = JoinSet::new();
    for name in names(config) {
        lookups.spawn(async move {
            let text = name.to_string();
            let found = timeout(LOOKUP_TIMEOUT, lookup_host(&text)).await;
            (name, found.map(|found| found.map(Vec::from_iter)))
        });
    }
    let mut addresses = HashMap::new();
    while let Some(Ok((name, found))) = lookups.join_next().await {
        match found {
            Ok(Ok(mut found)) => {
                // Resolvers rotate their answers; equal sets must compare equal.
                found.sort_unstable();
                found.dedup();
                addresses.insert(name, found.into_boxed_slice());
            }
            Ok(Err(error)) => log::warn!("upstream node {name} does not resolve: {error}"),
            Err(_) => log::warn!("upstream node {name} does not resolve: no answer in 5 s"),
        }
    }
    addresses
}

/// Looks the names of a snapshot up again. `None`: they resolve as before.
pub(super) async fn refresh(snapshot: &Snapshot) -> Option<Addresses> {
    let mut addresses = resolve(snapshot.config()).await;
    // A resolver that is down for a while must not take the upstreams with it.
    for (name, last) in snapshot.addresses() {
        addresses.entry(name.clone()).or_insert_with(|| last.clone());
    }
    (addresses != *snapshot.addresses()).then_some(addresses)
}

fn names(config: &Config) -> HashSet<NodeAddress> {
    let nodes = config.upstreams.iter().flat_map(|upstream| &upstream.nodes);
    nodes
        .map(|node| &node.address)
        .filter(|address| matches!(address, NodeAddress::Name(..)))
        .cloned()
        .collect()
}
