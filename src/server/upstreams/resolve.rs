//! Host names of upstreams, resolved off the request path.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::lookup_host, task::JoinSet, time::timeout};

use crate::{
    config::{Config, NodeAddress},
    snapshot::{Addresses, Snapshot},
};

/// How often names are looked up again. The system's resolver does not
/// tell their TTL, and this is what most zones that move use.
pub(in crate::server) const REFRESH: Duration = Duration::from_secs(30);

/// How long one look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Looks names up, and remembers which ones fail.
pub(in crate::server) struct Resolver {
    /// Of a name with its port.
    lookup: Box<dyn Fn(String) -> Found + Send + Sync>,
    failing: Mutex<HashSet<NodeAddress>>,
}

impl Resolver {
    /// By the system's resolver.
    pub(in crate::server) fn new() -> Self {
        Self::by(|name| Box::pin(async move { lookup_host(name).await.map(Vec::from_iter) }))
    }

    pub(in crate::server) fn by(lookup: impl Fn(String) -> Found + Send + Sync + 'static) -> Self {
        Self { lookup: Box::new(lookup), failing: Mutex::default() }
    }

    /// Looks up every name that the configuration's upstreams have, all at once.
    ///
    /// A name that does not resolve keeps its addresses of `before`: a resolver that is
    /// down for a while must not take the upstreams with it. A name without any is left
    /// out. That a name fails, and that it resolves again, is logged once.
    pub(in crate::server) async fn resolve(
        &self,
        config: &Config,
        before: &Addresses,
    ) -> Addresses {
        let mut lookups = JoinSet::new();
        for name in names(config) {
            let found = timeout(LOOKUP_TIMEOUT, (self.lookup)(name.to_string()));
            lookups.spawn(async move { (name, found.await) });
        }
        let mut addresses = HashMap::new();
        let mut failing = HashMap::new();
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
                Err(_) => format!("no answer in {} s", LOOKUP_TIMEOUT.as_secs()),
            };
            if let Some(last) = before.get(&name) {
                addresses.insert(name.clone(), last.clone());
            }
            failing.insert(name, reason);
        }
        self.tell_changes(failing, &addresses);
        addresses
    }

    /// Looks the names of a snapshot up again. `None`: they resolve as before.
    pub(in crate::server) async fn refresh(&self, snapshot: &Snapshot) -> Option<Addresses> {
        let addresses = self.resolve(snapshot.config(), snapshot.addresses()).await;
        (addresses != *snapshot.addresses()).then_some(addresses)
    }

    fn tell_changes(&self, failing: HashMap<NodeAddress, String>, addresses: &Addresses) {
        let mut before = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        for line in changes(&before, &failing, addresses) {
            log::warn!("upstream node {line}");
        }
        *before = failing.into_keys().collect();
    }
}

/// What has changed, a line each: names that fail from now on, and those that do not any
/// more.
fn changes(
    before: &HashSet<NodeAddress>,
    failing: &HashMap<NodeAddress, String>,
    addresses: &Addresses,
) -> Vec<String> {
    let fails = failing.iter().filter(|(name, _)| !before.contains(name));
    let fails = fails.map(|(name, reason)| format!("{name} does not resolve: {reason}"));
    // Others are gone from the configuration.
    let is_found =
        |name: &&NodeAddress| !failing.contains_key(name) && addresses.contains_key(name);
    let again = before.iter().filter(is_found).map(|name| format!("{name} resolves again"));
    fails.chain(again).collect()
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

    fn config(name: &NodeAddress) -> Config {
        let text = "version = 1\n[listeners.http]\naddress = \"127.0.0.1:0\"\n[upstreams.app]\n\
                    nodes = \"app.internal:80\"\n[services.s]\nupstream = \"app\"\n\
                    [services.s.routes.r]\npaths = \"/\"\n";
        let mut config = crate::config::parse(text, "corsac.toml").unwrap().0;
        config.upstreams[0].nodes[0].address = name.clone();
        config
    }

    #[tokio::test]
    async fn what_does_not_resolve_now_keeps_what_it_had() {
        // No name at all: no server is asked for it.
        let name = NodeAddress::Name("no..name".into(), 80);
        let (mut config, resolver) = (config(&name), Resolver::new());
        assert_eq!(resolver.resolve(&config, &Addresses::new()).await, Addresses::new());
        assert!(resolver.failing.lock().unwrap().contains(&name));
        let before = Addresses::from([(name, Box::from([([127, 0, 0, 1], 80).into()]))]);
        assert_eq!(resolver.resolve(&config, &before).await, before);
        // What the configuration does not name any more goes.
        config.upstreams.clear();
        assert_eq!(resolver.resolve(&config, &before).await, Addresses::new());
        assert!(resolver.failing.lock().unwrap().is_empty());
    }

    #[test]
    fn a_change_is_said_once() {
        let name = NodeAddress::Name("app.internal".into(), 80);
        let (fine, failing) = (HashSet::new(), HashSet::from([name.clone()]));
        let now = HashMap::from([(name.clone(), "no answer".to_owned())]);
        let nothing = Addresses::new();
        let begins = changes(&fine, &now, &nothing);
        assert_eq!(begins, ["app.internal:80 does not resolve: no answer"]);
        assert_eq!(changes(&failing, &now, &nothing), [""; 0], "it goes on");
        let found = Addresses::from([(name, Box::from([([127, 0, 0, 1], 80).into()]))]);
        let ends = changes(&failing, &HashMap::new(), &found);
        assert_eq!(ends, ["app.internal:80 resolves again"]);
        let gone = changes(&failing, &HashMap::new(), &nothing);
        assert_eq!(gone, [""; 0], "nothing names it any more");
    }
}
