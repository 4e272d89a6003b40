//! What follows for listeners and routes from what clients have to show.

use super::certificates::Certificate;
use super::listeners::Listener;
use super::notes::Notes;
use super::routes::Route;
use crate::certificate::{ClientAuth, Door, Guard, ServerName};
use crate::diagnose::Diagnostic;
use crate::route::HostPattern;

/// Which clients may ask which listener for which host. `None`: whoever can ask at all, as
/// where no listener asks for certificates.
pub(super) fn compile(listeners: &[Listener], certificates: &[Certificate]) -> Option<Guard> {
    let mut guard = Guard::default();
    for listener in listeners {
        let Some(tls) = &listener.tls else { continue };
        let trust = |index: usize| certificates.get(index).map(Certificate::trust);
        let mut door = Door::default();
        for &index in &tls.certificates {
            let Some(certificate) = certificates.get(index) else { continue };
            for name in &certificate.pair.leaf.names {
                *door.names.entry(name) = certificate.trust();
            }
        }
        door.default = tls.default.filter(|_| !tls.strict_sni).and_then(trust);
        guard.0.insert(listener.name.clone(), door);
    }
    let asks = used(listeners, certificates).any(|certificate| certificate.clients.is_some());
    let is_strict = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.strict_sni);
    (asks || listeners.iter().any(is_strict)).then_some(guard)
}

fn used<'c>(
    listeners: &'c [Listener],
    certificates: &'c [Certificate],
) -> impl Iterator<Item = &'c Certificate> {
    let tls = listeners.iter().filter_map(|listener| listener.tls.as_ref());
    tls.flat_map(|tls| &tls.certificates).filter_map(|&index| certificates.get(index))
}

/// Warns of what is beside certificates that clients must have: listeners where nobody can
/// show one, and routes whose preflights never come.
pub(super) fn warn(
    notes: &Notes<'_>,
    listeners: &[Listener],
    certificates: &[Certificate],
    routes: &[Route],
) {
    let auth = |certificate: &Certificate| certificate.trust().auth();
    let required = used(listeners, certificates)
        .find(|certificate| auth(certificate).is_some_and(ClientAuth::is_required));
    let Some(certificate) = required else { return };
    for listener in listeners.iter().filter(|listener| listener.serves_in_the_clear()) {
        let message = format!(
            "listeners.{} is in the clear: no client can show a certificate there",
            listener.name
        );
        let found = Diagnostic::warning("W407", message).at(listener.place);
        let help = "hosts that ask for one get 421 there, and all others are served: write \
                    redirect_https = true, or see that only those reach it who may";
        notes.add(found.related(certificate.place, "asks for one").help(help.to_owned()));
    }
    let strict: Vec<_> = used(listeners, certificates)
        .filter(|certificate| auth(certificate) == Some(ClientAuth::Require))
        .collect();
    let nobody_else = used(listeners, certificates).count() == strict.len();
    for route in routes.iter().filter(|route| route.cors.is_some()) {
        let over = strict.iter().find(|certificate| {
            let names = &certificate.pair.leaf.names;
            route.patterns.iter().any(|pattern| match &pattern.host {
                HostPattern::Any => nobody_else,
                host => names.iter().any(|name| meet(name, host)),
            })
        });
        let Some(certificate) = over else { continue };
        let message =
            format!("no preflight comes to {}: its clients must show certificates", route.key());
        let found = Diagnostic::warning("W412", message).at(route.place);
        let help = "browsers send preflights without a certificate: write client = \"require-except-preflights\"";
        notes.add(
            found.related(certificate.place, "asks for one in the handshake").help(help.to_owned()),
        );
    }
}

/// Whether there is a host that is both.
fn meet(name: &ServerName, host: &HostPattern) -> bool {
    match (name, host) {
        (ServerName::Exact(name), host) => host.matches(name),
        (ServerName::Wildcard(_), HostPattern::Exact(host)) => {
            ServerName::parse(host).is_ok_and(|host| name.covers(&host))
        }
        // One label below `parent`, and at least one below `suffix`.
        (ServerName::Wildcard(parent), HostPattern::Suffix(suffix)) => {
            parent == suffix || host.matches(parent)
        }
        (ServerName::Wildcard(_), HostPattern::Any) => true,
    }
}
