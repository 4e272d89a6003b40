//! `corsac routes`.

use std::{io::Write, path::Path, process::ExitCode};

use serde::Serialize;

use super::configuration::load;
use super::output::{Exit, Format, NO, print_json, print_report};
use crate::{
    config::{Action, Config, Route},
    route::{Expect, Pattern},
};

/// One line of the table.
#[derive(Serialize)]
struct Row {
    host: String,
    path: String,
    methods: String,
    predicates: String,
    priority: i64,
    route: String,
    action: String,
    cors: String,
    place: String,
}

/// Shows the routes in the order in which they are tried.
pub(super) fn routes(path: &Path, format: Format) -> Exit {
    let config = match load(path) {
        Ok((config, _)) => config,
        Err(report) => {
            print_report(&report)?;
            return Ok(NO);
        }
    };
    let rows: Vec<Row> = config
        .table
        .iter()
        .filter_map(|(pattern, &index)| Some(row(&config, pattern, config.routes.get(index)?)))
        .collect();
    match format {
        Format::Json => print_json(&rows)?,
        Format::Text => print_table(&rows)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(config: &Config, pattern: &Pattern, route: &Route) -> Row {
    let methods: Vec<_> = pattern.predicates.methods.iter().map(http::Method::as_str).collect();
    let action = match &route.action {
        Action::Forward { upstream, .. } => config
            .upstreams
            .get(*upstream)
            .map_or_else(String::new, |upstream| format!("-> {}", upstream.name)),
        Action::Redirect { to, status } => {
            format!("{} {}", status.as_u16(), String::from_utf8_lossy(to.as_bytes()))
        }
        Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
    };
    Row {
        host: pattern.host.to_string(),
        path: pattern.path.to_string(),
        methods: if methods.is_empty() { "*".to_owned() } else { methods.join(",") },
        predicates: predicates(pattern),
        priority: pattern.priority,
        route: route.name.to_string(),
        action,
        cors: route.cors.as_ref().map_or_else(|| "-".to_owned(), |cors| cors.name.clone()),
        place: config.locate(route.place).map(|place| place.to_string()).unwrap_or_default(),
    }
}

fn predicates(pattern: &Pattern) -> String {
    let expected = |expect: &Expect| match expect {
        Expect::Present => "*".to_owned(),
        Expect::Equals(value) => value.to_string(),
    };
    let headers = &pattern.predicates.headers;
    let query = &pattern.predicates.query;
    headers
        .iter()
        .map(|(name, expect)| format!("{name}: {}", expected(expect)))
        .chain(query.iter().map(|(name, expect)| format!("?{name}={}", expected(expect))))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A column: its title, and what stands in it.
type Column = (&'static str, fn(&Row) -> String);

fn print_table(rows: &[Row]) -> std::io::Result<()> {
    let columns: [Column; 7] = [
        ("HOST", |row| row.host.clone()),
        ("PATH", |row| row.path.clone()),
        ("METHODS", |row| [row.methods.as_str(), &row.predicates].join(" ").trim_end().to_owned()),
        ("ROUTE", |row| row.route.clone()),
        ("ACTION", |row| row.action.clone()),
        ("CORS", |row| row.cors.clone()),
        ("WHERE", |row| row.place.clone()),
    ];
    let mut lines = vec![columns.map(|(title, _)| title.to_owned())];
    lines.extend(rows.iter().map(|row| columns.map(|(_, cell)| cell(row))));
    let widths = columns.iter().enumerate().map(|(column, _)| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    });
    let widths: Vec<usize> = widths.map(Option::unwrap_or_default).collect();
    let mut out = std::io::stdout().lock();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}
