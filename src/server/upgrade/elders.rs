//! Processes that were replaced, and still drain.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::AbortHandle;

use super::channel::{Channel, Draining, Message, read_file};
use crate::{
    metrics::Metrics,
    server::{aside::aside, reload::Reloader},
};

/// The elders of this process.
pub(in crate::server) struct Elders {
    draining: Mutex<Vec<Elder>>,
    /// What they have counted at last is added here.
    reloader: Arc<Reloader>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Elder {
    channel: Arc<Channel>,
    /// What it said last.
    draining: Option<Draining>,
    /// The task that reads what it says.
    reader: AbortHandle,
}

impl Elders {
    /// None yet.
    pub(in crate::server) fn new(reloader: Arc<Reloader>, metrics: Metrics) -> Self {
        Self { draining: Mutex::default(), reloader, metrics }
    }

    /// Shows an elder until it ends.
    pub(super) fn watch(self: &Arc<Self>, channel: Channel) {
        let channel = Arc::new(channel);
        let mut elders = self.lock();
        let read = Arc::clone(self).read(Arc::clone(&channel));
        let reader = tokio::spawn(read).abort_handle();
        elders.push(Elder { channel, draining: None, reader });
    }

    /// What each of them still has to do, the youngest last.
    pub(in crate::server) fn draining(&self) -> Vec<Draining> {
        self.lock().iter().filter_map(|elder| elder.draining.clone()).collect()
    }

    /// Their channels, to be handed on.
    pub(super) fn channels(&self) -> Vec<Arc<Channel>> {
        self.lock().iter().map(|elder| Arc::clone(&elder.channel)).collect()
    }

    /// Tells them that this process stops, so that they end in their own time.
    pub(in crate::server) fn tell_stopping(&self) {
        for elder in self.lock().iter() {
            // It may have ended.
            let _ = elder.channel.try_send(&Message::Stopping);
        }
    }

    /// Leaves them to the next process.
    pub(super) fn leave(&self) {
        for elder in self.lock().drain(..) {
            elder.reader.abort();
        }
    }

    async fn read(self: Arc<Self>, channel: Arc<Channel>) {
        while let Ok(Some((message, descriptors))) = channel.receive().await {
            match message {
                Message::Draining(draining) => {
                    self.with(&channel, |elder| elder.draining = Some(draining));
                }
                Message::Counted => {
                    let ours = Arc::clone(&self);
                    // Failed: it was a bug, and counts are missing.
                    let _ = aside(move || ours.add(descriptors)).await;
                }
                _ => {}
            }
        }
        self.lock().retain(|elder| !Arc::ptr_eq(&elder.channel, &channel));
    }

    fn add(&self, files: Vec<OwnedFd>) {
        for file in files {
            match read_file(file) {
                Ok(carried) => carried.apply(&self.reloader.serving(), &self.metrics),
                Err(error) => log::warn!("what a replaced process counted is lost: {error}"),
            }
        }
    }

    fn with(&self, channel: &Arc<Channel>, change: impl FnOnce(&mut Elder)) {
        let mut elders = self.lock();
        let mut elders = elders.iter_mut();
        if let Some(elder) = elders.find(|elder| Arc::ptr_eq(&elder.channel, channel)) {
            change(elder);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Elder>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
