//! Tables of `docs/config.md` against what the binary says of itself.

use std::collections::BTreeSet;

use super::read;
use crate::harness::{Corsac, Origin, Workdir, corsac};

/// The rows of the first table below a heading of a document.
fn table(document: &str, heading: &str) -> Vec<String> {
    let text = read(document);
    let (_, below) = text.split_once(&format!("\n{heading}\n")).unwrap();
    let table = below.lines().skip_while(|line| !line.starts_with('|'));
    table.skip(2).take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// What stands between backticks.
fn codes_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The options that a text names, `--help` apart.
fn options(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("--") && word.len() > 2 && *word != "--help").collect()
}

/// `-H` is written for `--header`.
#[test]
fn every_command_has_one_row() {
    let folder = Workdir::new();
    let help = |arguments: &[&str]| {
        let output = corsac(folder.path()).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let usage = help(&["--help"]);
    let (_, commands) = usage.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    let rows = table("docs/config.md", "## The command line");
    let synopses: Vec<&str> = rows.iter().map(|row| codes_in(row).next().unwrap()).collect();
    let documented: Vec<&str> =
        synopses.iter().map(|synopsis| synopsis.split(' ').nth(1).unwrap()).collect();
    assert_eq!(documented, commands);
    for (command, synopsis) in commands.iter().zip(synopses) {
        let documented = synopsis.replace("-H ", "--header ");
        assert_eq!(options(&documented), options(&help(&[command, "-h"])), "corsac {command}");
    }
}

#[test]
fn every_field_of_the_access_log_has_one_row() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, "");
    corsac.get("/").send();
    let line = corsac.access_log(1).pop().unwrap();
    let fields: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let rows = table("docs/config.md", "## The access log");
    let documented: BTreeSet<&str> =
        rows.iter().flat_map(|row| codes_in(row.split('|').nth(1).unwrap())).collect();
    assert_eq!(documented, fields);
}
