//! The heads of frames, read from bytes as they pass.

/// The head of a frame (RFC 9113, 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Its type: [`DATA`] and the others here.
    pub kind: u8,
    pub flags: u8,
    /// 0: the whole connection's.
    pub stream: u32,
    /// Bytes of its payload.
    pub length: u32,
    /// Of [`RST_STREAM`]: its error code (RFC 9113, 7).
    pub code: Option<u32>,
}

/// A piece of a body (RFC 9113, 6.1).
pub const DATA: u8 = 0;
/// A request begins, or ends with trailers (6.2).
pub const HEADERS: u8 = 1;
/// Once an order of streams (6.3).
pub const PRIORITY: u8 = 2;
/// A request, or its answer, is not wanted any more (6.4).
pub const RST_STREAM: u8 = 3;
/// What its sender takes (6.5).
pub const SETTINGS: u8 = 4;
/// Its sender has room for more (6.9).
pub const WINDOW_UPDATE: u8 = 8;
/// More of a block of headers (6.10).
pub const CONTINUATION: u8 = 9;

/// A flag of [`DATA`] and [`HEADERS`]: the stream has no more.
pub const END_STREAM: u8 = 1;
/// A flag of [`SETTINGS`]: its receiver has seen the other side's.
pub const ACK: u8 = 1;
/// A flag of [`HEADERS`] and [`CONTINUATION`]: the block has no more.
pub const END_HEADERS: u8 = 4;

const HEAD_BYTES: usize = 9;
const CODE_BYTES: usize = 4;

/// Where in a sequence of frames its bytes have come to.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_BYTES + CODE_BYTES],
    /// How much of `head` is there.
    have: usize,
    /// How much of the payload is to come.
    left: usize,
    /// The last frame that has begun.
    last: Option<Frame>,
}

impl Frames {
    /// Follows bytes, and hands on each frame as soon as its head is whole.
    pub fn follow(&mut self, mut bytes: &[u8], mut each: impl FnMut(&Frame)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let payload = self.left.min(bytes.len());
                self.left -= payload;
                bytes = bytes.get(payload..).unwrap_or_default();
                continue;
            }
            let wanted = self.wanted();
            let Some(room) = self.head.get_mut(self.have..wanted) else { return };
            let taken = room.len().min(bytes.len());
            let (head, rest) = bytes.split_at(taken);
            if let Some(room) = room.get_mut(..taken) {
                room.copy_from_slice(head);
            }
            self.have += taken;
            bytes = rest;
            if self.have == self.wanted() {
                let frame = self.read();
                self.left = frame.length as usize - (self.have - HEAD_BYTES);
                self.have = 0;
                self.last = Some(frame);
                each(&frame);
            }
        }
    }

    /// The frame of which more is to come.
    #[must_use]
    pub fn unfinished(&self) -> Option<&Frame> {
        self.last.as_ref().filter(|_| self.left > 0)
    }

    /// Bytes of a head, with the code where there is one.
    fn wanted(&self) -> usize {
        let is_reset = self.have >= HEAD_BYTES && {
            let Frame { kind, length, .. } = self.read();
            kind == RST_STREAM && length as usize == CODE_BYTES
        };
        if is_reset { HEAD_BYTES + CODE_BYTES } else { HEAD_BYTES }
    }

    fn read(&self) -> Frame {
        let [length @ .., _, _, _, _, _, _, _, _, _, _] = self.head;
        let [_, _, _, kind, flags, stream @ .., _, _, _, _] = self.head;
        let [_, _, _, _, _, _, _, _, _, code @ ..] = self.head;
        Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
            length: length.into_iter().fold(0, |length, byte| length << 8 | u32::from(byte)),
            code: (self.have > HEAD_BYTES).then(|| u32::from_be_bytes(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let parts = (0..12_u8, any::<u8>(), 0..1_u32 << 31, 0..40_u32, any::<u32>());
        parts.prop_map(|(kind, flags, stream, length, code)| Frame {
            kind,
            flags,
            stream,
            length,
            code: (kind == RST_STREAM && length == 4).then_some(code),
        })
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut bytes = frame.length.to_be_bytes()[1..].to_vec();
        bytes.extend([frame.kind, frame.flags]);
        bytes.extend(frame.stream.to_be_bytes());
        match frame.code {
            Some(code) => bytes.extend(code.to_be_bytes()),
            None => bytes.resize(bytes.len() + frame.length as usize, 0xAA),
        }
        bytes
    }

    proptest! {
        /// However the bytes are cut, the frames are those that were sent.
        #[test]
        fn frames_in_pieces(
            frames in prop::collection::vec(frame(), 0..20),
            cuts in prop::collection::vec(1..30_usize, 1..20),
        ) {
            let all: Vec<u8> = frames.iter().flat_map(bytes).collect();
            let (mut read, mut state, mut rest) = (Vec::new(), Frames::default(), &all[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, others) = rest.split_at((*cut).min(rest.len()));
                state.follow(piece, |frame| read.push(*frame));
                rest = others;
            }
            prop_assert_eq!(read, frames);
            prop_assert_eq!(state.unfinished(), None);
        }
    }

    #[test]
    fn a_frame_of_which_more_is_to_come() {
        let mut state = Frames::default();
        let frame = Frame { kind: HEADERS, flags: 0, stream: 1, length: 3, code: None };
        let bytes = bytes(&frame);
        state.follow(bytes.get(..11).unwrap(), |_| {});
        assert_eq!(state.unfinished(), Some(&frame));
        state.follow(bytes.get(11..).unwrap(), |_| {});
        assert_eq!(state.unfinished(), None);
    }
}
