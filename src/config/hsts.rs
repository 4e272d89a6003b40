//! `hsts` of a service: browsers that came over TLS come in no other way.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;

use super::decode::Value;
use crate::diagnose::Diagnostic;

/// What lists of browsers take, and what `true` is.
const YEAR: Duration = Duration::from_hours(365 * 24);

const MAX_AGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(10 * 365 * 24);

/// `Strict-Transport-Security` of a service.
#[derive(Clone, Debug)]
pub struct Hsts {
    /// The header's value (RFC 6797, 6.1).
    pub header: HeaderValue,
    /// It holds for every host below, too.
    pub subdomains: bool,
}

/// Reads `true`, `false`, or `{ max_age, subdomains, preload }`.
pub(super) fn read(value: Value<'_>) -> Option<Hsts> {
    match value.as_flag() {
        Some(false) => return None,
        Some(true) => return header(YEAR, false, false),
        None => {}
    }
    let (name, place, notes) = (value.name(), value.key_place, value.notes);
    let mut table = value.table()?;
    let max_age = table.duration("max_age", MAX_AGE);
    let (subdomains, preload) = (table.flag("subdomains"), table.flag("preload"));
    table.finish();
    let max_age = max_age.unwrap_or(YEAR);
    if preload && !(subdomains && max_age >= YEAR) {
        let message = format!("{name}.preload without what the lists of browsers ask for");
        let found = Diagnostic::error("E409", message).at(place);
        notes.add(
            found.help("they take subdomains = true with a max_age of 365d or more".to_owned()),
        );
    }
    header(max_age, subdomains, preload)
}

fn header(max_age: Duration, subdomains: bool, preload: bool) -> Option<Hsts> {
    let mut text = format!("max-age={}", max_age.as_secs());
    for (is_set, directive) in [(subdomains, "; includeSubDomains"), (preload, "; preload")] {
        text.push_str(if is_set { directive } else { "" });
    }
    let header = HeaderValue::try_from(text).ok()?;
    // Browsers forget the host, and those below.
    let subdomains = subdomains && !max_age.is_zero();
    Some(Hsts { header, subdomains })
}
