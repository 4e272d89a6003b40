//! The configurations that are shipped are right, and the reference is complete.

use std::path::{Path, PathBuf};

use corsac::config;

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
    let report = match config::parse(&uncommented, "corsac.toml") {
        Ok((_, warnings)) => warnings,
        Err(report) => report,
    };
    // Together, some examples are more than one policy would say; what must not
    // be is a key that is unknown, or a value of the wrong form.
    let of_form: Vec<_> =
        report.diagnostics().iter().filter(|found| found.code.starts_with("E0")).collect();
    assert!(of_form.is_empty(), "{}", report.to_text(false));
    let references: Vec<_> =
        report.diagnostics().iter().filter(|found| found.code.starts_with("E2")).collect();
    assert!(references.is_empty(), "{}", report.to_text(false));
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
