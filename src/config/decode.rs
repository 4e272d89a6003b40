//! A typed walk over a TOML table that notes every mistake and goes on.
//!
//! Decoding with serde would stop at the first mistake, and would lose the
//! places of keys. A [`Reader`] is asked for each key that its table may have;
//! what a key should have been is noted where it stands, and the caller sees
//! `None`, as if the key were not there:
//!
//! ```text
//! let host = table.text("host");
//! let connect = table.duration("connect", LIMITS);
//! table.finish();
//! ```
//!
//! [`Reader::finish`] notes the keys that nobody asked for. So the keys that
//! are read, the keys that are known and the keys that a suggestion may name
//! are one list.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::notes::Notes;
use super::value;
use crate::diagnose::{Diagnostic, Place};

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// One table, while it is read.
#[must_use = "a table that is not finished accepts unknown keys"]
pub(super) struct Reader<'t> {
    pub(super) notes: &'t Notes<'t>,
    /// The table's own key, such as `shop`; empty for a whole file.
    pub(super) key: &'t str,
    /// Where that key stands.
    pub(super) place: Place,
    /// Its full name, such as `services.shop`; empty for a whole file.
    pub(super) name: Rc<str>,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Reader<'t> {
    /// The table that a whole file is.
    pub(super) fn root(notes: &'t Notes<'t>, source: usize, table: &'t DeTable<'t>) -> Self {
        let place = Place { source, start: 0, end: 0 };
        Self { notes, key: "", place, name: "".into(), table, asked: Vec::new() }
    }

    /// The value of a key, of any type.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'t>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let (found, item) = self.table.get_key_value(key)?;
        Some(self.at(found.get_ref(), found.span(), item))
    }

    /// Whether the key is there, whatever its value; the key counts as asked for.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Placed<&'t str>> {
        self.value(key)?.text()
    }

    /// Texts: one, or a list.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Placed<&'t str>>> {
        self.value(key)?.texts()
    }

    /// `true` or `false`; false if it is not there.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.value(key).and_then(Value::flag).unwrap_or(false)
    }

    /// A whole number.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        within: RangeInclusive<i64>,
    ) -> Option<Placed<i64>> {
        self.value(key)?.integer(within)
    }

    /// A duration with its unit.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        within: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.value(key)?.duration(within)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        self.value(key)?.choice(choices)
    }

    /// A table with keys of its own.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Reader<'t>> {
        self.value(key)?.table()
    }

    /// A table of named tables: `[upstreams.shop]`, `[upstreams.media]`.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<Reader<'t>> {
        let Some(table) = self.table(key) else { return Vec::new() };
        let entries = table.entries().into_iter();
        entries.filter(Value::has_good_name).filter_map(Value::table).collect()
    }

    /// A list of tables: `[[tests]]`.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Reader<'t>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.item.get_ref() else {
            value.wrong("a list of tables");
            return Vec::new();
        };
        items.iter().filter_map(|item| value.item_of(item).table()).collect()
    }

    /// Every entry, for a table whose keys the user chooses.
    pub(super) fn entries(self) -> Vec<Value<'t>> {
        self.table.iter().map(|(key, item)| self.at(key.get_ref(), key.span(), item)).collect()
    }

    /// Where each key stands that was asked for and is there.
    pub(super) fn places(&self) -> Vec<(&'static str, Place)> {
        let place = |key: &&'static str| {
            let (found, _) = self.table.get_key_value(*key)?;
            Some((*key, self.span(found.span())))
        };
        self.asked.iter().filter_map(place).collect()
    }

    /// Notes that a key has to be there, unless it is, if with a slip: that is
    /// noted by [`Self::finish`].
    pub(super) fn require(&mut self, key: &'static str, help: &str) {
        let slip = |word: &str| nearest(word, std::iter::once(key)).is_some();
        if !self.has(key) && !self.table.keys().any(|word| slip(word.get_ref())) {
            let message = match &*self.name {
                "" => format!("`{key}` is missing"),
                name => format!("{name} has no `{key}`"),
            };
            let missing = Diagnostic::error("E004", message).at(self.place);
            self.notes.add(missing.help(help.to_owned()));
        }
    }

    /// Notes every key that was not asked for.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let word: &str = key.get_ref();
            if self.asked.contains(&word) {
                continue;
            }
            let message = match &*self.name {
                "" => format!("unknown key `{word}` at the top level"),
                name => format!("unknown key `{word}` in {name}"),
            };
            let unknown = Diagnostic::error("E001", message).at(self.span(key.span()));
            self.notes.add(match nearest(word, self.asked.iter().copied()) {
                Some(known) => unknown.label(format!("did you mean `{known}`?")),
                None => unknown.help(format!("the keys are: {}", self.asked.join(", "))),
            });
        }
    }

    fn at(
        &self,
        key: &'t str,
        span: std::ops::Range<usize>,
        item: &'t Spanned<DeValue<'t>>,
    ) -> Value<'t> {
        Value { notes: self.notes, owner: self.name.clone(), key, key_place: self.span(span), item }
    }

    fn span(&self, span: std::ops::Range<usize>) -> Place {
        Place { source: self.place.source, start: span.start, end: span.end }
    }
}

/// The value of a key.
#[derive(Clone)]
pub(super) struct Value<'t> {
    pub(super) notes: &'t Notes<'t>,
    pub(super) key: &'t str,
    pub(super) key_place: Place,
    owner: Rc<str>,
    item: &'t Spanned<DeValue<'t>>,
}

impl<'t> Value<'t> {
    /// Its full name, such as `services.shop.upstream`.
    pub(super) fn name(&self) -> String {
        let Self { owner, key, .. } = self;
        if owner.is_empty() { (*key).to_owned() } else { format!("{owner}.{key}") }
    }

    /// Where the value itself stands.
    pub(super) fn place(&self) -> Place {
        let span = self.item.span();
        Place { source: self.key_place.source, start: span.start, end: span.end }
    }

    pub(super) fn is_text(&self) -> bool {
        self.item.get_ref().is_str()
    }

    /// The value, if it is `true` or `false`; another type is no mistake.
    pub(super) fn as_flag(&self) -> Option<bool> {
        self.item.get_ref().as_bool()
    }

    pub(super) fn is_table(&self) -> bool {
        self.item.get_ref().is_table()
    }

    pub(super) fn text(self) -> Option<Placed<&'t str>> {
        if let DeValue::String(text) = self.item.get_ref() {
            return Some(Placed { value: text, place: self.place() });
        }
        self.wrong("a string");
        None
    }

    pub(super) fn texts(self) -> Option<Vec<Placed<&'t str>>> {
        match self.item.get_ref() {
            DeValue::String(text) => Some(vec![Placed { value: text, place: self.place() }]),
            DeValue::Array(_) => {
                let items = self.items();
                let texts: Vec<_> = items.iter().cloned().filter_map(Value::text).collect();
                (texts.len() == items.len()).then_some(texts)
            }
            _ => {
                self.wrong("a string, or a list of strings");
                None
            }
        }
    }

    /// The values of a list; a value that is no list is a list of one.
    pub(super) fn items(self) -> Vec<Value<'t>> {
        let DeValue::Array(items) = self.item.get_ref() else { return vec![self] };
        items.iter().map(|item| self.item_of(item)).collect()
    }

    /// One value of a list: it has the list's name, and its own place.
    fn item_of(&self, item: &'t Spanned<DeValue<'t>>) -> Self {
        let alone = Value { item, ..self.clone() };
        Value { key_place: alone.place(), ..alone }
    }

    pub(super) fn flag(self) -> Option<bool> {
        let flag = self.as_flag();
        if flag.is_none() {
            self.wrong("true or false");
        }
        flag
    }

    pub(super) fn integer(self, within: RangeInclusive<i64>) -> Option<Placed<i64>> {
        let DeValue::Integer(integer) = self.item.get_ref() else {
            self.wrong("a whole number");
            return None;
        };
        let parsed = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = parsed.filter(|number| within.contains(number));
        if number.is_none() {
            self.out_of_range(integer, within.start(), within.end());
        }
        Some(Placed { value: number?, place: self.place() })
    }

    pub(super) fn duration(self, within: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.with_unit(value::parse_duration)?;
        if !within.contains(&duration) {
            let print = value::print_duration;
            self.out_of_range(print(duration), print(*within.start()), print(*within.end()));
            return None;
        }
        Some(duration)
    }

    pub(super) fn size(self) -> Option<u64> {
        self.with_unit(value::parse_size)
    }

    pub(super) fn size_within(self, within: RangeInclusive<u64>) -> Option<u64> {
        let size = self.with_unit(value::parse_size)?;
        if !within.contains(&size) {
            let print = value::print_size;
            self.out_of_range(print(size), print(*within.start()), print(*within.end()));
            return None;
        }
        Some(size)
    }

    /// A text with a unit; a bare number is the same mistake as a text without one.
    fn with_unit<T>(&self, parse: fn(&str) -> Result<T, value::ValueError>) -> Option<T> {
        let text = match self.item.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            _ => {
                self.wrong("a string such as \"10s\" or \"10MB\"");
                return None;
            }
        };
        let wrong = match parse(&text) {
            Ok(parsed) => return Some(parsed),
            Err(wrong) => wrong,
        };
        let message = format!("{}: {}: {text:?}", self.name(), wrong.message);
        self.notes.add(Diagnostic::error("E003", message).at(self.place()).help(wrong.help));
        None
    }

    pub(super) fn choice<T: Copy>(self, choices: &[(&'static str, T)]) -> Option<T> {
        let name = self.name();
        let notes = self.notes;
        let word = self.text()?;
        if let Some((_, choice)) = choices.iter().find(|(known, _)| *known == word.value) {
            return Some(*choice);
        }
        let known: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let message = format!("{name} cannot be {:?}", word.value);
        notes.add(
            Diagnostic::error("E005", message)
                .at(word.place)
                .help(format!("write {}", known.join(" or "))),
        );
        None
    }

    pub(super) fn table(self) -> Option<Reader<'t>> {
        let DeValue::Table(table) = self.item.get_ref() else {
            self.wrong("a table");
            return None;
        };
        Some(Reader {
            notes: self.notes,
            key: self.key,
            place: self.key_place,
            name: self.name().into(),
            table,
            asked: Vec::new(),
        })
    }

    /// Notes that the value has the wrong type.
    pub(super) fn wrong(&self, expected: &str) {
        let kind = match self.item.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{} must be {expected}, not {kind}", self.name());
        // A table that has a header of its own is found by its name.
        let place = if self.is_table() { self.key_place } else { self.place() };
        self.notes.add(Diagnostic::error("E002", message).at(place));
    }

    fn out_of_range(
        &self,
        value: impl std::fmt::Display,
        least: impl std::fmt::Display,
        most: impl std::fmt::Display,
    ) {
        let message = format!("{} is out of range: {value}", self.name());
        self.notes.add(
            Diagnostic::error("E005", message)
                .at(self.place())
                .help(format!("from {least} to {most}")),
        );
    }

    /// Names stand in metrics, logs and routes (`shop/orders`), so they are plain.
    pub(super) fn has_good_name(&self) -> bool {
        const LENGTH_MAX: usize = 64;
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let good =
            !self.key.is_empty() && self.key.len() <= LENGTH_MAX && self.key.bytes().all(is_plain);
        if !good {
            let message = format!("not a name: {:?} in {}", self.key, self.owner);
            self.notes.add(Diagnostic::error("E006", message).at(self.key_place).help(format!(
                "a name has lower-case letters, digits, `-` and `_`, at most {LENGTH_MAX} in all"
            )));
        }
        good
    }
}

/// The candidate that a word was probably meant to be.
///
/// At most a third of the letters may differ, or one of a short word.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}
