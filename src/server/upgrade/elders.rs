//! Processes that were replaced, and still drain.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::{Channel, Draining, channel::Message};

/// The elders of this process.
#[derive(Debug, Default)]
pub(in super::super) struct Elders(Mutex<Vec<Elder>>);

#[derive(Debug)]
struct Elder {
    channel: Arc<Channel>,
    /// What it said last.
    draining: Option<Draining>,
    /// Who reads what it says.
    reader: AbortHandle,
}

impl Elders {
    /// Shows an elder until it ends.
    pub(super) fn watch(self: &Arc<Self>, channel: Channel) {
        let channel = Arc::new(channel);
        let mut elders = self.lock();
        let read = Arc::clone(self).read(Arc::clone(&channel));
        let reader = tokio::spawn(read).abort_handle();
        elders.push(Elder { channel, draining: None, reader });
    }

    /// What each of them still has to do, the youngest last.
    pub(in super::super) fn draining(&self) -> Vec<Draining> {
        self.lock().iter().filter_map(|elder| elder.draining.clone()).collect()
    }

    /// Their channels, to be handed on.
    pub(super) fn channels(&self) -> Vec<Arc<Channel>> {
        self.lock().iter().map(|elder| Arc::clone(&elder.channel)).collect()
    }

    /// Leaves them to the next process.
    pub(super) fn leave(&self) {
        for elder in self.lock().drain(..) {
            elder.reader.abort();
        }
    }

    async fn read(self: Arc<Self>, channel: Arc<Channel>) {
        while let Ok(Some((message, _))) = channel.receive().await {
            if let Message::Draining(draining) = message {
                self.with(&channel, |elder| elder.draining = Some(draining));
            }
        }
        self.lock().retain(|elder| !Arc::ptr_eq(&elder.channel, &channel));
    }

    fn with(&self, channel: &Arc<Channel>, change: impl FnOnce(&mut Elder)) {
        let mut elders = self.lock();
        let mut elders = elders.iter_mut();
        if let Some(elder) = elders.find(|elder| Arc::ptr_eq(&elder.channel, channel)) {
            change(elder);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Elder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
