//! What a running process cannot change about itself.

use crate::config::Config;
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
fn changes(running: &Config, config: &Config) -> impl Iterator<Item = (String, Option<Place>)> {
    let find = |config: &Config, name: &str| {
        config.listeners.iter().find(|listener| *listener.name == *name).cloned()
    };
    let mut changes = Vec::new();
    for listener in &config.listeners {
        let same = find(running, &listener.name)
            .is_some_and(|other| other.addresses == listener.addresses);
        if !same {
            changes.push((format!("listeners.{}", listener.name), Some(listener.place)));
        }
    }
    for listener in &running.listeners {
        if find(config, &listener.name).is_none() {
            changes.push((format!("listeners.{}", listener.name), None));
        }
    }
    if running.server != config.server {
        changes.push(("server.threads".to_owned(), None));
    }
    if running.access_log.output != config.access_log.output {
        changes.push(("access_log.output".to_owned(), None));
    }
    // Its lines wait in one queue, which is made for one format.
    if running.access_log.format != config.access_log.format {
        changes.push(("access_log.format".to_owned(), None));
    }
    if running.admin.listen != config.admin.listen {
        changes.push(("admin.listen".to_owned(), None));
    }
    changes.into_iter()
}
