//! The demo's origin: answers every request with what it received.

use std::{fmt::Write as _, io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use http::{
    HeaderValue, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use pingora_core::{
    apps::http_app::{HttpServer, ServeHttp},
    protocols::http::ServerSession,
};
use tokio::{runtime::Builder, sync::watch};

use super::accept::{gate::Gate, listener::Bound, workers::Seat};
use crate::metrics::Metrics;

struct Echo;

#[async_trait]
impl ServeHttp for Echo {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let mut text = format!("{} {}\n", head.method, head.uri);
        for (name, value) in &head.headers {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        let length = text.len();
        let mut response = Response::new(text.into_bytes());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, length.into());
        response
    }
}

/// Starts the origin on a free port of the loopback interface, on a thread of its
/// own, for as long as the process lives.
///
/// # Errors
/// No thread or no port is to be had.
pub fn start_echo() -> io::Result<SocketAddr> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let bound = Bound::new("echo", SocketAddr::from(([127, 0, 0, 1], 0)))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let address = bound.address;
    std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
        let (_stop, stopped) = watch::channel(false);
        let gate = Gate::plain("echo", &Arc::default(), &Metrics::new());
        runtime.block_on(async {
            let seat = Seat::only(Arc::new(HttpServer::new_app(Echo)));
            bound.serve(seat, stopped, gate).await
        })
    })?;
    Ok(address)
}
