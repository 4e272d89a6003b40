//! Durations and sizes as people write them: always with a unit.
//!
//! What is read can be printed, and what is printed reads back as the same value.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

/// The longest text of a duration, in bytes, and the most digits of one number in it.
///
/// Nine digits are 31 years in seconds, so nobody is kept from anything. The
/// bounds keep any sum below `u64::MAX` seconds, beyond which `humantime` would
/// panic on the carry of its nanoseconds.
const DURATION_BYTES_MAX: usize = 64;
const DURATION_DIGITS_MAX: usize = 9;

/// The most digits of a size: a petabyte in bytes. Beyond, `bytesize` would
/// round or clamp without a word.
const SIZE_DIGITS_MAX: usize = 15;

/// Why a text is no duration or no size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ValueError {
    /// What is wrong, without the value.
    pub message: &'static str,
    /// What to write instead.
    pub help: String,
}

/// Reads a duration such as `"250ms"`, `"5s"` or `"1h 30m"`.
///
/// # Errors
///
/// A number without a unit, an unknown unit, anything else.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    if is_bare_number(text) {
        return Err(ValueError {
            message: "a duration needs a unit",
            help: format!("write \"{text}s\" for seconds, or \"{text}ms\" for milliseconds"),
        });
    }
    if text.len() > DURATION_BYTES_MAX || longest_number(text) > DURATION_DIGITS_MAX {
        return Err(ValueError {
            message: "too many digits for a duration",
            help: format!("at most {DURATION_DIGITS_MAX} digits for one unit"),
        });
    }
    humantime::parse_duration(text).map_err(|_| ValueError {
        message: "not a duration",
        help: "a duration is a number and a unit: \"250ms\", \"5s\", \"10m\", \"1h\"".to_owned(),
    })
}

/// Prints a duration so that [`parse_duration`] reads the same.
#[must_use]
pub fn print_duration(duration: Duration) -> impl fmt::Display {
    humantime::format_duration(duration)
}

/// Reads a size such as `"64KiB"` or `"10MB"`, in bytes: `MB` is 10^6, `MiB` 2^20.
///
/// # Errors
///
/// A number without a unit, an unknown unit, anything else.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    if is_bare_number(text) {
        return Err(ValueError {
            message: "a size needs a unit",
            help: format!("write \"{text}B\" for bytes, or \"{text}MB\" for millions of them"),
        });
    }
    if longest_number(text) > SIZE_DIGITS_MAX {
        return Err(ValueError {
            message: "too many digits for a size",
            help: format!("at most {SIZE_DIGITS_MAX} digits"),
        });
    }
    text.parse::<ByteSize>()
        .ok()
        .map(|size| size.as_u64())
        .filter(|&size| size < u64::MAX)
        .ok_or_else(|| ValueError {
            message: "not a size",
            help: "a size is a number and a unit: \"512B\", \"64KiB\", \"10MB\", \"1GiB\""
                .to_owned(),
        })
}

/// Prints a size in bytes in its largest whole unit, so that [`parse_size`] reads the same.
#[must_use]
pub fn print_size(bytes: u64) -> impl fmt::Display {
    const UNITS: [(u64, &str); 6] = [
        (bytesize::GIB, "GiB"),
        (bytesize::GB, "GB"),
        (bytesize::MIB, "MiB"),
        (bytesize::MB, "MB"),
        (bytesize::KIB, "KiB"),
        (bytesize::KB, "kB"),
    ];
    let (factor, unit) = UNITS
        .into_iter()
        .find(|&(factor, _)| bytes != 0 && bytes.is_multiple_of(factor))
        .unwrap_or((1, "B"));
    fmt::from_fn(move |out| write!(out, "{}{unit}", bytes / factor))
}

fn is_bare_number(text: &str) -> bool {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && text.parse::<f64>().is_ok()
}

/// The digits of the longest number in a text.
fn longest_number(text: &str) -> usize {
    text.split(|char: char| !char.is_ascii_digit()).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use proptest::{prelude::*, sample::select};

    use super::*;

    #[test]
    fn durations() {
        #[rustfmt::skip]
        let cases = [
            // text       milliseconds, or the message
            ("250ms",     Ok(250)),
            ("5s",        Ok(5_000)),
            ("1h 30m",    Ok(5_400_000)),
            ("1.5s",      Ok(1_500)),
            ("0s",        Ok(0)),
            ("600",       Err("a duration needs a unit")),
            ("",          Err("not a duration")),
            ("s",         Err("not a duration")),
            ("-5s",       Err("not a duration")),
            ("5 parsecs", Err("not a duration")),
            // humantime alone would panic here: the carry passes u64::MAX seconds
            ("18446744073709551615s 1000000000ns", Err("too many digits for a duration")),
        ];
        for (text, expected) in cases {
            let got = parse_duration(text).map(|d| d.as_millis()).map_err(|e| e.message);
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        #[rustfmt::skip]
        let cases = [
            ("512B",  Ok(512)),
            ("64KiB", Ok(65_536)),
            ("64kb",  Ok(64_000)),
            ("10 MB", Ok(10_000_000)),
            ("10",    Err("a size needs a unit")),
            ("",      Err("not a size")),
            ("MB",    Err("not a size")),
            ("10 MX", Err("not a size")),
            ("99999999999EB", Err("not a size")),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text).map_err(|e| e.message), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(
            nanos in 0..100 * 86_400 * 1_000_000_000_u64,
            unit in select(vec![1, 1_000_000, 1_000_000_000, 60_000_000_000]),
        ) {
            let duration = Duration::from_nanos(nanos / unit * unit);
            prop_assert_eq!(parse_duration(&print_duration(duration).to_string()), Ok(duration));
        }

        #[test]
        fn a_printed_size_reads_back(
            size in 0..1_000_000_000_000_000_u64,
            unit in select(vec![1, 1_000, 1 << 20, 1_000_000_000]),
        ) {
            let size = size / unit * unit;
            prop_assert_eq!(parse_size(&print_size(size).to_string()), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "[0-9. a-zA-Zµ-]{0,40}|.{0,20}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
