//! No bytes make following frames panic, and however they are cut, the same is seen of them.
#![no_main]

use std::time::Duration;

use corsac::http2::FloodLimits;
use corsac::http2::flood::Traffic;
use libfuzzer_sys::fuzz_target;

const LIMITS: FloodLimits = FloodLimits { resets: 2, frames: 3 };

fuzz_target!(|input: &[u8]| {
    let [size, bytes @ ..] = input else { return };
    let seen = |size: usize| {
        let (mut traffic, mut resets) = (Traffic::new(LIMITS), Vec::new());
        for piece in bytes.chunks(size) {
            traffic.received(piece, || Duration::ZERO, |stream| resets.push(stream));
            traffic.sent(piece);
        }
        (traffic.ended(), traffic.has_begun(), traffic.is_in_headers(), traffic.malformed(), resets)
    };
    let whole = seen(bytes.len().max(1));
    let cut = seen(usize::from(*size) + 1);
    // What is free depends on what was sent before.
    assert_eq!((whole.1, whole.2, whole.3, whole.4), (cut.1, cut.2, cut.3, cut.4));
});
