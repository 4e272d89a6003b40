//! What is counted of the process: numbers that the crate `prometheus` shows. Nothing
//! above this module names that crate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::definitions::Definition;

/// A number that only grows. Clones share it.
#[derive(Clone, Debug)]
pub struct Counter(IntCounter);

impl Counter {
    pub(super) fn new(definition: &Definition) -> Self {
        Self(definition.counter())
    }

    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.0.clone())
    }

    /// Counts `count` more.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// What was counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A number that goes up and down. Clones share it.
#[derive(Clone, Debug)]
pub struct Gauge(IntGauge);

impl Gauge {
    pub(super) fn new(definition: &Definition) -> Self {
        Self(definition.gauge())
    }

    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.0.clone())
    }

    pub(super) fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Where it stands.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.get()
    }

    /// Counts one more, until what is returned is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.0.inc();
        Held(self.clone())
    }
}

/// One more in a gauge, until it is dropped: also where a panic unwinds.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        let Gauge(gauge) = &self.0;
        gauge.dec();
    }
}

/// The series of a metric with labels. They are kept by the labels' values, with spaces
/// between, beside the crate's own table, which gives numbers back as floats alone.
#[derive(Clone, Debug)]
pub(super) struct Labelled<Table, Series> {
    table: Table,
    series: Arc<Mutex<BTreeMap<Box<str>, Series>>>,
}

impl<Table: Collector + Clone + 'static, Series: Clone> Labelled<Table, Series> {
    fn new(table: Table) -> Self {
        Self { table, series: Arc::default() }
    }

    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.table.clone())
    }

    /// Every series that there is, by the values of its labels, with spaces between.
    pub(super) fn all(&self) -> Vec<(Box<str>, Series)> {
        self.lock().iter().map(|(value, series)| (value.clone(), series.clone())).collect()
    }

    fn get_or_make(&self, values: &[&str], make: impl FnOnce(&Table) -> Series) -> Series {
        let mut series = self.lock();
        series.entry(values.join(" ").into()).or_insert_with(|| make(&self.table)).clone()
    }

    /// For the start, a reload, the status, a handshake and what is refused, never for a
    /// request that is served.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters of one metric.
pub(super) type Counters = Labelled<IntCounterVec, Counter>;

impl Counters {
    pub(super) fn of(definition: &Definition) -> Self {
        Self::new(definition.counters())
    }

    /// The counter with these values of the labels.
    pub(super) fn with(&self, values: &[&str]) -> Counter {
        self.get_or_make(values, |table| Counter(table.with_label_values(values)))
    }
}

/// Gauges of one metric.
pub(super) type Gauges = Labelled<IntGaugeVec, Gauge>;

impl Gauges {
    pub(super) fn of(definition: &Definition) -> Self {
        Self::new(definition.gauges())
    }

    /// The gauge with this value of the label.
    pub(super) fn with(&self, value: &str) -> Gauge {
        self.get_or_make(&[value], |table| Gauge(table.with_label_values(&[value])))
    }
}
