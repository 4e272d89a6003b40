//! The old process.
//!
//! It accepts until the new one has said that it has taken over. Whatever goes wrong
//! before, it says `Withdrawn`, and gives the new process time to end what clients have
//! begun there: from the moment at which that one accepts, they come to both.

/// How far the hand-over is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::server::upgrade) enum State {
    /// The new process has been started, gets the sockets, and is to prove that it
    /// answers.
    Offering,
    /// The new process may take over, and has the word: it serves, or it ends.
    Committing,
    /// The new process is to end what it has begun.
    Withdrawing {
        /// It may have taken over before it hears so.
        went: bool,
    },
    /// The new process did not end in time, and was killed.
    Killing {
        /// It may have told the service manager.
        went: bool,
    },
    /// The new process serves; this one drains.
    HandedOver,
    /// The new process is gone; this one serves on.
    ServingOn,
}

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server::upgrade) enum Event {
    /// The new process says that it answers on every listener.
    Serving,
    /// The new process says that it has taken over.
    TookOver,
    /// The new process says that it will not serve, or what cannot be understood.
    Failed,
    /// The new process has ended.
    Ended,
    /// The state has lasted for as long as it may.
    TimeIsUp,
    /// This process is told to stop.
    Stop,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server::upgrade) enum Act {
    /// Tell the new process to take over.
    SayGo,
    /// Tell the new process to end.
    SayWithdrawn,
    /// Kill the new process.
    Kill,
    /// Tell the service manager that this process is the main one, as it was: the new
    /// one may have said that it is.
    ReclaimMain,
}

impl State {
    /// What comes of an event.
    pub(in crate::server::upgrade) fn on(self, event: Event) -> (Self, &'static [Act]) {
        use Event::{Ended, Failed, Serving, Stop, TimeIsUp, TookOver};
        let serving_on =
            |went| (Self::ServingOn, if went { [Act::ReclaimMain].as_slice() } else { &[] });
        match (self, event) {
            (Self::Offering, Serving) => (Self::Committing, &[Act::SayGo]),
            (Self::Offering, TookOver | Failed | TimeIsUp | Stop) => {
                (Self::Withdrawing { went: false }, &[Act::SayWithdrawn])
            }
            (Self::Offering, Ended) => serving_on(false),
            (Self::Committing | Self::Withdrawing { went: true }, TookOver) => {
                (Self::HandedOver, &[])
            }
            (Self::Committing, Failed | TimeIsUp) => {
                (Self::Withdrawing { went: true }, &[Act::SayWithdrawn])
            }
            (Self::Committing, Ended) => serving_on(true),
            (Self::Withdrawing { went }, TimeIsUp) => (Self::Killing { went }, &[Act::Kill]),
            (Self::Withdrawing { went }, Ended) | (Self::Killing { went }, Ended | TimeIsUp) => {
                serving_on(went)
            }
            (Self::Committing, Serving | Stop)
            | (
                Self::Withdrawing { .. }
                | Self::Killing { .. }
                | Self::HandedOver
                | Self::ServingOn,
                _,
            ) => (self, &[]),
        }
    }

    /// Whether nothing comes of any event any more.
    pub(in crate::server::upgrade) fn is_final(self) -> bool {
        matches!(self, Self::HandedOver | Self::ServingOn)
    }
}
