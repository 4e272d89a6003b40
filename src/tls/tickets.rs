//! Tickets: what a client keeps of a session, sealed, to resume it.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use rustls::{crypto::GetRandomFailed, server::ProducesTickets};
use zeroize::Zeroizing;

use super::ticket_keys::{self, KeyRing, KeysError, NAME_BYTES, SECRET_BYTES, TicketKey};

/// How long a client may keep a ticket, in seconds: a period.
const LIFETIME: u32 = 28_800;

/// Seconds since 1970.
pub type UnixClock = Box<dyn Fn() -> u64 + Send + Sync>;

/// What seals all tickets of a process.
///
/// AES-256-GCM with a random nonce: a key seals for eight hours, far from the 2³² tickets
/// that it may seal so (NIST SP 800-38D, 8.3).
pub struct TicketKeys {
    ring: ArcSwap<KeyRing>,
    clock: UnixClock,
}

impl TicketKeys {
    /// New ones.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(clock: UnixClock) -> Result<Self, GetRandomFailed> {
        Self::going_on(&[], clock)
    }

    /// Those that another process has handed over.
    ///
    /// # Errors
    /// They cannot be used, and why.
    pub fn handed_over(bytes: &[u8], clock: UnixClock) -> Result<Self, KeysError> {
        let known = ticket_keys::read(bytes)?;
        Self::going_on(&known, clock).map_err(|GetRandomFailed| KeysError::NoRandomness)
    }

    fn going_on(known: &[Arc<TicketKey>], clock: UnixClock) -> Result<Self, GetRandomFailed> {
        let ring = KeyRing::at(clock(), known, new_key)?;
        Ok(Self { ring: ArcSwap::from_pointee(ring), clock })
    }

    /// For another process, as [`Self::handed_over`] reads them.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.ring().to_bytes()
    }

    /// What seals the tickets of those who trust the same clients: a ticket of others does not
    /// open. `trust` tells it from every other.
    #[must_use]
    pub fn under(self: &Arc<Self>, trust: [u8; 32]) -> Arc<dyn ProducesTickets> {
        Arc::new(Tickets { keys: Arc::clone(self), trust })
    }

    /// The keys for now. Takes no lock: of two threads that both find a new period, one has made
    /// its key in vain.
    fn ring(&self) -> Arc<KeyRing> {
        let (now, ring) = ((self.clock)(), self.ring.load());
        if !ring.is_for(now) {
            // Without randomness, what there is is good for as long as that lasts.
            if let Ok(next) = KeyRing::at(now, &ring.keys(), new_key) {
                self.ring.compare_and_swap(&ring, Arc::new(next));
            }
            return self.ring.load_full();
        }
        arc_swap::Guard::into_inner(ring)
    }
}

/// Without the keys.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

/// Seals for one trust.
#[derive(Debug)]
struct Tickets {
    keys: Arc<TicketKeys>,
    trust: [u8; 32],
}

/// A ticket: the key's name, the nonce, what is sealed, and GCM's tag.
impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.keys.ring();
        let key = ring.current();
        let mut ticket = [&key.name[..], &[0; NONCE_LEN], plain].concat();
        let (head, sealed) = ticket.split_at_mut_checked(NAME_BYTES + NONCE_LEN)?;
        let (nonce, tag) =
            aead(key)?.seal_in_place_separate_tag(Aad::from(self.trust), sealed).ok()?;
        head.last_chunk_mut::<NONCE_LEN>()?.copy_from_slice(nonce.as_ref());
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let ring = self.keys.ring();
        let key = aead(ring.named(name)?)?;
        let mut plain = sealed.to_vec();
        let opened = key.open_in_place(Nonce::from(nonce), Aad::from(self.trust), &mut plain);
        let length = opened.ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// Made for each ticket: it takes less than a hundredth of a handshake, and the key is in one
/// place in memory.
fn aead(key: &TicketKey) -> Option<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, &*key.secret).ok()
}

fn new_key(period: u64) -> Result<TicketKey, GetRandomFailed> {
    let mut name = [0; NAME_BYTES];
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    rand::fill(&mut name).map_err(|_| GetRandomFailed)?;
    rand::fill(&mut *secret).map_err(|_| GetRandomFailed)?;
    Ok(TicketKey { name, secret, period })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::tls::ticket_keys::PERIOD;

    const START: u64 = 60_000 * PERIOD;

    fn keys_at(now: &Arc<AtomicU64>) -> Arc<TicketKeys> {
        Arc::new(TicketKeys::new(clock(now)).unwrap())
    }

    fn clock(now: &Arc<AtomicU64>) -> UnixClock {
        let now = Arc::clone(now);
        Box::new(move || now.load(Ordering::Relaxed))
    }

    #[test]
    fn a_ticket_opens_for_a_period_and_the_rest_of_its_own() {
        let now = Arc::new(AtomicU64::new(START + 10));
        let tickets = keys_at(&now).under([0; 32]);
        let ticket = tickets.encrypt(b"a session").unwrap();
        assert_eq!(ticket.len(), 16 + 12 + 9 + 16);
        assert_eq!(u64::from(tickets.lifetime()), PERIOD);
        #[rustfmt::skip]
        let cases = [
            (START,                  true),
            (START + PERIOD - 1,     true),
            (START + PERIOD,         true),
            (START + 2 * PERIOD - 1, true),
            (START + 2 * PERIOD,     false),
            // What is gone is gone.
            (START,                  false),
        ];
        for (at, opens) in cases {
            now.store(at, Ordering::Relaxed);
            let opened = tickets.decrypt(&ticket);
            assert_eq!(opened.as_deref(), opens.then_some(&b"a session"[..]), "{at}");
        }
    }

    #[test]
    fn of_another_trust_of_other_keys_or_changed() {
        let now = Arc::new(AtomicU64::new(START));
        let keys = keys_at(&now);
        let tickets = keys.under([0; 32]);
        let ticket = tickets.encrypt(b"a session").unwrap();
        assert_ne!(ticket, tickets.encrypt(b"a session").unwrap());
        assert!(keys.under([1; 32]).decrypt(&ticket).is_none());
        assert!(keys_at(&now).under([0; 32]).decrypt(&ticket).is_none());
        let handed = TicketKeys::handed_over(&keys.to_bytes(), clock(&now)).unwrap();
        assert!(Arc::new(handed).under([0; 32]).decrypt(&ticket).is_some());
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert!(tickets.decrypt(&other).is_none(), "{at}");
            assert!(tickets.decrypt(&ticket[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn nothing_shows_a_key() {
        let keys = keys_at(&Arc::new(AtomicU64::new(START)));
        let shown = format!("{:?}", keys.under([0; 32]));
        assert!(shown.contains("TicketKeys { .. }"), "{shown}");
    }

    /// Threads that find a new period together go on with one key.
    #[test]
    fn one_key_a_period() {
        let now = Arc::new(AtomicU64::new(START));
        let keys = keys_at(&now);
        for period in 1..50 {
            now.store(START + 2 * period * PERIOD, Ordering::Relaxed);
            let sealed: Vec<_> = std::thread::scope(|scope| {
                let seal = || keys.under([0; 32]).encrypt(b"x").unwrap();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(seal)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(sealed.iter().all(|ticket| ticket[..16] == sealed[0][..16]), "{period}");
        }
    }
}
