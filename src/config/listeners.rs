//! `[listeners.NAME]`: where clients connect.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::certificates::{Certificates, Tls};
use super::decode::{Placed, Reader};
use super::http2::{self, Http2};
use super::limits::{self, ClientLimits};
use super::networks::{self, Networks};
use super::notes::Notes;
use super::tables::Tables;
use crate::diagnose::{Diagnostic, Place};

/// Where clients connect.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `NAME` of `[listeners.NAME]`.
    pub name: Box<str>,
    /// Where its table starts.
    pub place: Place,
    /// `address`: at least one. Port 0 lets the system choose.
    pub addresses: Vec<SocketAddr>,
    /// `limits`, over those of `[limits]`.
    pub limits: Arc<ClientLimits>,
    /// `tls`; `None`: in the clear.
    pub tls: Option<Tls>,
    /// `protocols` and `h2`; `None`: HTTP/1.1 alone.
    pub h2: Option<Http2>,
    /// `redirect_https`: the port to which clients are sent that come in the clear.
    pub redirect_https: Option<u16>,
    /// `proxy_protocol`: who must say whom a connection comes from; never empty.
    pub proxy_protocol: Option<Networks>,
    /// `trust_forwarded`: the peers that say for whom they send, and how those came.
    pub trust_forwarded: Networks,
}

impl Listener {
    /// Whether requests are served here that come without TLS, whatever they ask for.
    #[must_use]
    pub fn serves_in_the_clear(&self) -> bool {
        self.tls.is_none() && self.redirect_https.is_none()
    }
}

/// Reads every listener. No two may share an address, and there must be one.
pub(super) fn read<'t>(
    notes: &'t Notes<'t>,
    tables: &mut Tables<'t>,
    limits: &Arc<ClientLimits>,
    certificates: &mut Certificates,
) -> Vec<Listener> {
    if tables.listeners.is_empty() && !tables.damaged {
        notes.add(
            Diagnostic::error("E501", "nothing to listen on")
                .at(tables.start)
                .help("add a listener:\n[listeners.http]\naddress = \"0.0.0.0:80\"".to_owned()),
        );
    }
    let mut taken = HashMap::new();
    let tables = std::mem::take(&mut tables.listeners);
    tables.into_values().map(|table| listener(table, &mut taken, limits, certificates)).collect()
}

fn listener<'t>(
    mut table: Reader<'t>,
    taken: &mut HashMap<SocketAddr, (&'t str, Place)>,
    limits: &Arc<ClientLimits>,
    certificates: &mut Certificates,
) -> Listener {
    table.require("address", "write address = \"0.0.0.0:80\"");
    let texts = table.texts("address");
    if texts.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("{} has no address", table.name);
        table.notes.add(Diagnostic::error("E502", message).at(table.place));
    }
    let mut addresses = Vec::new();
    for text in texts.unwrap_or_default() {
        let Some(address) = address(table.notes, text) else { continue };
        addresses.push(address);
        if address.port() == 0 {
            continue;
        }
        if let Some((other, place)) = taken.insert(address, (table.key, text.place)) {
            table.notes.add(
                Diagnostic::error("E503", format!("two listeners on one address: {address}"))
                    .at(text.place)
                    .related(place, format!("listeners.{other} has it too")),
            );
        }
    }
    let limits = limits::of_listener(table.table("limits"), limits);
    let tls = certificates.of_listener(&mut table);
    let h2 = http2::read(&mut table, tls.is_some());
    let proxy_protocol = proxies(&mut table);
    let trust_forwarded = table.texts("trust_forwarded").unwrap_or_default();
    let redirect_https = redirect_https(&mut table, tls.is_some());
    let listener = Listener {
        name: table.key.into(),
        place: table.place,
        addresses,
        limits,
        tls,
        h2,
        redirect_https,
        proxy_protocol,
        trust_forwarded: networks::read(table.notes, trust_forwarded),
    };
    table.finish();
    listener
}

/// `true`, for HTTPS's own port, or another port.
fn redirect_https(table: &mut Reader<'_>, is_tls: bool) -> Option<u16> {
    let value = table.value("redirect_https")?;
    let (name, place) = (value.name(), value.key_place);
    let port = match value.as_flag() {
        Some(false) => None,
        Some(true) => Some(443),
        None => u16::try_from(value.integer(1..=65535)?.value).ok(),
    };
    if port.is_some() && is_tls {
        let found = Diagnostic::error("E409", format!("{name} beside `tls`")).at(place);
        table.notes.add(found.help("who comes over TLS is there already".to_owned()));
    }
    port
}

fn proxies(table: &mut Reader<'_>) -> Option<Networks> {
    let value = table.value("proxy_protocol")?;
    let (name, place) = (value.name(), value.key_place);
    let texts = value.texts()?;
    if texts.is_empty() {
        let found = Diagnostic::error("E409", format!("{name} has no network")).at(place);
        table.notes.add(found.help("name the proxies that must send the header".to_owned()));
    }
    Some(networks::read(table.notes, texts))
}

pub(super) fn address(notes: &Notes<'_>, text: Placed<&str>) -> Option<SocketAddr> {
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        let help = match text.value.parse::<std::net::IpAddr>() {
            Ok(ip) => format!("an address has a port: \"{}\"", SocketAddr::new(ip, 80)),
            Err(_) => {
                match text.value.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
                    Some(port) => format!(
                        "for every address of this machine, write \"0.0.0.0:{port}\" or \"[::]:{port}\""
                    ),
                    None => {
                        "an address is an IP and a port: \"0.0.0.0:80\", \"[::]:443\"".to_owned()
                    }
                }
            }
        };
        let message = format!("not an address to listen on: {:?}", text.value);
        notes.add(Diagnostic::error("E502", message).at(text.place).help(help));
    }
    parsed
}
