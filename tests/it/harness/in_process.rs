//! The proxy in this process, over real sockets: for what no binary can be told, such as
//! when a snapshot is stored, or what a name resolves to.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use corsac::metrics::Metrics;
use corsac::proxy::{ATTEMPTS_MAX, Proxy, SelfCheck};
use corsac::snapshot::{Snapshot, SnapshotCell};
use pingora_core::apps::ServerApp;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, l4::stream::Stream};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::Call;

/// A proxy that serves until this is dropped.
pub(crate) struct InProcess {
    pub(crate) snapshots: Arc<SnapshotCell>,
    address: SocketAddr,
    _runtime: Runtime,
}

impl InProcess {
    /// Serves this snapshot.
    pub(crate) fn serving(snapshot: Snapshot) -> Self {
        let metrics = Metrics::new();
        let snapshots = Arc::new(SnapshotCell::new(snapshot, metrics.clone()));
        let proxy = Proxy::new(&snapshots, metrics, None, SelfCheck::new(), |_| None, i32::MAX);
        let settings = ServerConf { max_retries: ATTEMPTS_MAX, ..ServerConf::default() };
        let app = Arc::new(http_proxy(&Arc::new(settings), proxy));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            while let Ok((stream, _)) = listener.accept().await {
                let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
                let mut stream = Stream::from(stream);
                stream.set_socket_digest(digest);
                let (app, stopped) = (Arc::clone(&app), stopped.clone());
                tokio::spawn(async move { app.process_new(Box::new(stream), &stopped).await });
            }
        });
        Self { snapshots, address, _runtime: runtime }
    }

    /// A request over a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Call {
        Call::new(self.address, "GET", target).header("Connection", "close")
    }
}
