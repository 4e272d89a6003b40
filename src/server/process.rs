//! What a running process cannot change about itself.

use crate::config::{AccessLog, Admin, Config, Listener, Server};
use crate::diagnose::{Diagnostic, Place, Report};

/// Lets a new configuration pass if it needs no new process.
///
/// # Errors
/// The report, with each key that would need one.
pub(super) fn unchanged(
    running: &Config,
    config: Config,
    warnings: Report,
) -> Result<Config, Report> {
    let refused: Vec<Diagnostic> = changes(running, &config)
        .map(|(key, place)| {
            let found = Diagnostic::error("E510", format!("{key} cannot change while corsac runs"))
                .help(
                    "`corsac upgrade` changes it without losing a request; until then nothing of \
                     this configuration is applied"
                        .to_owned(),
                );
            match place {
                Some(place) => found.at(place),
                None => found,
            }
        })
        .collect();
    if refused.is_empty() { Ok(config) } else { Err(warnings.with(refused)) }
}

/// The keys that differ, and where they stand; `None` for one that is gone.
///
/// What belongs to the process is taken apart field by field: a new one does not compile
/// before somebody has said which side it is on.
fn changes(running: &Config, config: &Config) -> impl Iterator<Item = (String, Option<Place>)> {
    let find = |config: &Config, name: &str| {
        config.listeners.iter().find(|listener| *listener.name == *name).cloned()
    };
    let mut changes = Vec::new();
    for listener in &config.listeners {
        let Listener {
            name,
            place,
            addresses,
            limits: _,
            tls,
            h2: _,
            redirect_https: _,
            proxy_protocol,
            trust_forwarded: _,
        } = listener;
        let other = find(running, name);
        if other.as_ref().is_none_or(|other| other.addresses != *addresses) {
            changes.push((format!("listeners.{name}"), Some(*place)));
            continue;
        }
        let Some(other) = other else { continue };
        // The other side would have to change at the same moment.
        if other.tls.is_some() != tls.is_some() {
            changes.push((format!("listeners.{name}.tls"), Some(*place)));
        }
        if other.proxy_protocol.is_some() != proxy_protocol.is_some() {
            changes.push((format!("listeners.{name}.proxy_protocol"), Some(*place)));
        }
    }
    for listener in &running.listeners {
        if find(config, &listener.name).is_none() {
            changes.push((format!("listeners.{}", listener.name), None));
        }
    }
    let Server { threads } = &config.server;
    let AccessLog { output, format } = &config.access_log;
    let Admin { listen, hosts: _, debug_clients: _ } = &config.admin;
    let keys = [
        ("server.threads", *threads != running.server.threads),
        ("access_log.output", *output != running.access_log.output),
        // Its lines wait in one queue, which is made for one format.
        ("access_log.format", *format != running.access_log.format),
        ("admin.listen", *listen != running.admin.listen),
    ];
    let differing = keys.into_iter().filter(|(_, differs)| *differs);
    changes.extend(differing.map(|(key, _)| (key.to_owned(), None)));
    changes.into_iter()
}
