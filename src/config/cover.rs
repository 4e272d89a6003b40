//! Which hosts are served over TLS, in the clear, or both: what does not go together.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::certificates::Certificate;
use super::listeners::Listener;
use super::networks::Networks;
use super::notes::Notes;
use super::services::Service;
use crate::certificate::{Particulars, ServerName};
use crate::diagnose::{Diagnostic, Place};
use crate::route::HostPattern;

/// Warns of hosts that browsers cannot come to: for want of a certificate, or since they were
/// told to come over TLS alone.
pub(super) fn warn(
    notes: &Notes<'_>,
    listeners: &[Listener],
    certificates: &[Certificate],
    services: &[Service],
) {
    warn_of_uncovered(notes, listeners, certificates, services);
    warn_of_subdomains(notes, listeners, services);
}

/// Where something is served in the clear, a host may be meant to be served there alone.
fn warn_of_uncovered(
    notes: &Notes<'_>,
    listeners: &[Listener],
    certificates: &[Certificate],
    services: &[Service],
) {
    if listeners.iter().any(Listener::serves_in_the_clear) {
        return;
    }
    let tls: Vec<_> = listeners.iter().filter_map(|listener| listener.tls.as_ref()).collect();
    let indexes = tls.iter().flat_map(|tls| &tls.certificates);
    let leaves: Vec<_> =
        indexes.filter_map(|&index| Some(&certificates.get(index)?.pair.leaf)).collect();
    if leaves.is_empty() {
        return;
    }
    let mut seen = BTreeSet::new();
    for (host, place) in services.iter().flat_map(|service| &service.hosts) {
        if leaves.iter().any(|leaf| covers(leaf, host)) || !seen.insert(host) {
            continue;
        }
        let found = Diagnostic::warning("W404", format!("no certificate covers {host}"));
        let help = "everything is served over TLS, and clients refuse a certificate for other \
                    names: name one for this host in `tls` of a listener";
        notes.add(found.at(*place).help(help.to_owned()));
    }
}

/// Whether a certificate is for all of these hosts.
fn covers(leaf: &Particulars, host: &HostPattern) -> bool {
    match host {
        HostPattern::Exact(host) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            match (bare.parse::<IpAddr>(), ServerName::parse(host)) {
                (Ok(address), _) => leaf.addresses.contains(&address),
                (_, Ok(host)) => leaf.names.iter().any(|name| name.covers(&host)),
                _ => false,
            }
        }
        // It has one label, and these may have more; but who writes both means both.
        HostPattern::Suffix(suffix) => leaf.names.contains(&ServerName::Wildcard(suffix.clone())),
        HostPattern::Any => true,
    }
}

fn warn_of_subdomains(notes: &Notes<'_>, listeners: &[Listener], services: &[Service]) {
    // Behind a proxy that is trusted, a client may have come over TLS.
    let clear = listeners
        .iter()
        .find(|it| it.serves_in_the_clear() && it.trust_forwarded == Networks::default());
    let Some(clear) = clear else { return };
    let subdomains = |it: &&Service| it.hsts.as_ref().is_some_and(|hsts| hsts.subdomains);
    let above: Vec<_> = services.iter().filter(subdomains).collect();
    let mut seen = BTreeSet::new();
    for (host, place) in
        services.iter().filter(|service| service.hsts.is_none()).flat_map(|it| &it.hosts)
    {
        let is_above = |it: &&&Service| it.hosts.iter().any(|(other, _)| is_below(host, other));
        let Some(service) = above.iter().find(is_above) else { continue };
        if seen.insert(host) {
            notes.add(covered(host, *place, service, clear));
        }
    }
}

fn covered(host: &HostPattern, at: Place, service: &Service, clear: &Listener) -> Diagnostic {
    let message =
        format!("{host} is served in the clear, below a host of services.{}", service.name);
    Diagnostic::warning("W408", message)
        .at(at)
        .related(service.place, "its hsts is for subdomains, too")
        .related(clear.place, "serves in the clear")
        .help(
            "browsers that were there do not come in the clear any more: write hsts = true for \
             this host, too, if it is served over TLS, or subdomains = false there"
                .to_owned(),
        )
}

/// Whether all of these hosts are subdomains of some that the other pattern has.
fn is_below(host: &HostPattern, other: &HostPattern) -> bool {
    let parents = |of: &str| -> Vec<String> {
        of.match_indices('.').filter_map(|(at, _)| of.get(at + 1..)).map(str::to_owned).collect()
    };
    let names = match host {
        HostPattern::Exact(name) => parents(name),
        HostPattern::Suffix(suffix) => {
            [suffix.to_string()].into_iter().chain(parents(suffix)).collect()
        }
        HostPattern::Any => return false,
    };
    *other != HostPattern::Any && names.iter().any(|name| other.matches(name))
}
