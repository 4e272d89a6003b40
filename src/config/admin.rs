//! `[admin]`: where the process is asked about itself, and who is told more.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::decode::{Placed, Reader};
use super::listeners::{self, Listener};
use super::networks::{self, Networks};
use super::notes::Notes;
use super::routes::pattern_error;
use crate::diagnose::Diagnostic;
use crate::route::{HostPattern, canonical_host};

/// `[admin]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Admin {
    /// `listen`: no address is there twice, and none is a listener's. Empty, the
    /// default: there is no admin listener.
    pub listen: Vec<AdminAddress>,
    /// `hosts`: by which names an address may be asked, beside `localhost`.
    pub hosts: Vec<HostPattern>,
    /// `debug_clients`: whose `Corsac-Explain: 1` is answered.
    pub debug_clients: Networks,
}

impl Admin {
    /// Whether a request on an address may be answered by its `Host`.
    ///
    /// Everyone can make a name of theirs resolve to this machine, and a page of that
    /// name may then read what is answered here (DNS rebinding). It asks by that name: an
    /// IP address and `localhost` are nobody's.
    #[must_use]
    pub fn answers_to(&self, host: &str) -> bool {
        let host = canonical_host(host);
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        address.unwrap_or(&host).parse::<IpAddr>().is_ok()
            || host == "localhost"
            || self.hosts.iter().any(|name| name.matches(&host))
    }
}

/// Where the admin listener listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AdminAddress {
    /// `"127.0.0.1:9901"`. Port 0 lets the system choose.
    Tcp(SocketAddr),
    /// `"unix:/run/corsac/admin.sock"`: the path, relative to the configuration file.
    Unix(PathBuf),
}

/// The longest path of a socket, in bytes: `sun_path` has 108, with its final
/// NUL (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) fn read(mut table: Reader<'_>, listeners: &[Listener]) -> Admin {
    let notes = table.notes;
    let texts = table.texts("listen").unwrap_or_default();
    let hosts = table.texts("hosts").unwrap_or_default();
    let clients = table.texts("debug_clients").unwrap_or_default();
    table.finish();
    let mut listen = Vec::new();
    for text in texts {
        let Some(address) = address(notes, text) else { continue };
        if is_free(notes, text, &address, &listen, listeners) {
            listen.push(address);
        }
    }
    let hosts = hosts.into_iter().filter_map(|text| host(notes, text)).collect();
    let debug_clients =
        clients.into_iter().filter_map(|text| debug_client(notes, text, listeners)).collect();
    Admin { listen, hosts, debug_clients }
}

/// Reads a network of `debug_clients`, and warns where a listener trusts hops of it.
fn debug_client(notes: &Notes<'_>, text: Placed<&str>, listeners: &[Listener]) -> Option<IpNet> {
    let clients = networks::network(notes, text)?;
    for listener in listeners {
        let overlaps = |hops: &&IpNet| hops.contains(&clients) || clients.contains(*hops);
        if let Some(hops) = listener.trust_forwarded.iter().find(overlaps) {
            let name = &listener.name;
            let message = format!("listeners.{name} trusts debug clients to name other clients");
            let help = "whoever is in `trust_forwarded` can pass for any client: list the proxies in \
                        front alone, address by address";
            notes.add(
                Diagnostic::warning("W409", message)
                    .at(text.place)
                    .related(listener.place, format!("its `trust_forwarded` has {hops}"))
                    .help(help.to_owned()),
            );
        }
    }
    Some(clients)
}

fn host(notes: &Notes<'_>, text: Placed<&str>) -> Option<HostPattern> {
    let parsed = HostPattern::parse(text.value).map_err(|mut error| {
        if text.value == "*" {
            let help = "write the names by which it is asked; by every name, any web page could \
                        read it";
            error.help = Some(help.to_owned());
        }
        pattern_error(notes, "E205", text, error);
    });
    parsed.ok()
}

fn address(notes: &Notes<'_>, text: Placed<&str>) -> Option<AdminAddress> {
    let Some(path) = text.value.strip_prefix("unix:") else {
        let address = listeners::address(notes, text)?;
        if !address.ip().is_loopback() {
            let message = format!("the admin listener on {address} is not this machine's alone");
            let help = "anyone who can reach it can read the configuration's names and metrics; \
                        listen on 127.0.0.1, [::1] or \"unix:/run/corsac/admin.sock\"";
            notes.add(Diagnostic::warning("W501", message).at(text.place).help(help.to_owned()));
        }
        return Some(AdminAddress::Tcp(address));
    };
    let path_on_disk = notes.beside(text.place.source, path);
    let length = path_on_disk.as_os_str().len();
    if path.is_empty() || path.contains('\0') || length > SOCKET_PATH_BYTES_MAX {
        let message = format!("not an address to listen on: {:?}", text.value);
        let help = format!(
            "a socket has a path of at most {SOCKET_PATH_BYTES_MAX} bytes: \
             \"unix:/run/corsac/admin.sock\""
        );
        notes.add(Diagnostic::error("E502", message).at(text.place).help(help));
        return None;
    }
    Some(AdminAddress::Unix(path_on_disk))
}

/// Whether nothing else listens there; noted if something does.
fn is_free(
    notes: &Notes<'_>,
    text: Placed<&str>,
    address: &AdminAddress,
    before: &[AdminAddress],
    listeners: &[Listener],
) -> bool {
    if matches!(address, AdminAddress::Tcp(address) if address.port() == 0) {
        return true;
    }
    let message = format!("two listeners on one address: {}", text.value);
    let found = Diagnostic::error("E503", message).at(text.place);
    let has_it = |listener: &&Listener| {
        listener.addresses.iter().any(|&taken| AdminAddress::Tcp(taken) == *address)
    };
    if let Some(listener) = listeners.iter().find(has_it) {
        let other = format!("listeners.{} has it too", listener.name);
        notes.add(found.related(listener.place, other));
        return false;
    }
    if before.contains(address) {
        notes.add(found.help("admin.listen names it twice; remove one".to_owned()));
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn answers_to() {
        let hosts = ["corsac", "*.edge.internal"].map(|host| HostPattern::parse(host).unwrap());
        let admin = Admin { hosts: hosts.into(), ..Admin::default() };
        #[rustfmt::skip]
        let cases = [
            // host                  with hosts  without
            ("127.0.0.1:9901",       true,       true),
            ("127.0.0.1",            true,       true),
            ("[::1]:9901",           true,       true),
            ("10.1.2.3:80",          true,       true),
            ("localhost",            true,       true),
            ("LocalHost.:9901",      true,       true),
            ("corsac:9901",          true,       false),
            ("a.edge.internal",      true,       false),
            ("edge.internal",        false,      false),
            ("corsac.evil.test",     false,      false),
            ("localhost.evil.test",  false,      false),
            ("127.0.0.1.evil.test",  false,      false),
            ("127.0.0.1@evil.test",  false,      false),
            ("127.1",                false,      false),
            ("[::1",                 false,      false),
            ("",                     false,      false),
        ];
        for (host, with, without) in cases {
            assert_eq!(admin.answers_to(host), with, "{host:?}");
            assert_eq!(Admin::default().answers_to(host), without, "{host:?}");
        }
    }
}
