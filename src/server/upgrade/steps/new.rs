//! The new process; also one that replaces none, which is alone from the beginning.
//!
//! It accepts before it knows whether it will serve: only so can it prove that it
//! answers. If it is not to serve, what it has accepted is ended first.

/// How far the hand-over is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::server) enum State {
    /// It accepts, and asks itself whether it answers.
    Proving {
        /// No other process serves.
        alone: bool,
    },
    /// It answers on every listener, and has said so.
    Offered,
    /// It serves, and no word of the old process changes that.
    Serving,
    /// It is not to serve: what it has accepted is to be ended.
    Withdrawn,
}

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server) enum Event {
    /// It answers on every listener.
    Proved,
    /// It does not answer on every listener.
    Mute,
    /// The old process says: take over.
    Go,
    /// The old process says that it serves on.
    Withdrawn,
    /// The old process is dead.
    PeerDied,
    /// This process is told to stop.
    Stop,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server) enum Act {
    /// Tell the old process that this one answers.
    SayServing,
    /// Tell the old process that this one will not serve.
    SayFailed,
    /// Answer on the admin listener.
    ServeAdmin,
    /// Tell the service manager that this process is the main one, and ready.
    BeMain,
    /// Tell the old process that this one serves.
    SayTookOver,
}

/// The service manager knows before the old process does, so that the old one still
/// accepts if this one dies in between. Nothing that can take its time stands here: the
/// old process waits.
const TAKE_OVER: &[Act] = &[Act::ServeAdmin, Act::BeMain, Act::SayTookOver];

impl State {
    /// What comes of an event.
    pub(in crate::server) fn on(self, event: Event) -> (Self, &'static [Act]) {
        match (self, event) {
            (Self::Proving { alone: false }, Event::Proved) => (Self::Offered, &[Act::SayServing]),
            (Self::Proving { alone: true }, Event::Proved)
            | (Self::Offered, Event::Go | Event::PeerDied) => (Self::Serving, TAKE_OVER),
            (Self::Proving { .. }, Event::PeerDied) => (Self::Proving { alone: true }, &[]),
            (Self::Proving { .. } | Self::Offered, Event::Mute | Event::Stop) => {
                (Self::Withdrawn, &[Act::SayFailed])
            }
            // Before it has said that it answers, `Go` is out of turn.
            (Self::Proving { .. }, Event::Go | Event::Withdrawn)
            | (Self::Offered, Event::Withdrawn) => (Self::Withdrawn, &[]),
            (Self::Offered, Event::Proved) | (Self::Serving | Self::Withdrawn, _) => (self, &[]),
        }
    }

    /// Whether the old process may still have something to say.
    pub(in crate::server) fn listens(self) -> bool {
        matches!(self, Self::Proving { alone: false } | Self::Offered)
    }

    /// Whether it is still to be seen if it answers.
    pub(in crate::server) fn proves(self) -> bool {
        matches!(self, Self::Proving { .. })
    }
}
