//! `[upstreams.NAME]`: where requests are sent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;

use super::decode::{Placed, Reader, Value, nearest};
use super::notes::Notes;
use super::tables::Tables;
use crate::diagnose::{Diagnostic, Place};

/// Where requests are sent.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `NAME` of `[upstreams.NAME]`.
    pub name: Box<str>,
    /// Where its table starts.
    pub place: Place,
    /// `nodes`: at least one.
    pub nodes: Vec<Node>,
    pub timeouts: Timeouts,
    /// `host`: the Host to send; `None`: the client's.
    pub host: Option<HeaderValue>,
}

/// One of the servers of an upstream.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Node {
    pub address: NodeAddress,
    /// Its share of the requests, against the weights of the others: 1 to
    /// [`Node::WEIGHT_MAX`].
    pub weight: u16,
}

impl Node {
    /// The largest weight. A share of a thousandth is as fine as anyone sets by
    /// hand, and bounds what a weighted choice has to hold.
    pub const WEIGHT_MAX: u16 = 1_000;
}

/// Where a node is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum NodeAddress {
    /// `10.0.1.11:8080`, `[2001:db8::1]:8080`.
    Ip(SocketAddr),
    /// `media-1.internal:443`, to be resolved.
    Name(Box<str>, u16),
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Name(name, port) => write!(out, "{name}:{port}"),
        }
    }
}

/// How long corsac waits for an upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub read: Duration,
    /// For the next bytes of a request to be taken.
    pub write: Duration,
    /// Between requests of one connection.
    pub idle: Duration,
}

impl Timeouts {
    /// An hour is the longest that anyone means; zero would fail every request.
    const RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
}

impl Default for Timeouts {
    /// For a service in the same network that answers within half a minute.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_mins(1),
        }
    }
}

/// Every upstream by its name, and which of them a route uses.
pub(super) struct Upstreams<'t> {
    list: Vec<Upstream>,
    by_name: BTreeMap<&'t str, usize>,
    used: Vec<bool>,
}

impl<'t> Upstreams<'t> {
    pub(super) fn read(tables: &mut Tables<'t>) -> Self {
        let tables = std::mem::take(&mut tables.upstreams);
        let by_name = tables.keys().enumerate().map(|(index, name)| (*name, index)).collect();
        let list: Vec<_> = tables.into_values().map(upstream).collect();
        Self { by_name, used: vec![false; list.len()], list }
    }

    /// The index of the upstream that a value names; noted if there is none.
    pub(super) fn find(&mut self, value: Value<'t>) -> Option<usize> {
        let (notes, owner) = (value.notes, value.name());
        let name = value.text()?;
        if let Some(&index) = self.by_name.get(name.value) {
            if let Some(used) = self.used.get_mut(index) {
                *used = true;
            }
            return Some(index);
        }
        let message = format!("{owner} names an upstream that does not exist: {:?}", name.value);
        let missing = Diagnostic::error("E201", message).at(name.place);
        let candidate = nearest(name.value, self.by_name.keys().copied());
        let candidate = candidate.and_then(|name| self.list.get(*self.by_name.get(name)?));
        notes.add(missing.help(match candidate {
            Some(upstream) => {
                format!("did you mean {:?} ({})?", upstream.name, notes.locate(upstream.place))
            }
            None => format!("define it:\n[upstreams.{}]\nnodes = \"10.0.1.11:8080\"", name.value),
        }));
        None
    }

    /// Notes what is defined and named by no route.
    pub(super) fn warn_of_unused(&self, notes: &Notes<'_>) {
        for (upstream, _) in self.list.iter().zip(&self.used).filter(|(_, used)| !**used) {
            let message = format!("upstreams.{} is not used", upstream.name);
            notes.add(Diagnostic::warning("W201", message).at(upstream.place));
        }
    }

    pub(super) fn into_list(self) -> Vec<Upstream> {
        self.list
    }
}

fn upstream(mut table: Reader<'_>) -> Upstream {
    table.require("nodes", "write nodes = \"10.0.1.11:8080\"");
    let nodes = table.value("nodes").map(Value::items);
    if nodes.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("{} has no nodes", table.name);
        table.notes.add(Diagnostic::error("E220", message).at(table.place));
    }
    let nodes = nodes.into_iter().flatten().filter_map(node).collect();
    let timeouts = table.table("timeouts").map(timeouts).unwrap_or_default();
    let host = table.text("host").and_then(|text| host(table.notes, text));
    // There is one way so far, and it may be written.
    let _ = table.choice("balance", &[("round-robin", ())]);
    let upstream = Upstream { name: table.key.into(), place: table.place, nodes, timeouts, host };
    table.finish();
    upstream
}

/// `"10.0.1.12:8080"`, or `{ address = "10.0.1.11:8080", weight = 3 }`.
fn node(value: Value<'_>) -> Option<Node> {
    if value.is_text() {
        let (notes, text) = (value.notes, value.text()?);
        return Some(Node { address: node_address(notes, text)?, weight: 1 });
    }
    if !value.is_table() {
        value.wrong("an address, or a table with an address");
        return None;
    }
    let mut table = value.table()?;
    table.require("address", "write { address = \"10.0.1.11:8080\", weight = 3 }");
    let address = table.text("address");
    let weight = table.integer("weight", 1..=i64::from(Node::WEIGHT_MAX));
    let notes = table.notes;
    table.finish();
    let weight = weight.and_then(|weight| u16::try_from(weight.value).ok()).unwrap_or(1);
    Some(Node { address: node_address(notes, address?)?, weight })
}

fn node_address(notes: &Notes<'_>, text: Placed<&str>) -> Option<NodeAddress> {
    let wrong = |help: String| {
        let message = format!("not the address of a node: {:?}", text.value);
        notes.add(Diagnostic::error("E220", message).at(text.place).help(help));
        None
    };
    if let Some((scheme, rest)) = text.value.split_once("://") {
        let port = if scheme == "https" { 443 } else { 80 };
        let rest = rest.split('/').next().unwrap_or_default();
        let port = if rest.contains(':') { String::new() } else { format!(":{port}") };
        return wrong(format!("an address has no scheme: \"{rest}{port}\""));
    }
    if let Ok(address) = text.value.parse::<SocketAddr>() {
        return if address.port() == 0 {
            wrong("a port is from 1 to 65535".to_owned())
        } else {
            Some(NodeAddress::Ip(address))
        };
    }
    if let Ok(ip) = text.value.parse::<std::net::IpAddr>() {
        return wrong(format!("an address has a port: \"{}\"", SocketAddr::new(ip, 80)));
    }
    let Some((name, port)) = text.value.rsplit_once(':') else {
        return wrong("an address has a port: \"10.0.1.11:8080\"".to_owned());
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 && is_host_name(name) => Some(NodeAddress::Name(name.into(), port)),
        Ok(port) if port > 0 => wrong("an address is an IP or a host name, and a port".to_owned()),
        _ => wrong("a port is from 1 to 65535".to_owned()),
    }
}

/// RFC 1123, section 2.1, and the underscore that container networks use. A
/// name that ends in a number would be an IP address with a mistake in it.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let last_is_number = name.rsplit('.').next().is_some_and(|last| last.parse::<u64>().is_ok());
    name.len() <= 253 && name.split('.').all(is_label) && !last_is_number
}

fn timeouts(mut table: Reader<'_>) -> Timeouts {
    let default = Timeouts::default();
    let mut read = |key, default| table.duration(key, Timeouts::RANGE).unwrap_or(default);
    let timeouts = Timeouts {
        connect: read("connect", default.connect),
        read: read("read", default.read),
        write: read("write", default.write),
        idle: read("idle", default.idle),
    };
    table.finish();
    timeouts
}

fn host(notes: &Notes<'_>, text: Placed<&str>) -> Option<HeaderValue> {
    let authority = text.value.parse::<Authority>().ok();
    let host = authority
        .filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if host.is_none() {
        let message = format!("not a host: {:?}", text.value);
        notes.add(
            Diagnostic::error("E205", message).at(text.place).help(
                "a host is a name or an IP, and a port if it is not the usual one".to_owned(),
            ),
        );
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        #[rustfmt::skip]
        let cases = [
            ("localhost",          true),
            ("media-1.internal",   true),
            ("my_service",         true),
            ("media.internal.",    true),
            ("",                   false),
            (".internal",          false),
            ("-a.internal",        false),
            ("10.0.0",             false),
            ("300.1.1.1",          false),
            ("two words",          false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_host_name(name), expected, "{name}");
        }
    }
}
