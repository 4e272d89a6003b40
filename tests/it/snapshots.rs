//! A request is served by the snapshot that it began with, whatever is stored
//! while it is on its way.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use corsac::config;
use corsac::snapshot::Snapshot;

use crate::harness::{Gate, InProcess, Origin};

/// A configuration whose answers show that it is this one.
fn snapshot(origin: &Origin, mark: &str) -> Snapshot {
    let text = format!(
        r#"
        version = 1
        listeners.http.address = "127.0.0.1:0"
        upstreams.origin.nodes = "{}"
        [services.all]
        upstream = "origin"
        cors = {{ allow_origins = "https://app.example", expose_headers = "{mark}" }}
        [services.all.routes.all]
        paths = "/*"
        headers = {{ response = {{ set = {{ x-mark = "{mark}" }} }} }}
        "#,
        origin.address()
    );
    let (config, _) = config::parse(&text, "corsac.toml").unwrap();
    Snapshot::compile(Arc::new(config), HashMap::new(), None)
}

#[test]
fn a_request_sees_one_snapshot() {
    let gate = Gate::default();
    let origin = Origin::answering(200).after(&gate).start();
    let proxy = InProcess::serving(snapshot(&origin, "old"));
    let call = proxy.get("/").header("Origin", "https://app.example");
    let in_flight = thread::spawn({
        let call = call.clone();
        move || call.send()
    });
    origin.await_requests(1);
    proxy.snapshots.store(snapshot(&origin, "new"));
    gate.open();
    for (answer, mark) in [(in_flight.join().unwrap(), "old"), (call.send(), "new")] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-mark").as_deref(), Some(mark));
        assert_eq!(answer.header("access-control-expose-headers").as_deref(), Some(mark));
    }
}
