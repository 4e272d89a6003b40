//! How fast a body comes.

use std::{mem, num::NonZeroU64, time::Duration};

/// Over how long a wait the rate is taken.
const WINDOW: Duration = Duration::from_mins(1);

/// What has come of a body, and how long it was waited for. Time in which the body was not
/// waited for is the upstream's.
#[derive(Debug, Default)]
pub(super) struct Rate {
    waited: Duration,
    bytes: u64,
}

impl Rate {
    /// Notes bytes that came after so long, which is nothing for those that were there.
    /// Whether there were fewer than `least` a second, once a minute was waited.
    pub(super) fn is_below(&mut self, least: NonZeroU64, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < WINDOW {
            return false;
        }
        let Self { waited, bytes } = mem::take(self);
        bytes < least.get().saturating_mul(waited.as_secs())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// Whether a body is too slow that has come in these pieces: seconds, and bytes.
    fn is_slow(pieces: &[(u64, u64)]) -> bool {
        let (mut rate, least) = (Rate::default(), NonZeroU64::new(100).unwrap());
        let is_below = |&(waited, bytes)| rate.is_below(least, Duration::from_secs(waited), bytes);
        pieces.iter().any(is_below)
    }

    #[test]
    fn bodies_that_are_too_slow() {
        assert!(!is_slow(&[(59, 0)]), "a minute has not passed");
        assert!(is_slow(&[(60, 0)]));
        assert!(is_slow(&[(30, 1), (30, 5_998)]));
        assert!(!is_slow(&[(30, 1), (30, 5_999)]));
        // A burst counts whole, and not only the piece of it that was waited for.
        assert!(!is_slow(&[(20, 500), (0, 1_500), (20, 500), (0, 1_500), (20, 2_000)]));
        // Each minute counts by itself.
        assert!(is_slow(&[(60, 1_000_000), (60, 0)]));
        assert!(!is_slow(&[(60, 6_000), (60, 6_000), (59, 0)]));
    }
}
