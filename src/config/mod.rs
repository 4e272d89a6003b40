//! Text -> [`Config`], or a [`Report`] of every mistake, all at once.
//!
//! A file is read in four steps. What is not TOML is reported first, and alone, since
//! nothing can be said about the meaning of what cannot be read; then each
//! table is walked ([`decode`](self) notes what has the wrong form and goes on);
//! then what refers to something is resolved; and what is defined and never
//! used is a warning, if there is no error.
//!
//! Each table of the file has a module here that reads it and says what it
//! means. A CORS policy is checked by [`cors`](crate::cors), a pattern by
//! [`route`](crate::route); what they find is put back to its line.
//!
//! This module opens no file: texts come through [`Files`].

mod admin;
mod certificates;
mod clients;
mod cors;
mod cover;
mod decode;
mod guard;
mod headers;
mod hsts;
mod http2;
mod limits;
mod listeners;
mod networks;
mod notes;
mod overlaps;
mod process;
mod request_id;
mod routes;
mod services;
mod tables;
mod test;
mod upstreams;
pub mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

pub use self::admin::{Admin, AdminAddress};
pub use self::certificates::{Certificate, Tls, TlsVersion};
pub use self::cors::Cors;
use self::decode::Reader;
pub use self::headers::HeaderChanges;
pub use self::hsts::Hsts;
pub use self::http2::Http2;
pub use self::limits::{ClientLimits, Limits};
pub use self::listeners::Listener;
pub use self::networks::Networks;
use self::notes::Notes;
pub use self::process::{AccessLog, LogFormat, LogOutput, Server};
pub use self::request_id::RequestId;
pub use self::routes::{Action, Rewrite, Route};
pub use self::services::Service;
use self::tables::Tables;
pub use self::tables::VERSION;
pub use self::test::{Expectation, Test};
pub use self::upstreams::{Node, NodeAddress, Timeouts, Upstream};
use crate::certificate::Guard;
use crate::diagnose::{
    self, Diagnostic, Files, Location, LookedFor, NoFiles, Place, Report, Source,
};
use crate::route::Table;

/// A configuration that was checked: everything in it can be served.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[listeners]`: at least one.
    pub listeners: Vec<Listener>,
    /// `[certificates]`, and those that stand in listeners.
    pub certificates: Vec<Certificate>,
    /// Which clients may ask which listener for which host; `None`: whoever can ask at all.
    pub guard: Option<Arc<Guard>>,
    pub upstreams: Vec<Upstream>,
    pub services: Vec<Service>,
    /// The routes of all services.
    pub routes: Vec<Route>,
    /// Which of them takes a request, as indexes into `routes`.
    pub table: Arc<Table<usize>>,
    pub limits: Limits,
    pub access_log: AccessLog,
    pub request_id: RequestId,
    pub admin: Admin,
    pub server: Server,
    /// `[[tests]]`, of all files.
    pub tests: Vec<Test>,
    /// Everything that was read: the main file, those that it includes, and
    /// files of origins. What places refer to.
    pub sources: Arc<[Source]>,
    /// What is to be watched.
    pub looked_for: Arc<LookedFor>,
}

impl Config {
    /// A place, for people: `corsac.toml:61`.
    #[must_use]
    pub fn locate(&self, place: Place) -> Option<Location<'_>> {
        self.sources.get(place.source).map(|source| source.locate(place))
    }

    /// The listener of this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| *listener.name == *name)
    }

    /// What tells this configuration from another: 16 hexadecimal digits, the
    /// first of the SHA-256 over all texts, in the order of their paths.
    ///
    /// Paths are no part of it, so that two machines that serve by the same texts
    /// have the same hash. It is computed anew each time.
    #[must_use]
    pub fn hash(&self) -> String {
        diagnose::hash(&self.sources)
    }
}

/// Reads a configuration, and all files that it names.
///
/// # Errors
///
/// Every mistake of it, and the warnings.
pub fn load(path: &Path, files: &dyn Files) -> Result<(Config, Report), Report> {
    let notes = Notes::new(files);
    let text = match notes.read(path) {
        Ok((_, text)) => text,
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            notes.add(Diagnostic::error("E008", message));
            return Err(notes.into_report());
        }
    };
    read(notes, &text)
}

/// Reads a configuration that is one text; `name` stands for its path.
///
/// # Errors
///
/// Every mistake of it, and the warnings. A file that it names is one.
pub fn parse(text: &str, name: &str) -> Result<(Config, Report), Report> {
    let notes = Notes::new(&NoFiles);
    notes.hold(Source::new(name.into(), text.to_owned()));
    read(notes, text)
}

/// Reads the configuration whose main file is the first source.
fn read(notes: Notes<'_>, main: &str) -> Result<(Config, Report), Report> {
    let config = {
        let main = notes::parse_toml(&notes, 0, main);
        let included = included(&notes, &main);
        let included: Vec<_> = included
            .iter()
            .map(|(source, text)| (*source, notes::parse_toml(&notes, *source, text)))
            .collect();
        if notes.errors() == 0 {
            let tables = Tables::collect(&notes, &main, &included);
            meaning(&notes, tables)
        } else {
            None
        }
    };
    let report = notes.into_report();
    match config {
        Some(config) if report.errors() == 0 => {
            let (sources, looked_for) = (report.sources().clone(), report.looked_for().clone());
            Ok((Config { sources, looked_for, ..config }, report))
        }
        _ => Err(report),
    }
}

/// The files that `include` of the main file names, each once.
fn included(notes: &Notes<'_>, main: &DeTable<'_>) -> Vec<(usize, Arc<str>)> {
    let mut root = Reader::root(notes, 0, main);
    let patterns = root.texts("include").unwrap_or_default();
    drop(root);
    let mut included: Vec<(usize, Arc<str>)> = Vec::new();
    for pattern in patterns {
        let path = notes.beside(0, pattern.value);
        let read = |path: PathBuf| match notes.read(&path) {
            Ok(read) => Some(read),
            Err(error) => {
                let message = format!("{} cannot be read: {error}", path.display());
                notes.add(Diagnostic::error("E008", message).at(pattern.place));
                None
            }
        };
        match notes.expand(&path) {
            Ok(paths) => included.extend(paths.into_iter().filter_map(read)),
            Err(error) => {
                let message = format!("{:?} cannot be searched: {error}", pattern.value);
                notes.add(Diagnostic::error("E008", message).at(pattern.place));
            }
        }
    }
    included.sort_by_key(|(source, _)| *source);
    included.dedup_by_key(|(source, _)| *source);
    // A pattern such as `*.toml` takes in the main file too.
    included.retain(|(source, _)| *source != 0);
    included
}

/// What the tables mean together. `None`: they have errors, which are noted.
fn meaning<'t>(notes: &'t Notes<'t>, mut tables: Tables<'t>) -> Option<Config> {
    let limits = tables.limits.take().map(limits::read).unwrap_or_default();
    let mut certificates = certificates::Certificates::read(&mut tables);
    let listeners = listeners::read(notes, &mut tables, &limits.clients, &mut certificates);
    let mut upstreams = upstreams::Upstreams::read(&mut tables);
    let mut named = cors::Named::read(&mut tables);
    let errors = notes.errors();
    let (services, routes) = services::read(&mut tables, &mut upstreams, &mut named, limits.body);
    let table = overlaps::compile(notes, &routes);
    let known = (notes.errors() == errors).then_some(routes.as_slice());
    let tests = tables.tests.into_iter().filter_map(|table| test::read(table, known)).collect();
    let access_log = tables.access_log.map(process::access_log).unwrap_or_default();
    let request_id = tables.request_id.map(request_id::read).unwrap_or_default();
    let admin = tables.admin.map(|table| admin::read(table, &listeners)).unwrap_or_default();
    let server = tables.server.map(process::server).unwrap_or_default();
    // Beside an error, what seems to be unused may be what was meant there.
    let is_sound = notes.errors() == 0;
    if is_sound {
        certificates.warn_of_unused(notes);
        upstreams.warn_of_unused(notes);
        named.warn_of_unused(notes);
    }
    let certificates = certificates.into_list();
    if is_sound {
        guard::warn(notes, &listeners, &certificates, &routes);
        cover::warn(notes, &listeners, &certificates, &services);
    }
    let guard = guard::compile(&listeners, &certificates).map(Arc::new);
    Some(Config {
        listeners,
        certificates,
        guard,
        upstreams: upstreams.into_list(),
        services,
        routes,
        table: Arc::new(table?),
        limits,
        access_log,
        request_id,
        admin,
        server,
        tests,
        sources: [].into(),
        looked_for: Arc::default(),
    })
}
