//! Upstreams, listeners, and what holds for the process as a whole.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;

use super::change::{Access, Change, Changes, Subject, allowing, by_name};
use crate::certificate::{ClientAuth, Clients, Trust};
use crate::config::value::{print_duration, print_size};
use crate::config::{
    AccessLog, Admin, AdminAddress, Certificate, ClientLimits, Config, Http2, Limits, Listener,
    LogFormat, LogOutput, Networks, Node, RequestId, Server, Timeouts, Tls, TlsVersion, Upstream,
};
use crate::http1::HeadLimits;
use crate::http2::FloodLimits;

pub(super) fn compare(before: &Config, after: &Config) -> Vec<Change> {
    let mut all = Vec::new();
    for (name, sides) in by_name(&before.upstreams, &after.upstreams, |upstream| &upstream.name) {
        let changes = upstream(sides.0, sides.1);
        all.extend(changes.on(Subject::Upstream, vec![format!("upstreams.{name}")]));
    }
    let everywhere = [before, after].map(all_addresses);
    for (name, sides) in by_name(&before.listeners, &after.listeners, |listener| &listener.name) {
        let mut changes = listener(sides.0, sides.1, &everywhere);
        of_proxies(&mut changes, sides.0, sides.1);
        of_tls(&mut changes, sides.0.map(|it| (it, before)), sides.1.map(|it| (it, after)));
        if let (Some(old), Some(new)) = sides {
            of_http2(&mut changes, old.h2, new.h2);
            // What `[limits]` changes for every listener is told once, there.
            let (old, new) = (&*old.limits, &*new.limits);
            if (old, new) != (&*before.limits.clients, &*after.limits.clients) {
                of_clients(&mut changes, "limits.", old, new);
            }
        }
        all.extend(changes.on(Subject::Listener, vec![format!("listeners.{name}")]));
    }
    for (name, sides) in by_name(&before.certificates, &after.certificates, |it| &it.name) {
        // One that stands in a listener has the listener's name.
        let stands_in_listener = name.starts_with("listeners.");
        let name =
            if stands_in_listener { name.to_owned() } else { format!("certificates.{name}") };
        all.extend(certificate(sides.0, sides.1).on(Subject::Certificate, vec![name]));
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

/// What is spoken, and what a client may take of HTTP/2 where that is spoken before and after.
fn of_http2(changes: &mut Changes, before: Option<Http2>, after: Option<Http2>) {
    let protocols = |http2: Option<Http2>| match http2 {
        Some(_) => "h2, http/1.1",
        None => "http/1.1",
    };
    changes.pair("protocols", [before, after].map(protocols), Access::Same);
    let (Some(before), Some(after)) = (before, after) else { return };
    let in_words = |http2: Http2| {
        let Http2 { streams, window, connection_window, floods } = http2;
        let FloodLimits { resets, frames } = floods;
        [
            ("h2.streams", streams.to_string()),
            ("h2.window", print_size(window.into()).to_string()),
            ("h2.connection_window", print_size(connection_window.into()).to_string()),
            ("h2.resets_per_second", resets.to_string()),
            ("h2.frames_per_second", frames.to_string()),
        ]
    };
    for ((key, from), (_, to)) in in_words(before).into_iter().zip(in_words(after)) {
        changes.pair(key, [from, to], Access::Same);
    }
}

/// Looser or tighter, they are about what a client costs, not about what it may see.
fn of_clients(changes: &mut Changes, prefix: &str, before: &ClientLimits, after: &ClientLimits) {
    let [old, new] = [before, after].map(in_words);
    for ((key, from), (_, to)) in old.into_iter().zip(new) {
        changes.pair(&format!("{prefix}{key}"), [from, to], Access::Same);
    }
}

fn in_words(limits: &ClientLimits) -> [(&'static str, String); 16] {
    let ClientLimits {
        head,
        handshake,
        handshakes,
        proxy_header,
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
        ("handshake", time(handshake)),
        ("handshakes", count(handshakes)),
        ("proxy_header", time(proxy_header)),
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
    let [old, new] = [&old.trusted, trusted].map(|networks| texts(networks.iter()));
    // They may name a request as they like, in the log and to the upstream.
    changes.entries("trusted", &old, &new, |_, added| allowing(added, false));
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
    let [old, new] =
        [&before.admin.debug_clients, debug_clients].map(|networks| texts(networks.iter()));
    // They are told what the configuration says.
    changes.entries("debug_clients", &old, &new, |_, added| allowing(added, false));
    changes
}

fn texts(items: impl IntoIterator<Item = impl ToString>) -> BTreeSet<String> {
    items.into_iter().map(|item| item.to_string()).collect()
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
        let Listener {
            name: _,
            place: _,
            addresses,
            limits: _,
            tls: _,
            h2: _,
            redirect_https: _,
            proxy_protocol: _,
            trust_forwarded: _,
        } = listener;
        texts(addresses)
    });
    let [before, after] = everywhere;
    // Whichever listener has it, clients come in there.
    changes.entries("address", &old, &new, |address, added| {
        allowing(added, if added { before } else { after }.contains(address))
    });
    changes
}

/// Who may say whom a connection or a request comes from; without the keys, nobody.
fn of_proxies(changes: &mut Changes, before: Option<&Listener>, after: Option<&Listener>) {
    let trusted = |side: Option<&Listener>| {
        side.map(|listener| texts(listener.trust_forwarded.iter())).unwrap_or_default()
    };
    let [old, new] = [before, after].map(trusted);
    changes.entries("trust_forwarded", &old, &new, |_, added| allowing(added, false));
    let [old, new] = [before, after].map(|side| side.and_then(|it| it.proxy_protocol.as_ref()));
    if before.is_some() && after.is_some() && old.is_some() != new.is_some() {
        let [was, is] = [old.is_some(), new.is_some()];
        let sides = [was, is].map(|is_there| is_there.then(String::new));
        let [from, to] = sides;
        // Without it, whoever reaches the listener is let in.
        changes.value("proxy_protocol", from, to, Access::by_order(&!was, &!is));
    }
    let [old, new] =
        [old, new].map(|networks| texts(networks.into_iter().flat_map(Networks::iter)));
    changes.entries("proxy_protocol", &old, &new, |_, added| allowing(added, false));
}

/// A side of a listener, and the configuration that it is of.
type Side<'c> = Option<(&'c Listener, &'c Config)>;

fn of_tls(changes: &mut Changes, before: Side<'_>, after: Side<'_>) {
    let sides = [before, after]
        .map(|side| side.and_then(|(listener, config)| Some((listener.tls.as_ref()?, config))));
    if let (Some(_), Some(_), [old, new]) = (before, after, &sides) {
        let [old, new] = [old.is_some(), new.is_some()];
        // In the clear, anyone on the way reads and changes what passes.
        changes.value(
            "tls",
            old.then(String::new),
            new.then(String::new),
            Access::by_order(&!old, &!new),
        );
    }
    let redirects =
        [before, after].map(|side| side.and_then(|(listener, _)| listener.redirect_https));
    if before.is_some() && after.is_some() {
        let [old, new] = redirects.map(|port| port.map(|port| port.to_string()));
        let [was, is] = redirects.map(|port| port.is_some());
        changes.value("redirect_https", old, new, Access::by_order(&!was, &!is));
    }
    let names = |side: &Option<(&Tls, &Config)>| {
        let Some((tls, config)) = side else { return BTreeSet::new() };
        let Tls { certificates, default: _, min_version: _, strict_sni: _ } = tls;
        let names = certificates.iter().filter_map(|&index| config.certificates.get(index));
        names.map(|certificate| certificate.name.to_string()).collect()
    };
    let [old, new] = [names(&sides[0]), names(&sides[1])];
    changes.entries("certificates", &old, &new, |_, added| allowing(added, false));
    if let [Some((old, old_config)), Some((new, new_config))] = sides {
        let default = |tls: &Tls, config: &Config| {
            let index = tls.default?;
            Some(config.certificates.get(index)?.name.to_string())
        };
        let (before, after) = (default(old, old_config), default(new, new_config));
        let trust = |tls: &Tls, config: &Config| {
            let certificate = tls.default.and_then(|index| config.certificates.get(index));
            certificate.map_or(Trust::Anybody, Certificate::trust)
        };
        let access = match (trust(old, old_config), trust(new, new_config)) {
            (old, new) if old == new => Access::Same,
            (Trust::Anybody, Trust::Vouched { .. }) => Access::Narrows,
            _ => Access::Widens,
        };
        changes.value("default certificate", before, after, access);
        let versions = [old.min_version, new.min_version];
        let access = Access::by_order(&Reverse(versions[0]), &Reverse(versions[1]));
        changes.pair("min_version", versions.map(TlsVersion::as_str), access);
        let access = Access::by_order(&!old.strict_sni, &!new.strict_sni);
        changes.pair("strict_sni", [old.strict_sni, new.strict_sni], access);
    }
}

/// Who has to show a certificate, and whose.
fn of_trust(changes: &mut Changes, before: Option<&Clients>, after: Option<&Clients>) {
    let (Some(old), Some(new)) = (before, after) else {
        let [was, is] = [before, after].map(|side| side.map(|_| String::new()));
        let access = Access::by_order(&before.is_none(), &after.is_none());
        return changes.value("client_ca", was, is, access);
    };
    let titles = |clients: &Clients| -> BTreeSet<String> {
        clients.authorities.iter().map(|authority| authority.title.clone()).collect()
    };
    changes.entries("client_ca", &titles(old), &titles(new), |_, added| allowing(added, false));
    let auths = [old.auth, new.auth];
    let access = Access::by_order(&auths[0], &auths[1]);
    changes.pair("client", auths.map(ClientAuth::as_str), access);
}

/// A certificate that is renewed is told by its serial number.
fn certificate(before: Option<&Certificate>, after: Option<&Certificate>) -> Changes {
    let mut changes = Changes::default();
    let [old, new] = [before, after].map(|side| {
        let Certificate {
            name: _,
            place: _,
            cert: _,
            key: _,
            key_place: _,
            is_default: _,
            pair,
            // Compared by `of_trust`.
            clients: _,
        } = side?;
        let names = pair.leaf.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Some((pair.digest, pair.leaf.serial.clone(), names))
    });
    if let (Some(before), Some(after)) = (before, after) {
        of_trust(&mut changes, before.clients.as_deref(), after.clients.as_deref());
    }
    let digest = |side: &Option<([u8; 32], String, String)>| side.as_ref().map(|side| side.0);
    if digest(&old) == digest(&new) {
        return changes;
    }
    let serial =
        |side: &Option<([u8; 32], String, String)>| side.as_ref().map(|side| side.1.clone());
    if old.is_some() && new.is_some() && serial(&old) == serial(&new) {
        // Its chain or its key is another one.
        changes.value("files", Some(String::new()), Some("changed".to_owned()), Access::Same);
    }
    changes.value("serial", serial(&old), serial(&new), Access::Same);
    let [old, new] = [old, new].map(|side| side.map(|side| side.2));
    changes.value("names", old, new, Access::Same);
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
