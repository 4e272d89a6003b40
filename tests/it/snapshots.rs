//! A request is served by the snapshot that it began with, whatever is stored
//! while it is on its way.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

use corsac::config;
use corsac::metrics::Metrics;
use corsac::proxy::{Proxy, SelfCheck};
use corsac::snapshot::{Snapshot, SnapshotCell};
use pingora_core::apps::ServerApp;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, l4::stream::Stream};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::harness::{Call, Gate, Origin};

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
    let metrics = Metrics::new();
    let snapshots = Arc::new(SnapshotCell::new(snapshot(&origin, "old"), metrics.clone()));
    let proxy = Proxy::new(&snapshots, metrics, None, SelfCheck::new());
    let app = Arc::new(http_proxy(&Arc::new(ServerConf::default()), proxy));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        let (_stop, stopped) = watch::channel(false);
        while let Ok((stream, _)) = listener.accept().await {
            let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
            let mut stream = Stream::from(stream);
            stream.set_socket_digest(digest);
            app.process_new(Box::new(stream), &stopped).await;
        }
    });
    let call = Call::new(address, "GET", "/")
        .header("Origin", "https://app.example")
        .header("Connection", "close");
    let in_flight = thread::spawn({
        let call = call.clone();
        move || call.send()
    });
    origin.await_requests(1);
    snapshots.store(snapshot(&origin, "new"));
    gate.open();
    for (answer, mark) in [(in_flight.join().unwrap(), "old"), (call.send(), "new")] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-mark").as_deref(), Some(mark));
        assert_eq!(answer.header("access-control-expose-headers").as_deref(), Some(mark));
    }
}
