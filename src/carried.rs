//! What a process hands to the one that takes its place, besides its sockets: what it has
//! counted, where its rounds stand, and the origins that it refused.
//!
//! The two may be of different versions, and have different configurations. So everything
//! is found by its name, as it is shown: a metric by its name and its labels, an upstream by
//! its nodes, a policy by its name. What the new process does not know, or does not serve,
//! is dropped: no series exists that its own configuration does not give. It trusts no
//! number: a value that is no number is dropped alone, and every table keeps its bound.
//!
//! Gauges are not carried: they say what is, and that is another process's now.
//!
//! A process goes on to count while it drains. What it hands over at the end is
//! [`Carried::since`] what it has handed over before, so that nothing counts twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::Upstream;
use crate::diagnose::codes;
use crate::metrics::Metrics;
use crate::metrics::cells::Counted;
use crate::metrics::definitions::{self, Definition, MetricKind};
use crate::refused::RefusedOrigin;
use crate::snapshot::Snapshot;

/// What outlives a process; as JSON.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Carried {
    /// By the metric's name.
    counts: BTreeMap<String, ByName>,
    /// Where the round of each upstream stands.
    #[serde(deserialize_with = "what_is_known")]
    rounds: BTreeMap<String, Round>,
    /// By the policy's name.
    #[serde(deserialize_with = "what_is_known")]
    refused: BTreeMap<String, Refused>,
}

/// What one metric has counted, by the name of the route or upstream; without a name: of
/// requests without a route, or of the process.
type ByName = BTreeMap<String, Words>;

/// Counts by the values of the other labels, with spaces between them; of a histogram, by
/// the bounds of its buckets.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Words(#[serde(deserialize_with = "what_is_known")] BTreeMap<String, u64>);

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
struct Round {
    /// As they are written, each with its weight.
    nodes: Vec<(String, u16)>,
    turn: u64,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
struct Refused {
    origins: Vec<RefusedOrigin>,
    skipped: u64,
}

impl Carried {
    /// What is worth keeping of a process, at this moment.
    #[must_use]
    pub fn of(snapshot: &Snapshot, metrics: &Metrics) -> Self {
        let mut carried = Self::default();
        let series = snapshot.series();
        carried.note(metrics.unrouted());
        series.routes.iter().for_each(|route| carried.note(&**route));
        series.upstreams.iter().for_each(|upstream| carried.note(&**upstream));
        carried.insert(definitions::CONFIG_REFUSED.name, "", metrics.refusals());
        for listener in &snapshot.config().listeners {
            for (metric, counts) in metrics.counts_of_listener(&listener.name) {
                carried.insert(metric, &listener.name, counts);
            }
        }
        let dropped = metrics.access_log_dropped().get();
        carried.insert(definitions::ACCESS_LOG_DROPPED.name, "", [("", dropped)]);
        let dropped = metrics.log_dropped().get();
        carried.insert(definitions::LOG_DROPPED.name, "", [("", dropped)]);
        for (index, upstream) in snapshot.config().upstreams.iter().enumerate() {
            let Some((_, pool)) = snapshot.upstream(index) else { continue };
            let round = Round { nodes: nodes(upstream), turn: pool.turn() as u64 };
            carried.rounds.insert(upstream.name.to_string(), round);
        }
        for (policy, refused) in snapshot.policies() {
            let refused = Refused { origins: refused.all(), skipped: refused.skipped() };
            carried.refused.insert(policy.to_owned(), refused);
        }
        carried
    }

    /// What was counted since `earlier`, and nothing else: rounds go on elsewhere by now,
    /// and a table of refused origins has no difference.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = Self::default();
        for (metric, by_name) in &self.counts {
            for (name, Words(words)) in by_name {
                let before = earlier.counts.get(metric).and_then(|by_name| by_name.get(name));
                let counted = words.iter().map(|(words, &count)| {
                    let before = before.and_then(|Words(before)| before.get(words));
                    (words.as_str(), count.saturating_sub(before.copied().unwrap_or(0)))
                });
                since.insert(metric, name, counted);
            }
        }
        since
    }

    /// Whether there is nothing to hand over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the counts to those of this process, sets the rounds, merges refused origins.
    pub fn apply(&self, snapshot: &Snapshot, metrics: &Metrics) {
        let series = snapshot.series();
        self.add_to(metrics.unrouted());
        series.routes.iter().for_each(|route| self.add_to(&**route));
        series.upstreams.iter().for_each(|upstream| self.add_to(&**upstream));
        for (code, &count) in self.words(&definitions::CONFIG_REFUSED, "") {
            if codes::meaning(code).is_some() {
                metrics.count_refused(code, count);
            }
        }
        for listener in &snapshot.config().listeners {
            for (metric, by_name) in &self.counts {
                let Some(Words(words)) = by_name.get(&*listener.name) else { continue };
                for (words, &count) in words {
                    metrics.count_of_listener(metric, &listener.name, words, count);
                }
            }
        }
        if let Some(&count) = self.words(&definitions::ACCESS_LOG_DROPPED, "").get("") {
            metrics.access_log_dropped().add(count);
        }
        if let Some(&count) = self.words(&definitions::LOG_DROPPED, "").get("") {
            metrics.log_dropped().add(count);
        }
        for (index, upstream) in snapshot.config().upstreams.iter().enumerate() {
            if let Some((_, pool)) = snapshot.upstream(index)
                && let Some(round) = self.rounds.get(&*upstream.name)
                && round.nodes == nodes(upstream)
            {
                pool.go_on_at(usize::try_from(round.turn).unwrap_or_default());
            }
        }
        for (policy, table) in snapshot.policies() {
            if let Some(refused) = self.refused.get(policy) {
                table.merge(&refused.origins, refused.skipped);
            }
        }
    }

    fn note<T: Counted>(&mut self, counted: &T) {
        let Some(counts) = counted.counts() else { return };
        for (metric, visit) in T::FAMILIES {
            let mut words = BTreeMap::new();
            visit(counts, &mut |labels, cell| {
                let count = cell.load(Ordering::Relaxed);
                if count > 0 {
                    words.insert(labels.join(" "), count);
                }
            });
            self.insert(metric.name, counted.name(), words);
        }
    }

    fn insert<W: Into<String>>(
        &mut self,
        metric: &str,
        name: &str,
        counts: impl IntoIterator<Item = (W, u64)>,
    ) {
        let counted = counts.into_iter().filter(|(_, count)| *count > 0);
        let words: BTreeMap<String, u64> = counted.map(|(words, n)| (words.into(), n)).collect();
        if !words.is_empty() {
            self.counts.entry(metric.to_owned()).or_default().insert(name.to_owned(), Words(words));
        }
    }

    fn words(&self, metric: &Definition, name: &str) -> &BTreeMap<String, u64> {
        const NONE: &BTreeMap<String, u64> = &BTreeMap::new();
        let words = self.counts.get(metric.name).and_then(|by_name| by_name.get(name));
        words.map_or(NONE, |Words(words)| words)
    }

    fn add_to<T: Counted>(&self, counted: &T) {
        for (metric, visit) in T::FAMILIES {
            let words = self.words(metric, counted.name());
            for word in words.keys() {
                counted.make(metric, word);
            }
            let Some(counts) = counted.counts().filter(|_| !words.is_empty()) else { continue };
            let each = |found: &mut dyn FnMut(&AtomicU64, u64)| {
                visit(counts, &mut |labels, cell| {
                    if let Some(&count) = words.get(&labels.join(" ")) {
                        found(cell, count);
                    }
                });
            };
            // A histogram of other buckets begins anew: its count would disagree with its sum.
            if metric.kind == MetricKind::Histogram {
                let mut known = 0;
                each(&mut |_, _| known += 1);
                if known < words.len() {
                    continue;
                }
            }
            each(&mut |cell, count| {
                cell.fetch_add(count, Ordering::Relaxed);
            });
        }
    }
}

fn nodes(upstream: &Upstream) -> Vec<(String, u16)> {
    upstream.nodes.iter().map(|node| (node.address.to_string(), node.weight)).collect()
}

/// The entries whose values are what this version expects; the others are dropped.
fn what_is_known<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry<T> {
        Known(T),
        Unknown(IgnoredAny),
    }
    let entries = BTreeMap::<String, Entry<T>>::deserialize(deserializer)?;
    let known = entries.into_iter().filter_map(|(name, entry)| match entry {
        Entry::Known(value) => Some((name, value)),
        Entry::Unknown(_) => None,
    });
    Ok(known.collect())
}

#[cfg(test)]
mod tests;
