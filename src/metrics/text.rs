//! The text format of Prometheus, version 0.0.4: what routes and upstreams have counted.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::cells::{Counted, Family};
use super::definitions::{Definition, MetricKind};
use super::durations;

/// Text to which metrics are added.
pub(super) struct Text(String);

impl Text {
    /// Goes on after `before`, which ends with a line.
    pub(super) fn new(before: String) -> Self {
        Self(before)
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// A metric with one series.
    pub(super) fn one(&mut self, metric: &'static Definition, values: &[&str], value: u64) {
        let mut lines = Lines { text: &mut self.0, metric, begun: false };
        lines.line("", &labels(metric, values), value);
    }

    /// A metric with one label: each value of it, and the number.
    pub(super) fn each<'v>(
        &mut self,
        metric: &'static Definition,
        series: impl Iterator<Item = (&'v str, i64)>,
    ) {
        let mut lines = Lines { text: &mut self.0, metric, begun: false };
        for (value, number) in series {
            lines.line("", &labels(metric, &[value]), number);
        }
    }

    /// Every metric of all that are given, one metric after the other.
    pub(super) fn all<T: Counted>(&mut self, all: &[&T]) {
        for family in T::FAMILIES {
            let mut lines = Lines { text: &mut self.0, metric: family.0, begun: false };
            for &counted in all {
                match family.0.kind {
                    MetricKind::Histogram => lines.histogram(counted, family),
                    MetricKind::Counter | MetricKind::Gauge => lines.counters(counted, family),
                }
            }
        }
    }
}

/// The lines of one metric.
struct Lines<'t> {
    text: &'t mut String,
    metric: &'static Definition,
    begun: bool,
}

impl Lines<'_> {
    /// What is told apart by words is not there before it has counted something.
    fn counters<T: Counted>(&mut self, counted: &T, (_, visit): &Family<T::Counts>) {
        let Some(counts) = counted.counts() else { return };
        visit(counts, &mut |words, cell| {
            let value = cell.load(Ordering::Relaxed);
            if value > 0 || words.is_empty() {
                let own = counted.labels().iter().map(AsRef::as_ref);
                let values: SmallVec<[&str; 5]> = own.chain(words.iter().copied()).collect();
                self.line("", &labels(self.metric, &values), value);
            }
        });
    }

    fn histogram<T: Counted>(&mut self, counted: &T, (_, visit): &Family<T::Counts>) {
        let Some(counts) = counted.counts() else { return };
        let own: SmallVec<[&str; 2]> = counted.labels().iter().map(AsRef::as_ref).collect();
        let own = labels(self.metric, &own);
        let mut count = 0_u64;
        visit(counts, &mut |words, cell| {
            let value = cell.load(Ordering::Relaxed);
            let Some(&word) = words.first() else { return };
            if word == durations::SUM {
                #[expect(clippy::cast_precision_loss, reason = "the format's numbers are floats")]
                self.line("_sum", &own, value as f64 / 1e6);
                self.line("_count", &own, count);
            } else {
                // The sum of what was carried over may be anything.
                count = count.saturating_add(value);
                self.line("_bucket", &format!("{own},le=\"{word}\""), count);
            }
        });
    }

    fn line(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let Definition { name, kind, help, .. } = self.metric;
        if !self.begun {
            self.begun = true;
            let kind = kind.as_str();
            self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        match labels {
            "" => self.write(format_args!("{name}{suffix} {value}\n")),
            _ => self.write(format_args!("{name}{suffix}{{{labels}}} {value}\n")),
        }
    }

    fn write(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("writing to a String does not fail");
    }
}

/// The labels of a series, by their names in order, as the crate `prometheus` has them.
fn labels(metric: &Definition, values: &[&str]) -> String {
    let mut labels: SmallVec<[(&str, &str); 5]> =
        metric.labels.iter().copied().zip(values.iter().copied()).collect();
    labels.sort_unstable();
    let mut text = String::with_capacity(128);
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::definitions::BUILD_INFO;

    #[test]
    fn labels_are_in_order_and_escaped() {
        let mut text = Text::new("# before\n".to_owned());
        text.one(&BUILD_INFO, &["a\"b\\c\nd", "é"], 1);
        let line = "corsac_build_info{revision=\"é\",version=\"a\\\"b\\\\c\\nd\"} 1\n";
        let text = text.finish();
        assert!(text.starts_with("# before\n# HELP ") && text.ends_with(line), "{text}");
    }
}
