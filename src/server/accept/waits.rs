//! What a request waits for, and for how long it may.

use std::{
    mem,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use super::{clock::Clock, rate::Rate, taking::Taking};
use crate::{
    config::ClientLimits,
    metrics::Limit,
    proxy::{Ended, Wire},
};

/// What is waited for, and since when. One thing at a time, so one clock serves them all.
#[derive(Debug, Default)]
pub(super) struct Waits {
    clock: Clock,
    /// For the client to send.
    receiving: Option<Instant>,
    /// For the client to take what is written.
    sending: Option<Taking>,
    /// For an upstream: [`Awaited::stage`](crate::proxy::Awaited::stage), and since when.
    answer: Option<(u32, Instant)>,
    /// The client of this request asked whether it may send its body, and no answer came yet.
    to_continue: bool,
    rate: Rate,
    /// Of a tunnel: when a byte passed.
    tunnel: Option<Instant>,
}

impl Waits {
    /// Nothing is waited for: a request may come, and has as long as it may have.
    pub(super) fn expects_another(&mut self) {
        self.receiving = None;
    }

    /// A request begins. `to_continue`: its client waits for 100 before it sends its body.
    pub(super) fn begin(&mut self, to_continue: bool) {
        self.to_continue = to_continue;
        self.answer = None;
        self.rate = Rate::default();
    }

    /// The client sends nothing of a body just now, though it should.
    pub(super) fn poll_receiving(
        &mut self,
        cx: &mut Context<'_>,
        wire: &Wire,
        limits: &ClientLimits,
    ) -> Poll<Ended> {
        // The client waits for a word of the upstream's, so the upstream is late.
        if self.to_continue && wire.awaited().is_some() {
            return self.poll_answer(cx, wire);
        }
        let since = *self.receiving.get_or_insert_with(Instant::now);
        ready!(self.clock.poll(since + limits.body_idle, cx));
        Poll::Ready(Ended::Limit(Limit::BodyIdle))
    }

    /// Bytes of a body have come.
    ///
    /// # Errors
    /// They come too slowly.
    pub(super) fn received(&mut self, bytes: u64, limits: &ClientLimits) -> Result<(), Ended> {
        self.goes_on();
        let waited = self.receiving.take().map_or(Duration::ZERO, |since| since.elapsed());
        match limits.body_rate {
            Some(least) if self.rate.is_below(least, waited, bytes) => {
                Err(Ended::Limit(Limit::BodyRate))
            }
            _ => Ok(()),
        }
    }

    /// The client waits no longer for a word: it has one, or sends without. How long the
    /// upstream took to say it is no part of how long its answer takes.
    fn goes_on(&mut self) {
        if mem::take(&mut self.to_continue) {
            self.answer = None;
        }
    }

    /// The request is whole, so the upstream is waited for.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>, wire: &Wire) -> Poll<Ended> {
        let Some(awaited) = wire.awaited() else { return Poll::Pending };
        let since = match self.answer {
            Some((stage, since)) if stage == awaited.stage => since,
            _ => Instant::now(),
        };
        self.answer = Some((awaited.stage, since));
        ready!(self.clock.poll(since + awaited.limit, cx));
        Poll::Ready(Ended::Answer)
    }

    /// No byte passes a tunnel just now.
    pub(super) fn poll_tunnel(
        &mut self,
        cx: &mut Context<'_>,
        limits: &ClientLimits,
    ) -> Poll<Ended> {
        let since = *self.tunnel.get_or_insert_with(Instant::now);
        ready!(self.clock.poll(since + limits.tunnel_idle, cx));
        Poll::Ready(Ended::Limit(Limit::TunnelIdle))
    }

    /// Bytes of a tunnel have come.
    pub(super) fn passed(&mut self) {
        self.tunnel = None;
    }

    /// What was written has found room.
    pub(super) fn found_room(&mut self) {
        self.sending = None;
        self.tunnel = None;
    }

    /// What was written of an answer has found room.
    pub(super) fn sent(&mut self, wire: &Wire) {
        self.found_room();
        // Interim answers do not extend the time of the final one.
        if wire.is_answered() {
            self.answer = None;
        }
        self.goes_on();
    }

    /// What is written finds no room just now. `taken` says how much the client has taken in
    /// all, where the system knows.
    pub(super) fn poll_sending(
        &mut self,
        cx: &mut Context<'_>,
        limits: &ClientLimits,
        taken: impl Fn() -> Option<u64>,
    ) -> Poll<Ended> {
        let limit = limits.send;
        let taking =
            self.sending.get_or_insert_with(|| Taking::new(taken(), Instant::now(), limit));
        loop {
            ready!(self.clock.poll(taking.next_look(), cx));
            if taking.is_over(taken(), Instant::now(), limit) {
                return Poll::Ready(Ended::Limit(Limit::Send));
            }
        }
    }
}
