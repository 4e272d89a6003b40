//! What happens between corsac and its upstreams, and what clients see of it.

use std::collections::HashMap;
use std::sync::Arc;

use corsac::config::{self, NodeAddress};
use corsac::snapshot::Snapshot;

use crate::harness::{InProcess, Origin, Unreachable};

// ------------------------------------------------------------ which endpoint is asked

/// What no resolver here would answer the same everywhere: a name with two addresses.
#[test]
fn a_name_of_which_one_address_refuses() {
    let origin = Origin::answering(200).start();
    let refusing = Unreachable::refusing();
    let text = "version = 1\nlisteners.http.address = \"127.0.0.1:0\"\n\
                upstreams.twin.nodes = \"twin.internal:80\"\n\
                [services.all]\nupstream = \"twin\"\nroutes.all.paths = \"/*\"\n";
    let (config, _) = config::parse(text, "corsac.toml").unwrap();
    let name = NodeAddress::Name("twin.internal".into(), 80);
    let addresses = Box::from([refusing.address(), origin.address()]);
    let addresses = HashMap::from([(name, addresses)]);
    let proxy = InProcess::serving(Snapshot::compile(Arc::new(config), addresses, None));
    let statuses: Vec<u16> = (0..20).map(|_| proxy.get("/").send().status).collect();
    assert_eq!(statuses, [200; 20]);
}
