//! The keys that seal tickets: which of them is for now, and how one process hands them to
//! another. What is sealed is no business of this module.
//!
//! Time is cut into periods that begin at the same moments for everybody, and each has a key.
//! That of the next one is made a period ahead, so that two processes, one of which has handed
//! its keys to the other, go on with the same one when it begins.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// For how long a key seals, in seconds. A ticket is good for as long as that, and for one
/// more period at the most.
pub(super) const PERIOD: u64 = 8 * 60 * 60;

/// Bytes of a key's name.
pub(super) const NAME_BYTES: usize = 16;

/// Bytes of a key: AES-256's.
pub(super) const SECRET_BYTES: usize = 32;

/// Of the form in which keys are handed over.
const VERSION: u8 = 1;

/// Bytes of a key that is handed over.
const ENTRY_BYTES: usize = NAME_BYTES + SECRET_BYTES + size_of::<u64>();

/// A key that seals for one period.
pub(super) struct TicketKey {
    /// By which a ticket says which key has sealed it. It tells nothing of the key.
    pub(super) name: [u8; NAME_BYTES],
    pub(super) secret: Zeroizing<[u8; SECRET_BYTES]>,
    /// Its number: how many came before it since 1970.
    pub(super) period: u64,
}

/// What seals now, and what opens what was sealed.
pub(super) struct KeyRing {
    /// It opens, and seals no more.
    previous: Option<Arc<TicketKey>>,
    current: Arc<TicketKey>,
    /// A process that is ahead of this one may seal by it already.
    next: Arc<TicketKey>,
}

/// Why keys that were handed over cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeysError {
    /// A later program's.
    Version(u8),
    /// They are cut short, or no keys.
    Malformed,
    /// Those of later periods cannot be made.
    NoRandomness,
}

/// What is wrong with them: the end of a sentence that begins with them.
impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "have form {version}, and this program knows form {VERSION}")
            }
            Self::Malformed => f.write_str("are damaged"),
            Self::NoRandomness => f.write_str("cannot be added to: there is no randomness"),
        }
    }
}

impl KeyRing {
    /// The ring at `now`, in seconds since 1970, of the keys that are known already. Those that
    /// are missing are made, by the number of their period.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn at<E>(
        now: u64,
        known: &[Arc<TicketKey>],
        mut make: impl FnMut(u64) -> Result<TicketKey, E>,
    ) -> Result<Self, E> {
        let period = now / PERIOD;
        let of = |period| known.iter().find(|key| key.period == period).cloned();
        let mut of_or_new = |period| of(period).map_or_else(|| make(period).map(Arc::new), Ok);
        Ok(Self {
            previous: period.checked_sub(1).and_then(of),
            current: of_or_new(period)?,
            next: of_or_new(period + 1)?,
        })
    }

    /// Whether it is the one for `now`.
    pub(super) fn is_for(&self, now: u64) -> bool {
        self.current.period == now / PERIOD
    }

    /// What seals.
    pub(super) fn current(&self) -> &TicketKey {
        &self.current
    }

    /// What has sealed under this name.
    pub(super) fn named(&self, name: &[u8; NAME_BYTES]) -> Option<&TicketKey> {
        let mut keys = self.previous.iter().chain([&self.current, &self.next]);
        keys.find(|key| key.name == *name).map(|key| &**key)
    }

    /// All that there are.
    pub(super) fn keys(&self) -> Vec<Arc<TicketKey>> {
        self.previous.iter().chain([&self.current, &self.next]).cloned().collect()
    }

    /// As another process reads it, by [`read`]: a byte for the version, one for how many keys
    /// there are; of each its name, the key, and the second since 1970 from which it seals, the
    /// highest byte first.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let keys = self.keys();
        // No copy of a key is left behind by a buffer that grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 + keys.len() * ENTRY_BYTES));
        bytes.extend([VERSION, u8::try_from(keys.len()).unwrap_or(u8::MAX)]);
        for key in keys {
            bytes.extend(key.name);
            bytes.extend(&*key.secret);
            bytes.extend((key.period * PERIOD).to_be_bytes());
        }
        bytes
    }
}

/// Reads what [`KeyRing::to_bytes`] has written.
///
/// # Errors
/// It is of a later program, or damaged.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Arc<TicketKey>>, KeysError> {
    let (version, rest) = bytes.split_first().ok_or(KeysError::Malformed)?;
    if *version != VERSION {
        return Err(KeysError::Version(*version));
    }
    let (count, rest) = rest.split_first().ok_or(KeysError::Malformed)?;
    let (entries, after) = rest.as_chunks::<ENTRY_BYTES>();
    if entries.len() != usize::from(*count) || !after.is_empty() {
        return Err(KeysError::Malformed);
    }
    entries.iter().map(|entry| key(entry).map(Arc::new).ok_or(KeysError::Malformed)).collect()
}

fn key(entry: &[u8; ENTRY_BYTES]) -> Option<TicketKey> {
    let (name, rest) = entry.split_first_chunk()?;
    let (secret, from) = rest.split_first_chunk()?;
    let from = u64::from_be_bytes(from.try_into().ok()?);
    let is_a_start = from.is_multiple_of(PERIOD);
    is_a_start.then(|| TicketKey {
        name: *name,
        secret: Zeroizing::new(*secret),
        period: from / PERIOD,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use std::convert::Infallible;

    use super::*;

    /// Each key that is made is told by its first byte.
    fn numbered() -> impl FnMut(u64) -> Result<TicketKey, Infallible> {
        let mut made = 0;
        move |period| {
            made += 1;
            let secret = Zeroizing::new([made; SECRET_BYTES]);
            Ok(TicketKey { name: [made; NAME_BYTES], secret, period })
        }
    }

    /// The names of the previous, the current and the next key.
    fn names(ring: &KeyRing) -> (Option<u8>, u8, u8) {
        let previous = ring.previous.as_ref().map(|key| key.name[0]);
        (previous, ring.current.name[0], ring.next.name[0])
    }

    #[test]
    fn at_each_multiple_of_the_period_the_next_becomes_the_current_one() {
        const START: u64 = 60_000 * PERIOD;
        let mut make = numbered();
        #[rustfmt::skip]
        let cases = [
            // now                      previous  current  next
            (START + 5,                (None,     1,       2)),
            (START + PERIOD - 1,       (None,     1,       2)),
            (START + PERIOD,           (Some(1),  2,       3)),
            (START + 2 * PERIOD + 1,   (Some(2),  3,       4)),
            // A clock that was put back.
            (START + 2 * PERIOD - 1,   (None,     2,       3)),
            (START + 2 * PERIOD,       (Some(2),  3,       5)),
            // After a sleep, nothing of before is good.
            (START + 9 * PERIOD,       (None,     6,       7)),
            (START + 10 * PERIOD,      (Some(6),  7,       8)),
            (0,                        (None,     9,       10)),
        ];
        let mut known = Vec::new();
        for (now, due) in cases {
            let ring = KeyRing::at(now, &known, &mut make).unwrap();
            assert_eq!(names(&ring), due, "{now}");
            assert!(ring.is_for(now));
            known = ring.keys();
        }
    }

    #[test]
    fn what_is_handed_over_goes_on() {
        let now = 60_000 * PERIOD + 7;
        let mut make = numbered();
        let first = KeyRing::at(now - PERIOD, &[], &mut make).unwrap();
        let elder = KeyRing::at(now, &first.keys(), &mut make).unwrap();
        let bytes = elder.to_bytes();
        assert_eq!(bytes.len(), 2 + 3 * 56);
        assert_eq!((bytes[0], bytes[1]), (1, 3));
        assert_eq!(bytes[2 + 48..2 + 56], ((60_000 - 1) * PERIOD).to_be_bytes());
        let handed = read(&bytes).unwrap();
        for (ours, theirs) in elder.keys().iter().zip(&handed) {
            assert_eq!((ours.name, ours.period), (theirs.name, theirs.period));
            assert_eq!(ours.secret, theirs.secret);
        }
        // Either side of a rotation, both seal by the same key.
        for now in [now, now + PERIOD] {
            let [one, other] = [&elder.keys(), &handed]
                .map(|known| KeyRing::at(now, known, numbered()).unwrap().current.name);
            assert_eq!(one, other);
        }
    }

    #[test]
    fn what_is_none_of_it() {
        let ring = KeyRing::at(60_000 * PERIOD, &[], numbered()).unwrap();
        let good = ring.to_bytes().to_vec();
        assert!(read(&good).is_ok());
        assert!(read(&[1, 0]).unwrap().is_empty());
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        #[rustfmt::skip]
        let cases = [
            (Vec::new(),                          KeysError::Malformed),
            (vec![1],                             KeysError::Malformed),
            (with(0, 2),                          KeysError::Version(2)),
            (vec![9],                             KeysError::Version(9)),
            (with(0, 0),                          KeysError::Version(0)),
            (with(1, 1),                          KeysError::Malformed),
            (with(1, 3),                          KeysError::Malformed),
            (with(1, 255),                        KeysError::Malformed),
            // From the middle of a period.
            (with(2 + 55, 1),                     KeysError::Malformed),
            (good[..good.len() - 1].to_vec(),     KeysError::Malformed),
            ([&good[..], &[0]].concat(),          KeysError::Malformed),
        ];
        for (index, (bytes, due)) in cases.into_iter().enumerate() {
            assert_eq!(read(&bytes).err(), Some(due), "{index}");
        }
    }
}
