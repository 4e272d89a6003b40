//! Where it is noted that requests have ended.

use std::sync::Arc;

use super::log::AccessLogQueue;
use crate::metrics::Metrics;

/// The metrics and the access log, for the requests of one thread, whose references are
/// counted apart from other threads'. A clone is for another thread.
#[derive(Debug)]
pub(super) struct Records(Arc<Both>);

/// The metrics and the access log, as one request has them.
pub(super) type Record = Arc<Both>;

#[derive(Clone, Debug)]
pub(super) struct Both {
    pub(super) metrics: Metrics,
    /// `None`: none is written.
    pub(super) access_log: Option<AccessLogQueue>,
}

impl Records {
    pub(super) fn new(metrics: Metrics, access_log: Option<AccessLogQueue>) -> Self {
        Self(Arc::new(Both { metrics, access_log }))
    }

    /// For one more request.
    pub(super) fn record(&self) -> Record {
        Arc::clone(&self.0)
    }
}

impl Clone for Records {
    fn clone(&self) -> Self {
        Self(Arc::new(Both::clone(&self.0)))
    }
}
