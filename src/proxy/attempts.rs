//! The attempts that one request makes to reach its upstream, and when another one is safe.

use std::time::{Duration, Instant};

use crate::upstream::{Endpoint, Pool, Tried};

/// The most attempts that a request makes, whatever they fail by.
pub const ATTEMPTS_MAX: usize = 3;

/// Where a request was sent, and what of it has passed.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// How many were begun.
    made: u8,
    /// The endpoint that was chosen last.
    endpoint: Option<Endpoint>,
    /// When it was chosen.
    started: Option<Instant>,
    /// The endpoints that have failed.
    tried: Tried,
    /// How many interim answers have come in the attempt that goes on.
    interim: u8,
    /// Bytes of the request's body that have passed in the attempt that goes on.
    body_bytes: u64,
    /// Bytes of the answer's body that have passed.
    answer_bytes: u64,
    /// The whole answer has passed.
    is_answered: bool,
}

/// What is known of an attempt that failed once its connection was there.
#[expect(clippy::struct_excessive_bools, reason = "four facts that have nothing in common")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken {
    /// The request's method is idempotent (RFC 9110, 9.2.2).
    pub(super) is_idempotent: bool,
    /// The connection had served a request before.
    pub(super) was_reused: bool,
    /// It closed without a byte of an answer, and nothing of one has gone to the client.
    pub(super) is_unanswered: bool,
    /// All that was read of the request's body is there to be sent again.
    pub(super) has_body: bool,
}

impl Broken {
    /// Whether the request may be sent again: only where nothing can be done twice that
    /// is not the same when done twice, and where the likely reason is a kept connection
    /// that the upstream closed just when it was used.
    fn is_safe(self) -> bool {
        self.is_idempotent && self.was_reused && self.is_unanswered && self.has_body
    }
}

impl Attempts {
    /// The endpoint that the request goes to, or went to last.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Picks an endpoint: one that was not tried yet, where there is one. `None`: no node
    /// has an address.
    pub(super) fn pick(&self, pool: &Pool) -> Option<Endpoint> {
        pool.pick(&self.tried)
    }

    /// Begins an attempt at `endpoint`, for a request that has `begun` then. Returns
    /// whether it is another one, after one that failed.
    pub(super) fn begin(&mut self, endpoint: Endpoint, begun: Instant) -> bool {
        self.made = self.made.saturating_add(1);
        self.endpoint = Some(endpoint);
        // What was read of the body passes once more.
        self.body_bytes = 0;
        self.interim = 0;
        // The first is chosen as soon as the request is there.
        let now = if self.started.is_none() { begun } else { Instant::now() };
        self.started.replace(now).is_some()
    }

    /// How long the attempt that goes on has taken so far.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        Some(self.started?.elapsed())
    }

    /// Notes that `bytes` more of the request's body have passed. Returns how many there
    /// were so far.
    pub(super) fn passed(&mut self, bytes: usize) -> u64 {
        self.body_bytes = self.body_bytes.saturating_add(bytes as u64);
        self.body_bytes
    }

    /// Notes that the head of an answer has come. Returns how many interim ones there were.
    pub(super) fn answered(&mut self, is_interim: bool) -> u8 {
        self.interim = self.interim.saturating_add(u8::from(is_interim));
        self.interim
    }

    /// Notes that `bytes` more of the answer's body have passed, the last ones or not.
    pub(super) fn passed_back(&mut self, bytes: usize, is_end: bool) {
        self.answer_bytes = self.answer_bytes.saturating_add(bytes as u64);
        self.is_answered |= is_end;
    }

    /// Whether the whole answer has passed.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Bytes of bodies that have passed, to the upstream and back.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.body_bytes, self.answer_bytes)
    }

    /// Notes that no connection came about. Returns whether there is to be another
    /// attempt: nothing was sent, so at another endpoint that is always safe.
    pub(super) fn not_connected(&mut self, pool: Option<&Pool>) -> bool {
        self.failed();
        usize::from(self.made) < ATTEMPTS_MAX
            && pool.is_some_and(|pool| pool.has_other_than(&self.tried))
    }

    /// Notes that the attempt failed after its connection was there. Returns whether
    /// there is to be another: also at the same endpoint, where there is no other.
    pub(super) fn broken(&mut self, broken: Broken) -> bool {
        self.failed();
        usize::from(self.made) < ATTEMPTS_MAX && broken.is_safe()
    }

    fn failed(&mut self) {
        if let Some(endpoint) = self.endpoint {
            self.tried.add(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::upstream::ResolvedNode;

    fn pool(ports: &[u16]) -> Pool {
        let addresses = ports.iter().map(|&port| ([127, 0, 0, 1], port).into()).collect();
        Pool::new(vec![ResolvedNode { weight: 1, addresses }])
    }

    fn begin(attempts: &mut Attempts, pool: &Pool) -> bool {
        let endpoint = attempts.pick(pool).unwrap();
        attempts.begin(endpoint, Instant::now())
    }

    #[test]
    fn what_is_sent_again() {
        let safe =
            Broken { is_idempotent: true, was_reused: true, is_unanswered: true, has_body: true };
        #[rustfmt::skip]
        let cases = [
            ("all is as it must be",         safe,                                     true),
            ("POST",                         Broken { is_idempotent: false, ..safe },  false),
            ("a new connection",             Broken { was_reused: false, ..safe },     false),
            ("the answer had begun",         Broken { is_unanswered: false, ..safe },  false),
            ("the body was not kept whole",  Broken { has_body: false, ..safe },       false),
        ];
        for (case, broken, again) in cases {
            let mut attempts = Attempts::default();
            begin(&mut attempts, &pool(&[1]));
            assert_eq!(attempts.broken(broken), again, "{case}");
        }
        let mut attempts = Attempts::default();
        for made in 1..=ATTEMPTS_MAX {
            assert_eq!(begin(&mut attempts, &pool(&[1])), made > 1);
            assert_eq!(attempts.broken(safe), made < ATTEMPTS_MAX, "attempt {made}");
        }
    }

    #[test]
    fn who_refuses_is_asked_once() {
        for (ports, attempts_made) in [(&[1][..], 1), (&[1, 2], 2), (&[1, 2, 3, 4], ATTEMPTS_MAX)] {
            let (pool, mut attempts) = (pool(ports), Attempts::default());
            let mut made = 0;
            loop {
                begin(&mut attempts, &pool);
                made += 1;
                if !attempts.not_connected(Some(&pool)) {
                    break;
                }
            }
            assert_eq!(made, attempts_made, "{ports:?}");
        }
    }

    #[test]
    fn a_body_is_counted_anew_in_each_attempt() {
        let mut attempts = Attempts::default();
        begin(&mut attempts, &pool(&[1]));
        assert_eq!((attempts.passed(3), attempts.passed(4)), (3, 7));
        begin(&mut attempts, &pool(&[1]));
        assert_eq!(attempts.passed(7), 7);
    }
}
