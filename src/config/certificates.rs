//! `[certificates.NAME]`, and what `tls` of a listener says of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::clients;
use super::decode::{Placed, Reader, Value, nearest};
use super::notes::Notes;
use super::tables::Tables;
use crate::certificate::{self, Clients, KeyKind, Pair, ServerName, Trust};
use crate::diagnose::{Diagnostic, Place};

/// A certificate, with its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// `NAME` of `[certificates.NAME]`; `listeners.NAME` of one that stands in a listener.
    pub name: Box<str>,
    /// Where its table starts.
    pub place: Place,
    /// `cert`: the file of the certificate, and of those that lead to its authority.
    pub cert: PathBuf,
    /// `key`: the file of its key, which may be the same one.
    pub key: PathBuf,
    /// Where `key` stands, or else `cert`.
    pub key_place: Place,
    /// `default`: it is shown to clients that name no server, or one that is not known.
    pub is_default: bool,
    /// What stood in the files.
    pub pair: Arc<Pair>,
    /// `client_ca` and `client`: what those have to show who ask for its names. `None`: nothing.
    pub clients: Option<Arc<Clients>>,
}

impl Certificate {
    /// What tells its clients from those of others.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.clients.as_ref().map_or(Trust::Anybody, |clients| clients.trust)
    }
}

/// `tls` of a listener, and what belongs to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// `certificates`: indexes into those of the configuration.
    pub certificates: Box<[usize]>,
    /// Which of these a client gets that names no server, or one that is not known.
    pub default: Option<usize>,
    /// `min_version`.
    pub min_version: TlsVersion,
    /// `strict_sni`: such a client is refused instead.
    pub strict_sni: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    const WORDS: [(&str, Self); 2] = [("1.2", Self::V1_2), ("1.3", Self::V1_3)];

    /// As the configuration has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// All certificates, and which of them listeners use.
pub(super) struct Certificates {
    all: Vec<Entry>,
    /// A table has an error, so that what seems to be missing may not be.
    damaged: bool,
}

struct Entry {
    name: Box<str>,
    place: Place,
    is_used: bool,
    /// `None`: it has an error, which is noted.
    certificate: Option<Certificate>,
}

impl Certificates {
    /// Reads all that have a table of their own.
    pub(super) fn read(tables: &mut Tables<'_>) -> Self {
        let mut all = Self { all: Vec::new(), damaged: tables.damaged };
        for mut table in std::mem::take(&mut tables.certificates).into_values() {
            let name = table.key.into();
            let certificate = certificate(&mut table, name);
            all.add(table.key.into(), table.place, certificate);
            table.finish();
        }
        all
    }

    fn add(&mut self, name: Box<str>, place: Place, certificate: Option<Certificate>) -> usize {
        self.all.push(Entry { name, place, is_used: false, certificate });
        self.all.len() - 1
    }

    /// What a listener says of TLS; `None`: it has none, or an error.
    pub(super) fn of_listener(&mut self, listener: &mut Reader<'_>) -> Option<Tls> {
        let strict = listener.value("strict_sni");
        let value = listener.value("tls");
        let Some(value) = value else {
            if let Some(strict) = strict {
                let message = format!("{} without `tls`", strict.name());
                let found = Diagnostic::error("E409", message).at(strict.key_place);
                listener.notes.add(found.help("only over TLS do clients name a server".to_owned()));
            }
            return None;
        };
        let strict_sni = strict.and_then(Value::flag).unwrap_or(false);
        let (place, name, notes) = (value.key_place, value.name(), value.notes);
        let (used, min_version) = if value.is_table() {
            self.of_table(value.table()?, listener.key)
        } else {
            let names = value.texts();
            (names.map(|names| self.find_all(notes, names)), None)
        };
        let used = used?;
        if used.is_empty() {
            let message = format!("{name} has no certificate");
            notes.add(Diagnostic::error("E404", message).at(place));
        }
        let known: Vec<usize> = used.into_iter().flatten().collect();
        let default = self.default_of(notes, &known, strict_sni, place, &name);
        self.same_names(notes, &known, place);
        let min_version = min_version.unwrap_or_default();
        Some(Tls { certificates: known.into(), default, min_version, strict_sni })
    }

    /// `{ certificates, min_version }`, or a certificate in place: `{ cert, key, min_version }`.
    fn of_table(
        &mut self,
        mut table: Reader<'_>,
        listener: &str,
    ) -> (Option<Vec<Option<usize>>>, Option<TlsVersion>) {
        let min_version = table.choice("min_version", &TlsVersion::WORDS);
        let used = if table.has("cert") {
            let name: Box<str> = format!("listeners.{listener}").into();
            let certificate = certificate(&mut table, name.clone());
            let index = self.add(name, table.place, certificate);
            self.note_use(index);
            Some(vec![Some(index)])
        } else {
            table.require("certificates", "name certificates, or write cert and key");
            let (names, notes) = (table.texts("certificates"), table.notes);
            names.map(|names| self.find_all(notes, names))
        };
        table.finish();
        (used, min_version)
    }

    fn find_all(&mut self, notes: &Notes<'_>, names: Vec<Placed<&str>>) -> Vec<Option<usize>> {
        names.into_iter().map(|name| self.find(notes, name)).collect()
    }

    fn find(&mut self, notes: &Notes<'_>, name: Placed<&str>) -> Option<usize> {
        let index = self.all.iter().position(|entry| *entry.name == *name.value);
        if let Some(index) = index {
            self.note_use(index);
        } else if !self.damaged {
            let message = format!("no certificate is called {:?}", name.value);
            let unknown = Diagnostic::error("E404", message).at(name.place);
            let near = nearest(name.value, self.all.iter().map(|entry| &*entry.name));
            notes.add(match near {
                Some(near) => unknown.label(format!("did you mean {near:?}?")),
                None => unknown.help(format!(
                    "add it:\n[certificates.{}]\ncert = \"fullchain.pem\"\nkey = \"privkey.pem\"",
                    name.value
                )),
            });
        }
        index
    }

    fn note_use(&mut self, index: usize) {
        if let Some(entry) = self.all.get_mut(index) {
            entry.is_used = true;
        }
    }

    /// Those of a listener that have no error.
    fn sound(&self, known: &[usize]) -> Vec<(usize, &Certificate)> {
        let entry = |&index: &usize| Some((index, self.all.get(index)?.certificate.as_ref()?));
        known.iter().filter_map(entry).collect()
    }

    /// The one that is marked, or the only one there is of its name.
    fn default_of(
        &self,
        notes: &Notes<'_>,
        known: &[usize],
        strict_sni: bool,
        place: Place,
        listener: &str,
    ) -> Option<usize> {
        let sound = self.sound(known);
        let marked: Vec<_> = sound.iter().filter(|(_, it)| it.is_default).collect();
        match (&*marked, &*sound) {
            ([(index, _)], _) | ([], [(index, _)]) => Some(*index),
            ([], _) if strict_sni || sound.is_empty() => None,
            ([], _) => {
                let message = format!("none of {listener}'s certificates is the default");
                let found = Diagnostic::error("E408", message).at(place);
                notes.add(
                    found.help(
                        "write default = true in one of them: clients that name no server, or one \
                     that is not known, get it; or strict_sni = true: they are refused"
                            .to_owned(),
                    ),
                );
                None
            }
            ([(_, first), (_, second), ..], _) => {
                let message = format!("two of {listener}'s certificates are the default");
                notes.add(
                    Diagnostic::error("E408", message)
                        .at(second.place)
                        .related(first.place, "here too"),
                );
                None
            }
        }
    }

    /// For one name there may be a certificate of each kind of key, and no more; all of them
    /// for the same clients, or a client would choose by its kind of key what it has to show.
    fn same_names(&self, notes: &Notes<'_>, known: &[usize], listener: Place) {
        let mut taken: BTreeMap<(&ServerName, KeyKind), &Certificate> = BTreeMap::new();
        let mut first: BTreeMap<&ServerName, &Certificate> = BTreeMap::new();
        for (_, certificate) in self.sound(known) {
            let leaf = &certificate.pair.leaf;
            let differs = |name| {
                let other = *first.entry(name).or_insert(certificate);
                (other.trust() != certificate.trust()).then_some((name, other))
            };
            if let Some((name, other)) = leaf.names.iter().find_map(differs) {
                let message = format!("two certificates for {name} take different clients");
                notes.add(
                    Diagnostic::error("E407", message)
                        .at(certificate.place)
                        .related(other.place, "for the same name")
                        .related(listener, "on this listener")
                        .help("write the same client_ca and client in both".to_owned()),
                );
            }
            for name in &leaf.names {
                let Some(other) = taken.insert((name, leaf.kind), certificate) else { continue };
                if std::ptr::eq(other, certificate) {
                    continue;
                }
                let kind = leaf.kind.as_str();
                notes.add(
                    Diagnostic::error("E406", format!("two {kind} certificates for {name}"))
                        .at(certificate.place)
                        .related(other.place, "for the same name")
                        .related(listener, "on this listener"),
                );
                break;
            }
        }
    }

    /// Warns of those that no listener uses.
    pub(super) fn warn_of_unused(&self, notes: &Notes<'_>) {
        for Entry { name, place, .. } in self.all.iter().filter(|entry| !entry.is_used) {
            let message = format!("no listener uses certificates.{name}");
            notes.add(Diagnostic::warning("W406", message).at(*place));
        }
    }

    /// All of them, if none has an error: then indexes fit.
    pub(super) fn into_list(self) -> Vec<Certificate> {
        self.all.into_iter().filter_map(|entry| entry.certificate).collect()
    }
}

/// Reads `cert` and `key`, and the files that they name.
fn certificate(table: &mut Reader<'_>, name: Box<str>) -> Option<Certificate> {
    table.require("cert", "write cert = \"fullchain.pem\"");
    let cert = table.text("cert");
    let key = table.text("key");
    let is_default = table.flag("default");
    let errors = table.notes.errors();
    let clients = clients::read(table);
    let is_sound = table.notes.errors() == errors;
    let (notes, place) = (table.notes, table.place);
    let cert = cert?;
    let is_one_file = key.is_none();
    let key = key.unwrap_or(cert);
    let path = |text: Placed<&str>| notes.beside(text.place.source, text.value);
    let (cert_path, key_path) = (path(cert), path(key));
    let wrong = |code, path: &PathBuf, why: String, place| {
        let message = format!("{} cannot be used: {why}", path.display());
        notes.add(Diagnostic::error(code, message).at(place));
    };
    let chain = notes
        .read_aside(&cert_path)
        .map_err(|error| error.to_string())
        .and_then(|pem| certificate::read_chain(pem.as_bytes()).map_err(|why| why.to_string()))
        .map_err(|why| wrong("E401", &cert_path, why, cert.place))
        .ok();
    if chain.is_none() && is_one_file {
        return None;
    }
    let secret = notes
        .read_aside(&key_path)
        .map_err(|error| error.to_string())
        .and_then(|pem| certificate::read_key(pem.as_bytes()).map_err(|why| why.to_string()))
        .map_err(|why| wrong("E402", &key_path, why, key.place))
        .ok();
    let (chain, secret) = (chain?, secret?);
    if !is_sound {
        return None;
    }
    let pair = Pair::new(chain, secret);
    if notes.is_open_to_others(&key_path) {
        let message = format!("anyone on this machine can read {}", key_path.display());
        let found = Diagnostic::warning("W405", message).at(key.place);
        notes.add(found.help("chmod 0640 it, and give it to corsac's group".to_owned()));
    }
    if !pair.leaf.chain_in_order {
        let message = format!("the certificates in {} are out of order", cert_path.display());
        notes.add(Diagnostic::warning("W403", message).at(cert.place).help(
            "the server's own comes first, then each one's issuer; some clients refuse another \
             order"
                .to_owned(),
        ));
    }
    Some(Certificate {
        name,
        place,
        cert: cert_path,
        key: key_path,
        key_place: key.place,
        is_default,
        pair: Arc::new(pair),
        clients: clients.map(Arc::new),
    })
}
