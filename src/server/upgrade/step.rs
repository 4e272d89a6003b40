//! Moments of the hand-over.

/// A moment of the hand-over at which a process of a debug build can be held, by
/// `CORSAC_PAUSE_AT`, and killed. `tests/it/upgrade.rs` includes this file, so no step
/// is forgotten there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HandOverStep {
    /// The old process: the configuration was checked.
    Checked,
    /// The old process: the new one was started.
    Started,
    /// The old process: the sockets were sent.
    Offered,
    /// The old process: the new one answers.
    Proved,
    /// The old process: `Go` was sent.
    Went,
    /// The old process: the new one has taken over.
    Replaced,
    /// The new process: it has said which process it is.
    Attached,
    /// The new process: it has the sockets.
    Received,
    /// The new process: its listeners are bound.
    Bound,
    /// The new process: it accepts, and has seen that it answers.
    Answering,
    /// The new process: it has said that it answers.
    Serving,
    /// The new process: the service manager knows.
    Replacing,
}

impl HandOverStep {
    /// All of them.
    #[allow(dead_code, reason = "for tests")]
    pub(crate) const ALL: [Self; 12] = [
        Self::Checked,
        Self::Started,
        Self::Offered,
        Self::Proved,
        Self::Went,
        Self::Replaced,
        Self::Attached,
        Self::Received,
        Self::Bound,
        Self::Answering,
        Self::Serving,
        Self::Replacing,
    ];

    /// Its name, which says whose step it is. A release is held at none.
    #[cfg_attr(not(debug_assertions), allow(dead_code, reason = "as above"))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checked => "old:checked",
            Self::Started => "old:started",
            Self::Offered => "old:offered",
            Self::Proved => "old:proved",
            Self::Went => "old:went",
            Self::Replaced => "old:replaced",
            Self::Attached => "new:attached",
            Self::Received => "new:received",
            Self::Bound => "new:bound",
            Self::Answering => "new:answering",
            Self::Serving => "new:serving",
            Self::Replacing => "new:replacing",
        }
    }
}
