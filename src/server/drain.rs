//! When a process that accepts nothing more has waited long enough for what is in
//! flight: decided without clocks, signals or sockets.

use std::time::Duration;

use tokio::time::Instant;

/// How long what is in flight may take after SIGINT, or where the process is not to
/// serve after all.
pub(super) const DRAIN_SHORT: Duration = Duration::from_secs(2);

/// The wait for what is in flight.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Drain {
    deadline: Instant,
    /// Signals that do not mean "at once".
    signals_expected: usize,
    /// A signal, or the process that serves instead, wants this one to end.
    is_stopping: bool,
    successor: Instead,
}

/// The process that serves instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Instead {
    /// There is none, or it was told to stop.
    None,
    Serves,
    /// It has ended, and was not told to.
    Lost,
}

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The last connection has ended.
    NoneLeft,
    /// The process that serves instead says that it was told to stop.
    SuccessorStops,
    /// The process that serves instead has ended, and has not said why.
    SuccessorEnded,
    /// The deadline has passed.
    TimeIsUp,
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

/// Why the wait is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Done {
    /// Nothing is in flight.
    NoneLeft,
    /// What is in flight has had its time.
    TimeIsUp,
    /// One signal more has come than was to be expected.
    Insisted,
}

impl Drain {
    /// After a signal to stop.
    pub(super) fn stopping(now: Instant, limit: Duration) -> Self {
        Self {
            deadline: now + limit,
            signals_expected: 0,
            is_stopping: true,
            successor: Instead::None,
        }
    }

    /// Another process serves instead. This one has not been told to stop yet.
    pub(super) fn replaced(now: Instant, limit: Duration) -> Self {
        Self {
            deadline: now + limit,
            signals_expected: 1,
            is_stopping: false,
            successor: Instead::Serves,
        }
    }

    /// When [`Event::TimeIsUp`] happens.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether another process serves, and is to be watched.
    pub(super) fn has_successor(&self) -> bool {
        self.successor == Instead::Serves
    }

    /// Whether this process is told to end, so that the end of others is no surprise.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether no process serves any more, though none was told to stop.
    pub(super) fn has_lost_successor(&self) -> bool {
        self.successor == Instead::Lost
    }

    /// What comes of an event.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Option<Done> {
        match event {
            Event::NoneLeft => return Some(Done::NoneLeft),
            Event::TimeIsUp => return Some(Done::TimeIsUp),
            Event::Terminate | Event::Interrupt => {
                if self.signals_expected == 0 {
                    return Some(Done::Insisted);
                }
                self.signals_expected -= 1;
                self.is_stopping = true;
                if event == Event::Interrupt {
                    self.hurry(now);
                }
            }
            Event::SuccessorStops => {
                self.successor = Instead::None;
                // systemd signals all processes, and once more those that are left when
                // the main one has gone.
                self.signals_expected += 1;
            }
            Event::SuccessorEnded if self.is_stopping => self.successor = Instead::None,
            Event::SuccessorEnded => {
                self.successor = Instead::Lost;
                self.hurry(now);
            }
        }
        None
    }

    fn hurry(&mut self, now: Instant) {
        self.deadline = self.deadline.min(now + DRAIN_SHORT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// The events that may come while `drain` waits, in any order.
    fn possible(drain: &Drain) -> Vec<Event> {
        let mut events = vec![Event::NoneLeft, Event::TimeIsUp, Event::Terminate, Event::Interrupt];
        if drain.has_successor() {
            events.extend([Event::SuccessorStops, Event::SuccessorEnded]);
        }
        events
    }

    /// Every order of up to this many events, one a second.
    fn follow(drain: &Drain, now: Instant, told: &[Event], left: usize) {
        if left == 0 {
            return;
        }
        for event in possible(drain) {
            let (mut next, now) = (drain.clone(), now + Duration::from_secs(1));
            let done = next.on(event, now);
            let told = [told, &[event]].concat();
            check(drain, &next, done, event, now, &told);
            if done.is_none() {
                follow(&next, now, &told, left - 1);
            }
        }
    }

    fn check(
        before: &Drain,
        after: &Drain,
        done: Option<Done>,
        event: Event,
        now: Instant,
        told: &[Event],
    ) {
        assert!(after.deadline <= before.deadline, "{told:?}: it is put off");
        let is_signal = |event: &&Event| matches!(event, Event::Terminate | Event::Interrupt);
        let signals = told.iter().filter(is_signal).count();
        match event {
            Event::NoneLeft => assert_eq!(done, Some(Done::NoneLeft), "{told:?}"),
            Event::TimeIsUp => assert_eq!(done, Some(Done::TimeIsUp), "{told:?}"),
            Event::Terminate | Event::Interrupt if signals > 2 => {
                assert_eq!(done, Some(Done::Insisted), "{told:?}: a second signal is obeyed");
            }
            _ => {}
        }
        if event == Event::Interrupt && done.is_none() {
            assert!(after.deadline <= now + DRAIN_SHORT, "{told:?}");
        }
        // That no process serves is a failure, unless it was wanted.
        let at = told.iter().position(|event| *event == Event::SuccessorEnded);
        let wanted = at.is_some_and(|at| told.iter().take(at).any(|event| is_signal(&event)));
        assert_eq!(after.has_lost_successor(), at.is_some() && !wanted, "{told:?}");
    }

    #[test]
    fn a_replaced_process_in_every_order_of_events() {
        let now = Instant::now();
        follow(&Drain::replaced(now, LIMIT), now, &[], 6);
    }

    #[test]
    fn after_a_signal_the_next_one_ends_it() {
        let now = Instant::now();
        for event in [Event::Terminate, Event::Interrupt] {
            let mut drain = Drain::stopping(now, LIMIT);
            assert_eq!(drain.on(event, now), Some(Done::Insisted));
        }
    }
}
