//! Frames that cost a client nothing, and a server something.
//!
//! Each is allowed, and honest clients send a few. Many of them are an attack: rapid reset
//! (CVE-2023-44487) with `RST_STREAM`, the floods of CVE-2019-9512 to 9518 with the others,
//! `MadeYouReset` (CVE-2025-8671) with frames for which the server resets the stream.

use std::time::Duration;

use super::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, RST_STREAM,
    SETTINGS, WINDOW_UPDATE,
};

/// How long a client may send at twice the rate that it may keep up.
const BURST: Duration = Duration::from_secs(10);

/// `WINDOW_UPDATE`s that are free before any data was sent, and for each frame of it: a client
/// gives room for what it has taken, for the stream and for the connection.
const FREE_UPDATES: u64 = 10;

/// Requests of a connection that may be malformed, so that their streams are reset.
const MALFORMED_MAX: u32 = 32;

/// Error codes of streams that were reset for no fault of the client's (RFC 9113, 7): `STREAM_CLOSED`
/// is for what was on its way when a stream ended.
const NO_FAULT: [u32; 5] = [0, 2, 5, 7, 8];

/// How many frames a client may send that are no part of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FloodLimits {
    /// `RST_STREAM`s a second.
    pub resets: u32,
    /// A second, of all others that are cheap: `PING`, `SETTINGS`, `PRIORITY`, unknown ones,
    /// empty `DATA` and `CONTINUATION`, and needless `WINDOW_UPDATE`s.
    pub frames: u32,
}

impl FloodLimits {
    /// How many `RST_STREAM`s may come at once.
    #[must_use]
    pub fn resets_at_once(&self) -> usize {
        usize::try_from(BURST.as_secs() * u64::from(self.resets)).unwrap_or(usize::MAX)
    }
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flood {
    /// It does not begin with `SETTINGS` (RFC 9113, 3.4).
    Start,
    Resets,
    Frames,
    /// Too many requests were malformed.
    Malformed,
    /// What `h2` bounds by itself: blocks of headers without an end, bodies in tiny pieces.
    Other,
}

/// What passes a connection, in both directions.
#[derive(Debug)]
pub struct Traffic {
    inbound: Frames,
    outbound: Frames,
    has_begun: bool,
    /// A block of headers has begun and not ended.
    in_headers: bool,
    resets: Bucket,
    cheap: Bucket,
    updates: u64,
    free_updates: u64,
    malformed: u32,
    ended: Option<Flood>,
}

impl Traffic {
    /// Of a connection that begins.
    #[must_use]
    pub fn new(limits: FloodLimits) -> Self {
        Self {
            inbound: Frames::default(),
            outbound: Frames::default(),
            has_begun: false,
            in_headers: false,
            resets: Bucket::new(limits.resets),
            cheap: Bucket::new(limits.frames),
            updates: 0,
            free_updates: FREE_UPDATES,
            malformed: 0,
            ended: None,
        }
    }

    /// The client has sent these bytes, behind its preface. `now` is any clock's; it is asked
    /// for hardly any frame. `reset` gets the streams that it has reset.
    pub fn received(
        &mut self,
        bytes: &[u8],
        now: impl Fn() -> Duration,
        mut reset: impl FnMut(u32),
    ) {
        let Self { inbound, has_begun, in_headers, resets, cheap, updates, .. } = self;
        let free_updates = self.free_updates;
        let mut ended = self.ended;
        inbound.follow(bytes, |frame| {
            let is_first = !std::mem::replace(has_begun, true);
            if is_first {
                if frame.kind != SETTINGS || frame.flags & ACK != 0 {
                    ended.get_or_insert(Flood::Start);
                }
                return;
            }
            if matches!(frame.kind, HEADERS | CONTINUATION) {
                *in_headers = frame.flags & END_HEADERS == 0;
            }
            if frame.kind == RST_STREAM {
                reset(frame.stream);
                if !resets.takes(now()) {
                    ended.get_or_insert(Flood::Resets);
                }
            } else if is_cheap(frame, updates, free_updates) && !cheap.takes(now()) {
                ended.get_or_insert(Flood::Frames);
            }
        });
        self.ended = ended;
    }

    /// The client was sent these bytes.
    pub fn sent(&mut self, bytes: &[u8]) {
        let Self { outbound, free_updates, malformed, .. } = self;
        outbound.follow(bytes, |frame| match frame.kind {
            DATA => *free_updates += FREE_UPDATES,
            RST_STREAM if frame.code.is_some_and(|code| !NO_FAULT.contains(&code)) => {
                *malformed += 1;
            }
            _ => {}
        });
        if self.malformed >= MALFORMED_MAX {
            self.ended.get_or_insert(Flood::Malformed);
        }
    }

    /// A request was malformed, and was answered so.
    pub fn refused(&mut self) {
        self.malformed += 1;
        if self.malformed >= MALFORMED_MAX {
            self.ended.get_or_insert(Flood::Malformed);
        }
    }

    /// Why the connection has to end; `None`: it need not.
    #[must_use]
    pub fn ended(&self) -> Option<Flood> {
        self.ended
    }

    /// Whether the client's first frame is there.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether a block of headers has begun, and is not there whole.
    #[must_use]
    pub fn is_in_headers(&self) -> bool {
        let unfinished = self.inbound.unfinished();
        self.in_headers
            || unfinished.is_some_and(|frame| matches!(frame.kind, HEADERS | CONTINUATION))
    }

    /// How many requests were malformed.
    #[must_use]
    pub fn malformed(&self) -> u32 {
        self.malformed
    }
}

impl Flood {
    /// As it is counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "preface",
            Self::Resets => "resets",
            Self::Frames => "frames",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }
}

fn is_cheap(frame: &Frame, updates: &mut u64, free_updates: u64) -> bool {
    match frame.kind {
        HEADERS => false,
        DATA => frame.length == 0 && frame.flags & END_STREAM == 0,
        CONTINUATION => frame.length == 0,
        WINDOW_UPDATE => {
            *updates += 1;
            *updates > free_updates
        }
        frames::PRIORITY.. => true,
    }
}

/// So many a second, and as many as in [`BURST`] at once: the generic cell rate algorithm.
#[derive(Debug)]
struct Bucket {
    each: Duration,
    /// When all that was taken would have come at the rate.
    due: Duration,
}

impl Bucket {
    fn new(per_second: u32) -> Self {
        Self { each: Duration::from_secs(1) / per_second.max(1), due: Duration::ZERO }
    }

    /// One more. `false`: it is one too many.
    fn takes(&mut self, now: Duration) -> bool {
        self.due = self.due.max(now) + self.each;
        self.due <= now + BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FloodLimits = FloodLimits { resets: 10, frames: 20 };

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// How many of a frame a connection takes at once, up to a thousand, and why no more.
    fn takes(bytes: &[u8]) -> (usize, Option<Flood>) {
        let mut traffic = Traffic::new(LIMITS);
        traffic.received(&frame(SETTINGS, 0, 0, &[]), || Duration::ZERO, |_| {});
        for count in 0..1_000 {
            traffic.received(bytes, || Duration::ZERO, |_| {});
            if let Some(flood) = traffic.ended() {
                return (count, Some(flood));
            }
        }
        (1_000, None)
    }

    #[test]
    fn what_is_a_flood() {
        #[rustfmt::skip]
        let cases = [
            ("reset",              frame(RST_STREAM, 0, 1, &[0; 4]),       100, Some(Flood::Resets)),
            ("ping",               frame(6, 0, 0, &[0; 8]),                200, Some(Flood::Frames)),
            ("settings",           frame(SETTINGS, 0, 0, &[]),             200, Some(Flood::Frames)),
            ("priority",           frame(2, 0, 1, &[0; 5]),                200, Some(Flood::Frames)),
            ("unknown",            frame(0xFA, 0, 0, b"?"),                200, Some(Flood::Frames)),
            ("goaway",             frame(7, 0, 0, &[0; 8]),                200, Some(Flood::Frames)),
            ("empty data",         frame(DATA, 0, 1, &[]),                 200, Some(Flood::Frames)),
            ("empty continuation", frame(CONTINUATION, 0, 1, &[]),         200, Some(Flood::Frames)),
            ("window update",      frame(WINDOW_UPDATE, 0, 1, &[0; 4]),    210, Some(Flood::Frames)),
            ("data",               frame(DATA, 0, 1, b"d"),               1000, None),
            ("end of data",        frame(DATA, END_STREAM, 1, &[]),       1000, None),
            ("headers",            frame(HEADERS, 5, 1, b"h"),            1000, None),
        ];
        for (what, bytes, count, flood) in cases {
            assert_eq!(takes(&bytes), (count, flood), "{what}");
        }
    }

    #[test]
    fn at_the_rate_it_goes_on() {
        let mut traffic = Traffic::new(LIMITS);
        traffic.received(&frame(SETTINGS, 0, 0, &[]), || Duration::ZERO, |_| {});
        let ping = frame(6, 0, 0, &[0; 8]);
        for millis in (0..60_000).step_by(50) {
            traffic.received(&ping, || Duration::from_millis(millis), |_| {});
        }
        assert_eq!(traffic.ended(), None);
    }

    #[test]
    fn data_that_was_sent_frees_updates() {
        let mut traffic = Traffic::new(LIMITS);
        traffic.received(&frame(SETTINGS, 0, 0, &[]), || Duration::ZERO, |_| {});
        for _ in 0..1_000 {
            traffic.sent(&frame(DATA, 0, 1, b"d"));
            for _ in 0..10 {
                traffic.received(&frame(WINDOW_UPDATE, 0, 1, &[0; 4]), || Duration::ZERO, |_| {});
            }
        }
        assert_eq!(traffic.ended(), None);
    }

    #[test]
    fn what_does_not_begin_with_settings() {
        let mut traffic = Traffic::new(LIMITS);
        assert!(!traffic.has_begun());
        traffic.received(&frame(HEADERS, 5, 1, b"h"), || Duration::ZERO, |_| {});
        assert_eq!((traffic.has_begun(), traffic.ended()), (true, Some(Flood::Start)));
    }

    #[test]
    fn streams_that_had_to_be_reset() {
        let mut traffic = Traffic::new(LIMITS);
        let reset = |code: u32| frame(RST_STREAM, 0, 1, &code.to_be_bytes());
        for code in NO_FAULT.into_iter().cycle().take(100) {
            traffic.sent(&reset(code));
        }
        assert_eq!((traffic.malformed(), traffic.ended()), (0, None));
        for _ in 0..MALFORMED_MAX {
            assert_eq!(traffic.ended(), None);
            traffic.sent(&reset(1));
        }
        assert_eq!(traffic.ended(), Some(Flood::Malformed));
    }

    #[test]
    fn a_block_of_headers_that_does_not_end() {
        let mut traffic = Traffic::new(LIMITS);
        let mut receive = |bytes: &[u8]| {
            traffic.received(bytes, || Duration::ZERO, |_| {});
            traffic.is_in_headers()
        };
        assert!(!receive(&frame(SETTINGS, 0, 0, &[])));
        let whole = frame(HEADERS, END_HEADERS, 1, b"head");
        let (begin, end) = whole.split_at(10);
        assert!(receive(begin));
        assert!(!receive(end));
        assert!(receive(&frame(HEADERS, 0, 3, b"head")));
        assert!(receive(&frame(CONTINUATION, 0, 3, b"more")));
        assert!(!receive(&frame(CONTINUATION, END_HEADERS, 3, b"last")));
    }
}
