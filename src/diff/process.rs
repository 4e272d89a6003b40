//! Upstreams, listeners, and what holds for the process as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;

use super::change::{Access, Change, Changes, Subject, allowing, by_name};
use crate::config::value::{print_duration, print_size};
use crate::config::{
    AccessLog, Admin, AdminAddress, ClientLimits, Config, Limits, Listener, LogFormat, LogOutput,
    Node, RequestId, Server, Timeouts, Upstream,
};
use crate::http1::HeadLimits;

pub(super) fn compare(before: &Config, after: &Config) -> Vec<Change> {
    let mut all = Vec::new();
    for (name, sides) in by_name(&before.upstreams, &after.upstreams, |upstream| &upstream.name) {
        let changes = upstream(sides.0, sides.1);
        all.extend(changes.on(Subject::Upstream, vec![format!("upstreams.{name}")]));
    }
    let everywhere = [before, after].map(all_addresses);
    for (name, sides) in by_name(&before.listeners, &after.listeners, |listener| &listener.name) {
        let mut changes = listener(sides.0, sides.1, &everywhere);
        if let (Some(old), Some(new)) = sides {
            // What `[limits]` changes for every listener is told once, there.
            let (old, new) = (&*old.limits, &*new.limits);
            if (old, new) != (&*before.limits.clients, &*after.limits.clients) {
                of_clients(&mut changes, "limits.", old, new);
            }
        }
        all.extend(changes.on(Subject::Listener, vec![format!("listeners.{name}")]));
    }
    let mut changes = Changes::default();
    let Server { threads } = after.server;
    let text = |threads: Option<std::num::NonZeroUsize>| {
        threads.map_or_else(|| "auto".to_owned(), |threads| threads.to_string())
    };
    changes.pair("threads", [text(before.server.threads), text(threads)], Access::Same);
    all.extend(changes.on(Subject::Process, vec!["server".to_owned()]));
    let mut changes = Changes::default();
    // What the routes make of `body` is compared there.
    let Limits { body: _, drain, lame_duck, clients } = &after.limits;
    let time = |time| print_duration(time).to_string();
    changes.pair("drain", [time(before.limits.drain), time(*drain)], Access::Same);
    changes.pair("lame_duck", [time(before.limits.lame_duck), time(*lame_duck)], Access::Same);
    of_clients(&mut changes, "", &before.limits.clients, clients);
    all.extend(changes.on(Subject::Process, vec!["limits".to_owned()]));
    let mut changes = Changes::default();
    let AccessLog { output, format } = &after.access_log;
    let outputs = [shown(before, &before.access_log.output), shown(after, output)];
    changes.pair("output", outputs, Access::Same);
    changes.pair("format", [word(before.access_log.format), word(*format)], Access::Same);
    all.extend(changes.on(Subject::Process, vec!["access_log".to_owned()]));
    all.extend(request_ids(before, after).on(Subject::Process, vec!["request_id".to_owned()]));
    all.extend(admin(before, after).on(Subject::Process, vec!["admin".to_owned()]));
    all
}

/// Looser or tighter, they are about what a client costs, not about what it may see.
fn of_clients(changes: &mut Changes, prefix: &str, before: &ClientLimits, after: &ClientLimits) {
    let [old, new] = [before, after].map(in_words);
    for ((key, from), (_, to)) in old.into_iter().zip(new) {
        changes.pair(&format!("{prefix}{key}"), [from, to], Access::Same);
    }
}

fn in_words(limits: &ClientLimits) -> [(&'static str, String); 13] {
    let ClientLimits {
        head,
        idle,
        heads: HeadLimits { size, headers, target },
        body_idle,
        body_rate,
        send,
        tunnel_idle,
        linger,
        requests,
        connections,
        connections_per_client,
    } = *limits;
    let time = |time| print_duration(time).to_string();
    let size_of = |bytes: u64| print_size(bytes).to_string();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let count = |count: Option<NonZeroU32>| or_none(count.map(|count| count.to_string()));
    [
        ("head", time(head)),
        ("idle", time(idle)),
        ("head_size", size_of(size as u64)),
        ("headers", headers.to_string()),
        ("target", size_of(target as u64)),
        ("body_idle", time(body_idle)),
        ("body_rate", or_none(body_rate.map(|rate| size_of(rate.get())))),
        ("send", time(send)),
        ("tunnel_idle", time(tunnel_idle)),
        ("linger", time(linger)),
        ("requests", count(requests)),
        ("connections", count(connections)),
        ("connections_per_client", count(connections_per_client)),
    ]
}

fn request_ids(before: &Config, after: &Config) -> Changes {
    let mut changes = Changes::default();
    let RequestId { header, trusted } = &after.request_id;
    let old = &before.request_id;
    changes.pair("header", [old.header.to_string(), header.to_string()], Access::Same);
    changes.entries("trusted", &texts(&old.trusted), &texts(trusted), |_, _| Access::Same);
    changes
}

fn admin(before: &Config, after: &Config) -> Changes {
    let mut changes = Changes::default();
    let Admin { listen, hosts, debug_clients } = &after.admin;
    let addresses = |listen: &[AdminAddress]| {
        let address = |address: &AdminAddress| match address {
            AdminAddress::Tcp(address) => address.to_string(),
            AdminAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        listen.iter().map(address).collect::<BTreeSet<String>>()
    };
    let [old, new] = [addresses(&before.admin.listen), addresses(listen)];
    changes.entries("listen", &old, &new, |_, added| allowing(added, false));
    let [old, new] = [texts(&before.admin.hosts), texts(hosts)];
    changes.entries("hosts", &old, &new, |_, added| allowing(added, false));
    let [old, new] = [texts(&before.admin.debug_clients), texts(debug_clients)];
    // They are told what the configuration says.
    changes.entries("debug_clients", &old, &new, |_, added| allowing(added, false));
    changes
}

fn texts(items: &[impl ToString]) -> BTreeSet<String> {
    items.iter().map(ToString::to_string).collect()
}

/// An upstream that is on one side alone differs from nothing in all that it has.
fn upstream(before: Option<&Upstream>, after: Option<&Upstream>) -> Changes {
    let mut changes = Changes::default();
    let [old, new] = [before, after].map(weights);
    changes.map("node", &old, &new, |_, _, _| Access::Same);
    let [old, new] = [before, after].map(|side| {
        let host = side?.host.as_ref()?;
        Some(String::from_utf8_lossy(host.as_bytes()).into_owned())
    });
    changes.value("host", old, new, Access::Same);
    if let (Some(before), Some(after)) = (before, after) {
        let Upstream { name: _, place: _, nodes: _, timeouts, host: _ } = after;
        let Timeouts { connect, read, write, idle } = timeouts;
        let old = &before.timeouts;
        for (what, old, new) in [
            ("timeouts.connect", old.connect, connect),
            ("timeouts.read", old.read, read),
            ("timeouts.write", old.write, write),
            ("timeouts.idle", old.idle, idle),
        ] {
            changes.pair(what, [print_duration(old), print_duration(*new)], Access::Same);
        }
    }
    changes
}

/// The weight of each node. One that is listed twice has both shares.
fn weights(upstream: Option<&Upstream>) -> BTreeMap<String, String> {
    let mut weights: BTreeMap<String, u64> = BTreeMap::new();
    for node in upstream.into_iter().flat_map(|upstream| &upstream.nodes) {
        let Node { address, weight } = node;
        *weights.entry(address.to_string()).or_default() += u64::from(*weight);
    }
    weights.into_iter().map(|(node, weight)| (node, format!("weight {weight}"))).collect()
}

/// A listener that is on one side alone differs from nothing in all that it has;
/// `everywhere` are the addresses of all listeners before and after.
fn listener(
    before: Option<&Listener>,
    after: Option<&Listener>,
    everywhere: &[BTreeSet<String>; 2],
) -> Changes {
    let mut changes = Changes::default();
    let [old, new] = [before, after].map(|side| {
        let Some(listener) = side else { return BTreeSet::new() };
        let Listener { name: _, place: _, addresses, limits: _ } = listener;
        texts(addresses)
    });
    let [before, after] = everywhere;
    // Whichever listener has it, clients come in there.
    changes.entries("address", &old, &new, |address, added| {
        allowing(added, if added { before } else { after }.contains(address))
    });
    changes
}

fn all_addresses(config: &Config) -> BTreeSet<String> {
    config.listeners.iter().flat_map(|listener| texts(&listener.addresses)).collect()
}

/// A file is told from the folder of the configuration, which may be another only
/// because a new version of it is being looked at.
fn shown(config: &Config, output: &LogOutput) -> String {
    match output {
        LogOutput::Stdout => "stdout".to_owned(),
        LogOutput::Off => "off".to_owned(),
        LogOutput::File(path) => {
            let main = config.sources.first().and_then(|source| source.path.parent());
            let below = path.strip_prefix(main.unwrap_or(Path::new(""))).unwrap_or(path);
            below.display().to_string()
        }
    }
}

fn word(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Json => "json",
        LogFormat::Combined => "combined",
    }
}
