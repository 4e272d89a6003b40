//! The configurations that are shipped are right, and the reference is complete.

use std::path::{Path, PathBuf};

use corsac::config;
use proptest::prelude::*;

use crate::docs::with_certificates;
use crate::golden::InMemory;

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

/// Loads a text in which nothing may be found.
fn assert_fine(text: &str, name: &str) -> config::Config {
    match config::parse(text, name) {
        Ok((config, warnings)) => {
            assert!(warnings.is_empty(), "{name}\n{}", warnings.to_text(false));
            config
        }
        Err(report) => panic!("{name}\n{}", report.to_text(false)),
    }
}

#[test]
fn the_reference_loads() {
    let text = std::fs::read_to_string(conf().join("corsac.toml")).unwrap();
    assert_fine(&text, "corsac.toml");
}

/// What packages install listens on this machine alone, and sends nothing anywhere.
#[test]
fn the_packaged_configuration_exposes_nothing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/corsac.toml");
    let config = assert_fine(&std::fs::read_to_string(path).unwrap(), "corsac.toml");
    let mut addresses = config.listeners.iter().flat_map(|listener| &listener.addresses);
    assert!(addresses.all(|address| address.ip().is_loopback()));
    let socket = config::AdminAddress::Unix("/run/corsac/admin.sock".into());
    assert_eq!(config.admin.listen, [socket]);
    assert!(config.upstreams.is_empty());
}

#[test]
fn every_example_loads_and_has_tests() {
    let mut examples = 0;
    for entry in std::fs::read_dir(conf().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let config = assert_fine(&text, &path.to_string_lossy());
        assert!(config.tests.len() >= 2, "{}", path.display());
        examples += 1;
    }
    assert!(examples >= 5);
}

/// A comment that is `# key = value`, or `# [table]`, is a key at its default,
/// or an example of one. Each is put in, and what it says is read.
#[test]
fn every_key_of_the_reference_is_one() {
    let text = std::fs::read_to_string(conf().join("corsac.toml")).unwrap();
    let is_key = regex::Regex::new(r"^# ([a-z_]+ = |\[[a-z_.]+\]$)").unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| if is_key.is_match(line) { &line[2..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    let origins = "https://partner.example.com\n".to_owned();
    let mut files = with_certificates("corsac.toml", uncommented.clone());
    files.0.insert("origins.txt".into(), origins);
    let (config, _) = config::load(Path::new("corsac.toml"), &files)
        .unwrap_or_else(|report| panic!("{}", report.to_text(false)));
    // What is said to be a default is the default.
    let defaults = assert_fine(&text, "corsac.toml");
    assert_eq!(config.limits, defaults.limits);
    assert_eq!(config.access_log, defaults.access_log);
    assert_eq!(config.server, defaults.server);
    assert_eq!(config.upstreams[0].timeouts, defaults.upstreams[0].timeouts);
    // Every key that a reader can ask for has its line here.
    for key in keys() {
        let written = regex::Regex::new(&format!(r"(?m)(^|[\[.{{,] *){key}( =|\]|\.)")).unwrap();
        assert!(written.is_match(&uncommented), "conf/corsac.toml has no `{key}`");
    }
}

/// The keys that the sources read: `table.text("host")`.
fn keys() -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let asked = regex::Regex::new(
        r#"(?s)\.(?:value|texts?|flag|integer|duration|choice|table|named|list)\(\s*"([a-z_]+)""#,
    )
    .unwrap();
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(sources).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        keys.extend(asked.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    assert!(keys.len() > 50, "the expression finds the keys");
    keys
}

proptest! {
    /// The reference with a piece cut out and another put in: whatever that is,
    /// what is reported lies in the text. The fuzz target does the same for long.
    #[test]
    fn a_damaged_reference_is_reported_where_it_is_damaged(
        cut in 0.0..1.0_f64,
        length in 0_usize..200,
        put in "[\\[\\]{}=\"'#.,a-z0-9é\n ]{0,12}",
    ) {
        let reference = std::fs::read_to_string(conf().join("corsac.toml")).unwrap();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of the length, in bytes"
        )]
        let from = (cut * reference.len() as f64) as usize;
        let from = reference.floor_char_boundary(from);
        let to = reference.floor_char_boundary((from + length).min(reference.len()));
        let text = [&reference[..from], &put, &reference[to..]].concat();
        let report = match config::parse(&text, "corsac.toml") {
            Ok((_, warnings)) => warnings,
            Err(report) => report,
        };
        for found in report.diagnostics() {
            let related = found.related.iter().map(|(place, _)| place);
            for place in found.place.iter().chain(related) {
                prop_assert!(text.get(place.start..place.end).is_some(), "{found:?}");
            }
        }
        prop_assert_eq!(report.is_empty(), report.to_text(true).is_empty());
        prop_assert!(report.to_json(true).starts_with(r#"{"ok":"#), "one object");
    }
}

/// The hash is of what was read: the same elsewhere, and another after any change.
#[test]
fn the_hash_of_a_configuration() {
    let hash = |files: &[(&str, &str)]| {
        let text = std::fs::read_to_string(conf().join("corsac.toml")).unwrap();
        let main = format!("include = \"d/*.toml\"\n{text}");
        let others = files.iter().map(|(path, text)| ((*path).into(), (*text).to_owned()));
        let files = std::iter::once(("corsac.toml".into(), main)).chain(others).collect();
        config::load(Path::new("corsac.toml"), &InMemory(files)).unwrap().0.hash()
    };
    let (limits, server) = ("limits = { body = \"1MB\" }\n", "server = { threads = 2 }\n");
    let whole = hash(&[("d/a.toml", limits), ("d/b.toml", server)]);
    assert!(whole.len() == 16 && whole.bytes().all(|digit| digit.is_ascii_hexdigit()), "{whole}");
    assert_eq!(whole, hash(&[("d/a.toml", limits), ("d/c.toml", server)]));
    assert_ne!(whole, hash(&[("d/b.toml", limits), ("d/a.toml", server)]));
    assert_ne!(whole, hash(&[("d/a.toml", limits)]));
    let joined = format!("{limits}{server}");
    assert_ne!(whole, hash(&[("d/a.toml", &joined)]));
}

/// The first 64 bits of SHA-256 over the length, in eight bytes, and the text:
/// fixed, for it is compared between machines and versions.
#[test]
fn the_hash_is_stable() {
    let text = "version = 1\nlisteners.a.address = \"127.0.0.1:80\"\n\
                [services.s.routes.r]\npaths = \"/\"\nrespond = {}\n";
    assert_eq!(config::parse(text, "a.toml").unwrap().0.hash(), "4282113e4f1451ed");
}
