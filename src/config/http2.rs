//! `protocols` and `h2` of a listener: whether it speaks HTTP/2, and what a client may take
//! of it.

use std::ops::RangeInclusive;

use super::decode::Reader;
use crate::diagnose::Diagnostic;
use crate::http2::FloodLimits;

/// What a client may take of HTTP/2, beside what it may take of any version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Http2 {
    /// `streams`: requests of a connection at a time.
    pub streams: u32,
    /// `window`: bytes of a request's body that are on their way.
    pub window: u32,
    /// `connection_window`: of all bodies of a connection together.
    pub connection_window: u32,
    /// `resets_per_second`, `frames_per_second`.
    pub floods: FloodLimits,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            streams: 100,
            window: 256 * 1024,
            connection_window: 1024 * 1024,
            floods: FloodLimits { resets: 100, frames: 1_000 },
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

const WORDS: [(&str, Protocol); 2] = [("http/1.1", Protocol::Http1), ("h2", Protocol::Http2)];
const STREAMS: RangeInclusive<i64> = 1..=10_000;
/// With less than a frame's bytes, none is whole; the most that there is are 31 bits
/// (RFC 9113, 6.9.1).
const WINDOW: RangeInclusive<u64> = 16 * 1024..=1024 * 1024 * 1024;
const PER_SECOND: RangeInclusive<i64> = 1..=1_000_000;

/// Reads both. `None`: HTTP/1.1 alone, as is the default in the clear.
pub(super) fn read(listener: &mut Reader<'_>, is_tls: bool) -> Option<Http2> {
    let mut is_offered = is_tls;
    if let Some(value) = listener.value("protocols") {
        let (name, place, notes) = (value.name(), value.key_place, value.notes);
        let errors = notes.errors();
        let protocols: Vec<Protocol> =
            value.items().into_iter().filter_map(|item| item.choice(&WORDS)).collect();
        is_offered = protocols.contains(&Protocol::Http2);
        if !protocols.contains(&Protocol::Http1) && notes.errors() == errors {
            let found = Diagnostic::error("E409", format!("{name} without \"http/1.1\""));
            let help = "WebSockets and the process's own checks come over HTTP/1.1:\n\
                        protocols = [\"h2\", \"http/1.1\"]";
            notes.add(found.at(place).help(help.to_owned()));
        }
    }
    let mut limits = Http2::default();
    if let Some(mut table) = listener.table("h2") {
        if !is_offered {
            let found = Diagnostic::error("E409", format!("{} without HTTP/2", table.name));
            let help = "offer it: protocols = [\"h2\", \"http/1.1\"]";
            table.notes.add(found.at(table.place).help(help.to_owned()));
        }
        limits.read(&mut table);
        table.finish();
    }
    is_offered.then_some(limits)
}

impl Http2 {
    /// Reads the keys that are there.
    fn read(&mut self, table: &mut Reader<'_>) {
        let mut count = |key, within, set: &mut u32| {
            let found = table.integer(key, within).and_then(|it| u32::try_from(it.value).ok());
            *set = found.unwrap_or(*set);
        };
        count("streams", STREAMS, &mut self.streams);
        count("resets_per_second", PER_SECOND, &mut self.floods.resets);
        count("frames_per_second", PER_SECOND, &mut self.floods.frames);
        let mut size = |key, set: &mut u32| {
            let found = table.value(key).and_then(|value| value.size_within(WINDOW));
            *set = found.and_then(|size| u32::try_from(size).ok()).unwrap_or(*set);
        };
        size("window", &mut self.window);
        size("connection_window", &mut self.connection_window);
    }
}
