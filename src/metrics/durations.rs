//! A histogram of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cells::{Cells, Visit};

/// Upper bounds. From what the edge answers itself, in less than a millisecond, to the
/// default timeout of an upstream.
const BOUNDS: [(Duration, &str); 14] = [
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2_500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_millis(2_500), "2.5"),
    (Duration::from_secs(5), "5"),
    (Duration::from_secs(10), "10"),
    (Duration::from_secs(30), "30"),
];

/// The bound of what is above all others.
const ABOVE: &str = "+Inf";

/// The word for the sum.
pub(super) const SUM: &str = "sum_us";

/// How many durations there were up to each bound, and their sum.
///
/// A scrape while requests are counted may see a duration in its bucket that is not in the
/// sum yet. The count is the sum of the buckets, so those two always agree.
#[derive(Debug, Default)]
pub(super) struct Durations {
    buckets: Cells<{ BOUNDS.len() + 1 }>,
    /// In microseconds: nanoseconds would overflow in three weeks of ten thousand open
    /// WebSockets.
    sum_us: AtomicU64,
}

impl Durations {
    pub(super) fn observe(&self, duration: Duration) {
        self.buckets.add(BOUNDS.partition_point(|(bound, _)| *bound < duration), 1);
        // Rounded, so that many short ones do not vanish.
        let us = duration.saturating_add(Duration::from_nanos(500)).as_micros();
        self.sum_us.fetch_add(u64::try_from(us).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Shows the buckets, from the least bound on, and then the sum. What a bucket
    /// counts is in no other.
    pub(super) fn visit(&self, visit: Visit<'_>) {
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain([ABOVE]);
        self.buckets.visit(bounds.map(|bound| [bound]), visit);
        visit(&[SUM], &self.sum_us);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_bound_is_in_its_bucket() {
        #[rustfmt::skip]
        let cases: &[(Duration, &str, u64)] = &[
            (Duration::ZERO,                    "0.001",  0),
            (Duration::from_nanos(499),         "0.001",  0),
            (Duration::from_nanos(500),         "0.001",  1),
            (Duration::from_millis(1),          "0.001",  1_000),
            (Duration::from_nanos(1_000_001),   "0.0025", 1_000),
            (Duration::from_micros(2_500),      "0.0025", 2_500),
            (Duration::from_secs(30),           "30",     30_000_000),
            (Duration::from_nanos(30_000_000_001), ABOVE, 30_000_000),
            (Duration::MAX,                     ABOVE,    u64::MAX),
        ];
        for &(duration, bound, sum) in cases {
            let durations = Durations::default();
            durations.observe(duration);
            let mut counted = BTreeMap::new();
            durations.visit(&mut |words, cell| {
                counted.insert(words.concat(), cell.load(Ordering::Relaxed));
            });
            counted.retain(|_, count| *count > 0);
            let expected = [(bound.to_owned(), 1), (SUM.to_owned(), sum)];
            let expected = expected.into_iter().filter(|(_, count)| *count > 0);
            assert_eq!(counted, expected.collect(), "{duration:?}");
        }
    }

    #[test]
    fn bounds_are_what_they_say() {
        for (bound, text) in BOUNDS {
            assert_eq!(text.parse().map(Duration::from_secs_f64), Ok(bound));
        }
        assert!(BOUNDS.is_sorted());
    }
}
