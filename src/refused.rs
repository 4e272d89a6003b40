//! Which origins a policy refuses most, in memory that no attacker can fill.
//!
//! An origin is the client's to choose, so it is never the label of a metric. It is
//! counted here, by the Space-Saving algorithm: a fixed number of counters; an origin
//! that has none takes over the least one, and inherits its count as its error. With
//! [`COUNTERS`] counters, after `n` refusals:
//!
//! - `count - error` refusals of an origin are certain, and `count` is the most that
//!   there can be;
//! - no error is larger than `n / COUNTERS`, a fifth of a percent of all refusals;
//! - every origin that was refused more than `n / COUNTERS` times is there.
//!
//! A. Metwally, D. Agrawal, A. El Abbadi: Efficient Computation of Frequent and Top-k
//! Elements in Data Streams, ICDT 2005.
//!
//! Nothing waits here: a refusal that finds the table in use is not counted in it but
//! in [`RefusedOrigins::skipped`], by which the bounds above then widen.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cors::ORIGIN_LEN_MAX;

/// Origins that are shown.
pub const SHOWN: usize = 50;

/// Origins that are counted for each policy. Ten times as many as are shown, so that a
/// stream of origins that nobody ever sends twice does not wash out those that matter.
/// At [`ORIGIN_LEN_MAX`] bytes each, and with what finds them, 320 KiB at the most.
pub const COUNTERS: usize = 512;

/// How long an origin is not logged again.
const LOG_PAUSE_SECONDS: u64 = 60;

/// Origins that are logged for each policy in that time. Under attack every origin is
/// a new one; what the log does not say the table does.
const LOGGED_MAX: usize = 10;

/// The origins that one policy refused.
#[derive(Debug)]
pub struct RefusedOrigins {
    table: Mutex<Table>,
    skipped: AtomicU64,
}

/// An origin, and how often it was refused.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RefusedOrigin {
    /// As it was sent; what no origin has is escaped, and what is too long is cut short.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub origin: Arc<str>,
    /// How often, at the most.
    pub count: u64,
    /// By how much `count` may be too large.
    pub error: u64,
    /// When it was refused last, in seconds since 1970.
    pub last_seen: u64,
}

fn as_text<S: Serializer>(origin: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(origin)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}

impl RefusedOrigins {
    /// Nothing was refused yet.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Mutex::new(Table::new(COUNTERS)), skipped: AtomicU64::new(0) }
    }

    /// Notes that `origin`, the value of an Origin header, was refused at `now`, in
    /// seconds since 1970.
    ///
    /// `Some`: the origin as text, which is to be logged; it was not in the last minute,
    /// nor were ten others. Allocates for origins that are new or logged. Never waits.
    #[must_use]
    pub fn note(&self, origin: &[u8], now: u64) -> Option<Box<str>> {
        let mut table = match self.table.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(table)) => table.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        let origin = text(origin);
        table.count(&origin, now);
        table.log(&origin, now).then(|| origin.into())
    }

    /// The origins that were refused most, the first one most of all: [`SHOWN`] at most.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RefusedOrigin> {
        self.lock().most().take(SHOWN).collect()
    }

    /// Every origin that is counted, the most refused one first.
    #[must_use]
    pub fn all(&self) -> Vec<RefusedOrigin> {
        self.lock().most().collect()
    }

    /// Adds what was counted elsewhere: by the process before this one. `skipped` is what
    /// was left out there.
    ///
    /// Of what is not kept as it is here, and of more than [`COUNTERS`], nothing is taken
    /// but what it adds to the errors of others.
    pub fn merge(&self, origins: &[RefusedOrigin], skipped: u64) {
        self.lock().merge(origins);
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
    }

    /// Refusals that are in no count, since the table was in use.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// For who reads. A request would rather skip than wait.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for RefusedOrigins {
    fn default() -> Self {
        Self::new()
    }
}

/// An origin as it is kept and logged: visible ASCII, no longer than an origin can be.
fn text(origin: &[u8]) -> Cow<'_, str> {
    let (head, rest) = origin.split_at(origin.len().min(ORIGIN_LEN_MAX));
    match std::str::from_utf8(head) {
        Ok(head) if rest.is_empty() && head.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Cow::Borrowed(head)
        }
        _ => {
            let mut escaped = head.escape_ascii().to_string();
            if !rest.is_empty() || escaped.len() > ORIGIN_LEN_MAX {
                escaped.truncate(ORIGIN_LEN_MAX - "...".len());
                escaped.push_str("...");
            }
            Cow::Owned(escaped)
        }
    }
}

/// Whether this is what [`text`] makes of some origin.
fn is_text(origin: &str) -> bool {
    let is_kept = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    origin.len() <= ORIGIN_LEN_MAX && origin.bytes().all(is_kept)
}

#[derive(Debug)]
struct Table {
    capacity: usize,
    /// By origin. The map's hash is keyed, since clients choose what is in it.
    counters: HashMap<Arc<str>, Counter>,
    /// Every counter, the least first: its count, when it was last seen, its origin.
    order: BTreeSet<(u64, u64, Arc<str>)>,
    /// What was logged lately, and when; the oldest first.
    logged: VecDeque<(Box<str>, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    count: u64,
    error: u64,
    last_seen: u64,
}

impl Counter {
    fn add(&mut self, count: u64, error: u64) {
        self.count = self.count.saturating_add(count);
        self.error = self.error.saturating_add(error);
    }
}

impl Table {
    fn new(capacity: usize) -> Self {
        Self { capacity, counters: HashMap::new(), order: BTreeSet::new(), logged: VecDeque::new() }
    }

    /// Costs a few look-ups, whether the origin has a counter or takes one over.
    fn count(&mut self, origin: &str, now: u64) {
        if let Some((origin, counter)) = self.counters.get_key_value(origin) {
            let (origin, mut counter) = (Arc::clone(origin), *counter);
            self.order.remove(&(counter.count, counter.last_seen, Arc::clone(&origin)));
            counter.count = counter.count.saturating_add(1);
            counter.last_seen = counter.last_seen.max(now);
            self.insert(origin, counter);
            return;
        }
        let error = if self.counters.len() < self.capacity { 0 } else { self.evict() };
        let count = error.saturating_add(1);
        self.insert(origin.into(), Counter { count, error, last_seen: now });
    }

    /// The most refused one first.
    fn most(&self) -> impl Iterator<Item = RefusedOrigin> {
        self.order.iter().rev().filter_map(|(count, last_seen, origin)| {
            let error = self.counters.get(origin)?.error;
            let origin = Arc::clone(origin);
            Some(RefusedOrigin { origin, count: *count, error, last_seen: *last_seen })
        })
    }

    /// What an origin that has no counter may have been counted before it was evicted.
    fn unknown(&self) -> u64 {
        let least = || self.order.first().map_or(0, |(count, ..)| *count);
        if self.counters.len() < self.capacity { 0 } else { least() }
    }

    /// What only one of two tables has, the other may have evicted, so its count and its
    /// error grow by what the other does not know; then the most refused ones stay.
    ///
    /// P. Agarwal and others: Mergeable Summaries, PODS 2012.
    fn merge(&mut self, origins: &[RefusedOrigin]) {
        let mut theirs = Self::new(self.capacity);
        theirs.fill(origins.iter().filter(|refused| is_text(&refused.origin)).map(|refused| {
            let &RefusedOrigin { count, last_seen, .. } = refused;
            let error = refused.error.min(count);
            (Arc::clone(&refused.origin), Counter { count, error, last_seen })
        }));
        let (here, there) = (self.unknown(), theirs.unknown());
        let mut ours = std::mem::take(&mut self.counters);
        for (origin, our) in &mut ours {
            match theirs.counters.remove(origin) {
                Some(their) => {
                    our.add(their.count, their.error);
                    our.last_seen = our.last_seen.max(their.last_seen);
                }
                None => our.add(there, there),
            }
        }
        for their in theirs.counters.values_mut() {
            their.add(here, here);
        }
        self.fill(ours.into_iter().chain(theirs.counters));
    }

    /// Keeps the most refused ones of these, and nothing else.
    fn fill(&mut self, counters: impl Iterator<Item = (Arc<str>, Counter)>) {
        self.counters = HashMap::new();
        self.order = BTreeSet::new();
        for (origin, counter) in counters {
            if self.counters.contains_key(&origin) {
                continue;
            }
            self.insert(origin, counter);
            if self.counters.len() > self.capacity {
                self.evict();
            }
        }
    }

    fn insert(&mut self, origin: Arc<str>, counter: Counter) {
        self.order.insert((counter.count, counter.last_seen, Arc::clone(&origin)));
        self.counters.insert(origin, counter);
    }

    /// Removes the least counter, of equals the one that was not seen for longest.
    /// Returns its count.
    fn evict(&mut self) -> u64 {
        let Some((count, _, origin)) = self.order.pop_first() else { return 0 };
        self.counters.remove(&origin);
        count
    }

    /// Whether the origin is to be logged; notes it if so.
    fn log(&mut self, origin: &str, now: u64) -> bool {
        let is_over = |&mut (_, at): &mut (_, u64)| now.saturating_sub(at) >= LOG_PAUSE_SECONDS;
        while self.logged.pop_front_if(is_over).is_some() {}
        let due = self.logged.len() < LOGGED_MAX
            && !self.logged.iter().any(|(logged, _)| **logged == *origin);
        if due {
            self.logged.push_back((origin.into(), now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test may panic"
    )]

    use proptest::prelude::*;

    use super::*;

    /// Ten heavy origins among 100,000 that are refused once each.
    #[test]
    fn an_attack_washes_nothing_out() {
        let refused = RefusedOrigins::new();
        for i in 0..100_000_u64 {
            let _ = refused.note(format!("https://{i}.evil.example").as_bytes(), i / 1000);
            // The lower its number, the heavier: the first one 20,000 times, the last 11,000.
            for heavy in 0..10 {
                if i % 100 < 20 - heavy {
                    let _ =
                        refused.note(format!("https://app-{heavy}.example").as_bytes(), i / 1000);
                }
            }
        }
        let total: u64 = 100_000 + (11..=20).map(|percent| 1000 * percent).sum::<u64>();
        let top = refused.snapshot();
        assert_eq!(top.len(), SHOWN);
        for (heavy, origin) in top.iter().take(10).enumerate() {
            assert_eq!(*origin.origin, *format!("https://app-{heavy}.example"));
            let truth = 1000 * (20 - heavy as u64);
            assert!((origin.count - origin.error..=origin.count).contains(&truth), "{origin:?}");
            assert!(origin.error <= total / COUNTERS as u64, "{origin:?}");
            assert_eq!(origin.last_seen, 99);
        }
        assert!(top.is_sorted_by_key(|origin| std::cmp::Reverse(origin.count)));
        assert_eq!(refused.lock().counters.len(), COUNTERS);
        assert_eq!(refused.skipped(), 0);
    }

    #[test]
    fn nothing_grows_beyond_its_bound() {
        let refused = RefusedOrigins::new();
        for i in 0..20_000_u64 {
            let _ = refused.note(format!("https://{i}.example/{}", "é".repeat(999)).as_bytes(), i);
        }
        let table = refused.lock();
        assert_eq!((table.counters.len(), table.order.len()), (COUNTERS, COUNTERS));
        // What was removed leaves gaps, which a map may answer by doubling, once.
        assert!(table.counters.capacity() <= 4 * COUNTERS);
        assert!(table.counters.keys().all(|origin| origin.len() <= ORIGIN_LEN_MAX));
        assert!(table.logged.len() <= LOGGED_MAX);
    }

    #[test]
    fn one_line_for_an_origin_and_a_minute() {
        let refused = RefusedOrigins::new();
        #[rustfmt::skip]
        let cases = [
            ("https://a.example",   0, true),
            ("https://a.example",   1, false),
            ("https://b.example",  30, true),
            ("https://a.example",  59, false),
            ("https://a.example",  60, true),
            ("https://b.example",  89, false),
            ("https://b.example",  90, true),
            ("https://a.example", 119, false),
            // A clock that was set back logs less, not more.
            ("https://a.example",  10, false),
        ];
        for (origin, now, logged) in cases {
            assert_eq!(refused.note(origin.as_bytes(), now).is_some(), logged, "{origin} at {now}");
        }
        let lines = (0..100_000).filter(|i| refused.note(i.to_string().as_bytes(), 200).is_some());
        assert_eq!(lines.count(), LOGGED_MAX);
    }

    #[test]
    fn what_is_kept_of_an_origin() {
        let long = format!("https://{}.example", "a".repeat(ORIGIN_LEN_MAX));
        let cut = format!("{}...", &long[..ORIGIN_LEN_MAX - 3]);
        let cases: [(&[u8], &str); 6] = [
            (b"https://a.example", "https://a.example"),
            (b"null", "null"),
            (b"", ""),
            (b"a b\t\"\\", "a b\\t\\\"\\\\"),
            ("é".as_bytes(), "\\xc3\\xa9"),
            (long.as_bytes(), &cut),
        ];
        for (sent, kept) in cases {
            assert_eq!(text(sent), kept);
        }
        assert_eq!(text(&[0xff; 8192]).len(), ORIGIN_LEN_MAX);
    }

    #[test]
    fn who_finds_the_table_in_use_skips() {
        let refused = RefusedOrigins::new();
        let table = refused.lock();
        assert_eq!(refused.note(b"https://a.example", 0), None);
        drop(table);
        assert_eq!((refused.skipped(), refused.snapshot().len()), (1, 0));
    }

    #[test]
    fn what_is_merged_may_be_anything() {
        let refused = RefusedOrigins::new();
        let origin = |origin: &str, count| RefusedOrigin {
            origin: origin.into(),
            count,
            error: u64::MAX,
            last_seen: u64::MAX,
        };
        let mut hostile: Vec<_> =
            (0..10_000).map(|i| origin(&format!("https://{i}.example"), i)).collect();
        hostile.push(origin(&"a".repeat(ORIGIN_LEN_MAX + 1), u64::MAX));
        hostile.push(origin("é", u64::MAX));
        hostile.extend(vec![origin("https://a.example", u64::MAX); 2]);
        for _ in 0..3 {
            refused.merge(&hostile, u64::MAX);
            let _ = refused.note(b"https://a.example", 1);
            let _ = refused.note(b"https://new.example", 1);
            let all = refused.all();
            assert_eq!(all.len(), COUNTERS);
            assert!(all.iter().all(|known| is_text(&known.origin) && known.error <= known.count));
            assert_eq!(&*all[0].origin, "https://a.example");
        }
        let table = refused.lock();
        assert_eq!((table.counters.len(), table.order.len()), (COUNTERS, COUNTERS));
    }

    #[test]
    fn what_is_kept_is_merged() {
        for sent in [&b"https://a.example"[..], b"null", b"", b"a b\t\"\\", b"\xff", &[b'a'; 8192]]
        {
            assert!(is_text(&text(sent)), "{sent:?}");
        }
    }

    proptest! {
        /// Two tables as one: what is certain stays certain, and who is missing has fewer
        /// refusals than anyone who is there. One that is merged into nothing is the same.
        #[test]
        fn merged(
            streams in prop::array::uniform2(prop::collection::vec(0_u8..40, 0..500)),
            capacity in 1_usize..24,
        ) {
            let mut exact: HashMap<String, u64> = HashMap::new();
            let [mut table, other] = streams.map(|stream| {
                let mut table = Table::new(capacity);
                for (now, origin) in (0..).zip(stream) {
                    let origin = (origin / 3 * (origin % 3)).to_string();
                    table.count(&origin, now);
                    *exact.entry(origin).or_default() += 1;
                }
                table
            });
            let handed: Vec<_> = other.most().collect();
            let mut empty = Table::new(capacity);
            empty.merge(&handed);
            prop_assert_eq!(empty.most().collect::<Vec<_>>(), &handed[..]);
            table.merge(&handed);
            prop_assert!(table.counters.len() <= capacity);
            prop_assert_eq!(table.counters.len(), table.order.len());
            for (origin, counter) in &table.counters {
                let truth = exact[&**origin];
                prop_assert!(counter.count >= truth && counter.count - counter.error <= truth);
            }
            for (origin, &truth) in &exact {
                let is_there = table.counters.contains_key(&**origin);
                prop_assert!(is_there || truth <= table.unknown(), "{origin}");
            }
        }

        /// The bounds of the algorithm hold against exact counts, whatever the stream.
        #[test]
        fn bounds(stream in prop::collection::vec(0_u8..40, 0..2000), capacity in 1_usize..24) {
            let mut table = Table::new(capacity);
            let mut exact: HashMap<String, u64> = HashMap::new();
            for (now, origin) in (0..).zip(&stream) {
                // Skewed, as life is: small numbers are frequent.
                let origin = (origin / 3 * (origin % 3)).to_string();
                table.count(&origin, now);
                *exact.entry(origin).or_default() += 1;
            }
            let bound = stream.len() as u64 / capacity as u64;
            prop_assert!(table.counters.len() <= capacity);
            for (origin, counter) in &table.counters {
                let truth = exact[&**origin];
                prop_assert!(counter.count >= truth && counter.count - counter.error <= truth);
                prop_assert!(counter.error <= bound);
            }
            for (origin, &truth) in &exact {
                prop_assert!(truth <= bound || table.counters.contains_key(&**origin), "{origin}");
            }
        }
    }
}
