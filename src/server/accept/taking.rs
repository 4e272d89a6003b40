//! Whether a client takes its answer, by looks at how much it has taken.
//!
//! That the kernel has room for more of an answer says little: it asks for more only once
//! a third of what it holds is gone, which a slow client may take minutes for.

use std::time::Duration;

use tokio::time::Instant;

/// Looks in the time that a client has: one that stops is ended so much later at the most.
const LOOKS: u32 = 8;

/// A client that what is written waits for.
#[derive(Debug)]
pub(super) struct Taking {
    /// How many bytes it had taken at the last look; `None`: the system does not say.
    taken: Option<u64>,
    /// When it was last seen to have taken some.
    since: Instant,
    /// When to look next.
    look: Instant,
}

impl Taking {
    /// Writing begins to wait.
    pub(super) fn new(taken: Option<u64>, now: Instant, limit: Duration) -> Self {
        Self { taken, since: now, look: now + limit / LOOKS }
    }

    /// When to look next.
    pub(super) fn next_look(&self) -> Instant {
        self.look
    }

    /// Takes note of a look. Whether the client has taken nothing for `limit`.
    pub(super) fn is_over(&mut self, taken: Option<u64>, now: Instant, limit: Duration) -> bool {
        if taken != self.taken {
            *self = Self::new(taken, now, limit);
        }
        self.look = now + limit / LOOKS;
        now >= self.since + limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    /// Looks at a client that takes a byte at each of these seconds, until it is over.
    fn ends_after(seconds_of_takes: &[u64]) -> u64 {
        let start = Instant::now();
        let mut taking = Taking::new(Some(0), start, LIMIT);
        loop {
            let now = taking.next_look();
            let seconds = (now - start).as_secs();
            let taken = seconds_of_takes.iter().filter(|&&at| at <= seconds).count();
            if taking.is_over(Some(taken as u64), now, LIMIT) {
                return seconds;
            }
        }
    }

    #[test]
    fn who_takes_nothing_ends_in_time() {
        assert_eq!(ends_after(&[]), 8);
    }

    #[test]
    fn who_stops_ends_so_long_after() {
        assert_eq!(ends_after(&[1]), 9);
        assert_eq!(ends_after(&[7, 14, 21, 28]), 36);
    }

    #[test]
    fn where_the_system_does_not_say_only_room_counts() {
        let start = Instant::now();
        let mut taking = Taking::new(None, start, LIMIT);
        assert!(!taking.is_over(None, start + LIMIT / 2, LIMIT));
        assert!(taking.is_over(None, start + LIMIT, LIMIT));
    }
}
