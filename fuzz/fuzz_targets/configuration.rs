//! Any text is a configuration or a report; what is reported lies in the text.

#![no_main]

use corsac::{
    config,
    diagnose::{Report, codes},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let report = match config::parse(text, "corsac.toml") {
        Ok((config, warnings)) => {
            assert!(!config.listeners.is_empty());
            assert_eq!(warnings.errors(), 0);
            warnings
        }
        Err(report) => {
            assert!(report.errors() > 0);
            report
        }
    };
    check(&report, text);
});

fn check(report: &Report, text: &str) {
    for found in report.diagnostics() {
        assert!(codes::meaning(found.code).is_some());
        let related = found.related.iter().map(|(place, _)| *place);
        for place in found.place.into_iter().chain(related) {
            assert!(place.source == 0 && text.get(place.start..place.end).is_some());
        }
    }
    let _ = report.to_text(true);
    let _ = report.to_json(true);
}
