//! No bytes make an origin or a pattern panic, and what parses prints as it was.
#![no_main]

use corsac::cors::{Origin, OriginPattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert!(Origin::parse(bytes).is_none());
        return;
    };
    if let Some(origin) = Origin::parse(bytes) {
        assert_eq!(origin.to_string(), text);
    }
    if let Ok(pattern) = OriginPattern::parse(text) {
        assert_eq!(pattern.to_string(), text);
    }
});
