//! `[limits]`, and `limits` of a listener: what a client, or a stop, may take.

use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::decode::{Reader, Value};
use crate::http1::HeadLimits;
use crate::http1::head::TARGET_MAX;

/// `[limits]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// `body`: the most bytes of a request's body, for routes that say nothing
    /// else. `None`, the default: any number; bodies are streamed, not held.
    pub body: Option<u64>,
    /// `drain`: how long what is in flight may take after a stop or an upgrade.
    pub drain: Duration,
    /// `lame_duck`: how long connections are still accepted after SIGTERM, while
    /// `/readyz` says 503 already, so that load balancers turn away first.
    pub lame_duck: Duration,
    /// The other keys: for listeners that say nothing else.
    pub clients: Arc<ClientLimits>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: None,
            drain: Duration::from_secs(30),
            lame_duck: Duration::ZERO,
            clients: Arc::default(),
        }
    }
}

/// What a client may take of a listener. `docs/config.md` argues each default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// `head`: from the first byte of a request's head to its last.
    pub head: Duration,
    /// `handshake`: of TLS, from the connection to its end.
    pub handshake: Duration,
    /// `handshakes`: of TLS at a time, on one worker.
    pub handshakes: Option<NonZeroU32>,
    /// `proxy_header`: of the PROXY protocol, from its first byte to its last.
    pub proxy_header: Duration,
    /// `idle`: before a connection's first request, and between two.
    pub idle: Duration,
    /// `head_size`, `headers`, `target`.
    pub heads: HeadLimits,
    /// `body_idle`: between two pieces of a request's body.
    pub body_idle: Duration,
    /// `body_rate`: bytes a second, in the mean over a minute of waiting for a body.
    pub body_rate: Option<NonZeroU64>,
    /// `send`: until a client takes a piece of an answer.
    pub send: Duration,
    /// `tunnel_idle`: without a byte in either direction of an upgraded connection.
    pub tunnel_idle: Duration,
    /// `linger`: without a byte of a request that is not read any more.
    pub linger: Duration,
    /// `requests`: of one connection.
    pub requests: Option<NonZeroU32>,
    /// `connections`: of a listener at a time.
    pub connections: Option<NonZeroU32>,
    /// `connections_per_client`: of an IPv4 address, or of an IPv6 network of 64 bits.
    pub connections_per_client: Option<NonZeroU32>,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            handshake: Duration::from_secs(10),
            handshakes: NonZeroU32::new(2048),
            proxy_header: Duration::from_secs(3),
            idle: Duration::from_secs(75),
            heads: HeadLimits { size: 32 * 1024, headers: 100, target: 8 * 1024 },
            body_idle: Duration::from_secs(30),
            body_rate: None,
            send: Duration::from_secs(30),
            tunnel_idle: Duration::from_hours(1),
            linger: Duration::from_secs(5),
            requests: None,
            connections: None,
            connections_per_client: None,
        }
    }
}

impl Limits {
    const DRAIN_MAX: Duration = Duration::from_hours(24);
    const LAME_DUCK_MAX: Duration = Duration::from_hours(1);
}

impl ClientLimits {
    /// A day is longer than anyone waits for a client; a moment is shorter than a packet takes.
    const TIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);
    /// A head of a simple request fits the least; the most is what Pingora reads.
    const HEAD_SIZE: RangeInclusive<u64> = 512..=1024 * 1024 - 1;
    const TARGET: RangeInclusive<u64> = 64..=TARGET_MAX as u64;
    /// [`HEADERS_MAX`](crate::http1::head::HEADERS_MAX) at the most.
    const HEADERS: RangeInclusive<i64> = 8..=256;
    const COUNT: RangeInclusive<i64> = 1..=1_000_000_000;

    /// Reads the keys that are there; the others are as in `self`.
    fn read(self, table: &mut Reader<'_>) -> Self {
        let time = |found: Option<Duration>, before| found.unwrap_or(before);
        Self {
            head: time(table.duration("head", Self::TIME), self.head),
            handshake: time(table.duration("handshake", Self::TIME), self.handshake),
            handshakes: or_false(table.value("handshakes"), self.handshakes, count),
            proxy_header: time(table.duration("proxy_header", Self::TIME), self.proxy_header),
            idle: time(table.duration("idle", Self::TIME), self.idle),
            heads: HeadLimits {
                size: bytes(table.value("head_size"), Self::HEAD_SIZE, self.heads.size),
                headers: table.integer("headers", Self::HEADERS).map_or(self.heads.headers, |it| {
                    usize::try_from(it.value).unwrap_or(self.heads.headers)
                }),
                target: bytes(table.value("target"), Self::TARGET, self.heads.target),
            },
            body_idle: time(table.duration("body_idle", Self::TIME), self.body_idle),
            body_rate: or_false(table.value("body_rate"), self.body_rate, |value| {
                NonZeroU64::new(value.size_within(1..=u64::from(u32::MAX))?)
            }),
            send: time(table.duration("send", Self::TIME), self.send),
            tunnel_idle: time(table.duration("tunnel_idle", Self::TIME), self.tunnel_idle),
            linger: time(table.duration("linger", Self::TIME), self.linger),
            requests: or_false(table.value("requests"), self.requests, count),
            connections: or_false(table.value("connections"), self.connections, count),
            connections_per_client: or_false(
                table.value("connections_per_client"),
                self.connections_per_client,
                count,
            ),
        }
    }
}

/// Reads `[limits]`.
pub(super) fn read(mut table: Reader<'_>) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        body: table.value("body").and_then(body),
        drain: table.duration("drain", Duration::ZERO..=Limits::DRAIN_MAX).unwrap_or(default.drain),
        lame_duck: table
            .duration("lame_duck", Duration::ZERO..=Limits::LAME_DUCK_MAX)
            .unwrap_or(default.lame_duck),
        clients: Arc::new(default.clients.read(&mut table)),
    };
    table.finish();
    limits
}

/// Reads `limits` of a listener: each key by itself, the others as in `[limits]`.
pub(super) fn of_listener(
    table: Option<Reader<'_>>,
    limits: &Arc<ClientLimits>,
) -> Arc<ClientLimits> {
    let Some(mut table) = table else { return Arc::clone(limits) };
    let read = limits.read(&mut table);
    table.finish();
    Arc::new(read)
}

/// A size, or `false` for no limit.
pub(super) fn body(value: Value<'_>) -> Option<u64> {
    if value.as_flag() == Some(false) { None } else { value.size() }
}

/// What is written, where it is written: `false` for no limit.
fn or_false<'t, T>(
    value: Option<Value<'t>>,
    before: Option<T>,
    read: impl FnOnce(Value<'t>) -> Option<T>,
) -> Option<T> {
    match value {
        None => before,
        Some(value) if value.as_flag() == Some(false) => None,
        Some(value) => read(value),
    }
}

fn count(value: Value<'_>) -> Option<NonZeroU32> {
    let count = value.integer(ClientLimits::COUNT)?;
    u32::try_from(count.value).ok().and_then(NonZeroU32::new)
}

fn bytes(value: Option<Value<'_>>, within: RangeInclusive<u64>, before: usize) -> usize {
    let size = value.and_then(|value| value.size_within(within));
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(before)
}
