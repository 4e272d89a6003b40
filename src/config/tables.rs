//! The tables of all files together, before any of them is read.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::decode::{Reader, Value};
use super::notes::Notes;
use crate::diagnose::{Diagnostic, Place};

/// The version of the schema that this corsac reads.
pub const VERSION: i64 = 1;

/// The top-level tables of all files, by name: order has no meaning.
pub(super) struct Tables<'t> {
    /// The start of the main file, for what is missing in it.
    pub(super) start: Place,
    pub(super) listeners: BTreeMap<&'t str, Reader<'t>>,
    pub(super) certificates: BTreeMap<&'t str, Reader<'t>>,
    pub(super) upstreams: BTreeMap<&'t str, Reader<'t>>,
    pub(super) origins: BTreeMap<&'t str, Value<'t>>,
    pub(super) policies: BTreeMap<&'t str, Reader<'t>>,
    pub(super) services: BTreeMap<&'t str, Reader<'t>>,
    pub(super) limits: Option<Reader<'t>>,
    pub(super) access_log: Option<Reader<'t>>,
    pub(super) request_id: Option<Reader<'t>>,
    pub(super) admin: Option<Reader<'t>>,
    pub(super) server: Option<Reader<'t>>,
    pub(super) tests: Vec<Reader<'t>>,
    /// A table has an error, so that what seems to be missing may not be.
    pub(super) damaged: bool,
}

impl<'t> Tables<'t> {
    pub(super) fn collect(
        notes: &'t Notes<'t>,
        main: &'t DeTable<'t>,
        included: &'t [(usize, DeTable<'t>)],
    ) -> Self {
        let mut tables = Self {
            start: Place { source: 0, start: 0, end: 0 },
            listeners: BTreeMap::new(),
            certificates: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            origins: BTreeMap::new(),
            policies: BTreeMap::new(),
            services: BTreeMap::new(),
            limits: None,
            access_log: None,
            request_id: None,
            admin: None,
            server: None,
            tests: Vec::new(),
            damaged: false,
        };
        let mut root = Reader::root(notes, 0, main);
        version(&mut root);
        let errors = notes.errors();
        let _ = root.value("include");
        tables.add(root);
        for (source, table) in included {
            let mut root = Reader::root(notes, *source, table);
            for key in ["version", "include"] {
                if let Some(value) = root.value(key) {
                    let message = format!("`{key}` belongs in the main file");
                    notes.add(Diagnostic::error("E009", message).at(value.key_place));
                }
            }
            tables.add(root);
        }
        tables.damaged = notes.errors() > errors;
        tables
    }

    fn add(&mut self, mut root: Reader<'t>) {
        let notes = root.notes;
        add_named(&mut self.listeners, root.named("listeners"));
        add_named(&mut self.certificates, root.named("certificates"));
        add_named(&mut self.upstreams, root.named("upstreams"));
        add_named(&mut self.services, root.named("services"));
        if let Some(mut policies) = root.table("policies") {
            add_named(&mut self.policies, policies.named("cors"));
            policies.finish();
        }
        for value in root.table("origins").map(Reader::entries).unwrap_or_default() {
            if !value.has_good_name() {
                continue;
            }
            match self.origins.get(value.key) {
                Some(first) => twice(notes, &value.name(), value.key_place, first.key_place),
                None => {
                    self.origins.insert(value.key, value);
                }
            }
        }
        add_single(&mut self.limits, root.table("limits"));
        add_single(&mut self.access_log, root.table("access_log"));
        add_single(&mut self.request_id, root.table("request_id"));
        add_single(&mut self.admin, root.table("admin"));
        add_single(&mut self.server, root.table("server"));
        self.tests.extend(root.list("tests"));
        root.finish();
    }
}

fn add_named<'t>(all: &mut BTreeMap<&'t str, Reader<'t>>, tables: Vec<Reader<'t>>) {
    for table in tables {
        match all.get(table.key) {
            Some(first) => twice(table.notes, &table.name, table.place, first.place),
            None => {
                all.insert(table.key, table);
            }
        }
    }
}

fn add_single<'t>(single: &mut Option<Reader<'t>>, table: Option<Reader<'t>>) {
    match (single.as_ref(), table) {
        (Some(first), Some(table)) => twice(table.notes, &table.name, table.place, first.place),
        (None, Some(table)) => *single = Some(table),
        (_, None) => {}
    }
}

/// TOML itself refuses a table that one file defines twice.
fn twice(notes: &Notes<'_>, name: &str, place: Place, first: Place) {
    notes.add(
        Diagnostic::error("E010", format!("{name} is defined in two files"))
            .at(place)
            .related(first, "here too"),
    );
}

fn version(root: &mut Reader<'_>) {
    root.require("version", "write version = 1 at the top of the file");
    let Some(version) = root.integer("version", i64::MIN..=i64::MAX) else { return };
    if version.value != VERSION {
        let message = format!("version {} of the configuration is not known", version.value);
        let help = format!("this corsac reads version {VERSION}");
        root.notes.add(Diagnostic::error("E007", message).at(version.place).help(help));
    }
}
