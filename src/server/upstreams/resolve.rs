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
pub(in crate::server) const REFRESH: Duration = Duration::from_secs(30);

/// How long one look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks up every name that the configuration's upstreams have, all at once.
///
/// A name that does not resolve keeps what it resolved to in `before`, for a resolver
/// that is down for a while must not take the upstreams with it; where there is nothing,
/// it is left out. Either is a warning.
pub(in crate::server) async fn resolve(config: &Config, before: &Addresses) -> Addresses {
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
        let reason = match found {
            Ok(Ok(mut found)) => {
                // Resolvers rotate their answers; equal sets must compare equal.
                found.sort_unstable();
                found.dedup();
                addresses.insert(name, found.into_boxed_slice());
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in 5 s".to_owned(),
        };
        log::warn!("upstream node {name} does not resolve: {reason}");
        if let Some(last) = before.get(&name) {
            addresses.insert(name, last.clone());
        }
    }
    addresses
}

/// Looks the names of a snapshot up again. `None`: they resolve as before.
pub(in crate::server) async fn refresh(snapshot: &Snapshot) -> Option<Addresses> {
    let addresses = resolve(snapshot.config(), snapshot.addresses()).await;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    #[tokio::test]
    async fn what_does_not_resolve_now_keeps_what_it_had() {
        let text = "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\n\
                    nodes = \"app.internal:80\"\n[services.s]\nupstream = \"app\"\n\
                    [services.s.routes.r]\npaths = \"/\"\n";
        let mut config = crate::config::parse(text, "corsac.toml").unwrap().0;
        // No name at all: nobody is asked for it.
        let name = NodeAddress::Name("no..name".into(), 80);
        config.upstreams[0].nodes[0].address = name.clone();
        assert_eq!(resolve(&config, &Addresses::new()).await, Addresses::new());
        let before = Addresses::from([(name, Box::from([([127, 0, 0, 1], 80).into()]))]);
        assert_eq!(resolve(&config, &before).await, before);
        // What the configuration does not name any more goes.
        config.upstreams.clear();
        assert_eq!(resolve(&config, &before).await, Addresses::new());
    }
}
