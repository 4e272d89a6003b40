//! Any path: no panic, and what comes out is canonical for good.

#![no_main]

use corsac::route::{HostPattern, PathPattern, canonical_host, canonical_path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(once) = canonical_path(text) {
        assert_eq!(canonical_path(&once).as_deref(), Ok(&*once));
        assert!(once.starts_with('/') && once.is_ascii());
        assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
    }
    let host = canonical_host(text);
    assert_eq!(canonical_host(&host), host);
    if let Ok(path) = PathPattern::parse(text) {
        assert_eq!(path.to_string(), text);
    }
    if let Ok(host) = HostPattern::parse(text) {
        assert_eq!(host.to_string(), text);
    }
});
