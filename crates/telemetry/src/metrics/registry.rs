//! The recorder: counters, gauges and histograms in families by label. Read by `/metrics` and by the OTLP exporter.
//!
//! Recording takes no lock: a family is a map that is replaced when a label set is new, and a value is a few atomics.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

/// The most label sets of one metric; whatever comes after is counted under [`OTHER`] in every label.
pub const SERIES_MOST: usize = 2_000;

/// What stands in a label for a value that is not told apart.
pub const OTHER: &str = "_OTHER";

/// What a metric measures in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The name in OpenTelemetry's form, `keepgate.calls`.
    pub name: &'static str,
    /// What it tells, one sentence without a full stop.
    pub help: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// How it behaves.
    pub kind: Kind,
    /// The labels in OpenTelemetry's form, `mcp.method.name`.
    pub labels: &'static [&'static str],
}

impl About {
    /// A counter of things.
    pub const fn counter(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            help,
            unit: Unit::None,
            kind: Kind::Counter,
            labels,
        }
    }

    /// A gauge of things.
    pub const fn gauge(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            help,
            unit: Unit::None,
            kind: Kind::Gauge,
            labels,
        }
    }

    /// The same in another unit.
    #[must_use]
    pub const fn unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }
}

/// A value that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

/// A value that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Changes the value.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }
}

/// Durations, counted by size.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in nanoseconds; one more bucket takes the rest.
    bounds: &'static [u64],
    buckets: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Counts a duration.
    pub fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < nanoseconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// A value at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Buckets {
        /// Upper bounds in seconds.
        bounds: Vec<f64>,
        /// How many fell into each bucket; one more than there are bounds.
        counts: Vec<u64>,
        /// The sum in seconds.
        sum: f64,
    },
}

/// One label set of a metric at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The values of the labels, in the order of [`About::labels`].
    pub labels: Vec<Box<str>>,
    /// The value.
    pub value: Value,
}

/// One metric at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What it is.
    pub about: About,
    /// Its label sets.
    pub points: Vec<Point>,
}

trait Read: Send + Sync {
    fn points(&self) -> Vec<Point>;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

trait Measured: Send + Sync + 'static {
    fn value(&self) -> Value;
}

impl Measured for Counter {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts beyond 2^53 may lose their last digit"
    )]
    fn value(&self) -> Value {
        Value::Number(self.0.load(Ordering::Relaxed) as f64)
    }
}

impl Measured for Gauge {
    #[expect(
        clippy::cast_precision_loss,
        reason = "values beyond 2^53 may lose their last digit"
    )]
    fn value(&self) -> Value {
        Value::Number(self.0.load(Ordering::Relaxed) as f64)
    }
}

impl Measured for Histogram {
    fn value(&self) -> Value {
        let seconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64();
        Value::Buckets {
            bounds: self.bounds.iter().map(|bound| seconds(*bound)).collect(),
            counts: self
                .buckets
                .iter()
                .map(|bucket| bucket.load(Ordering::Relaxed))
                .collect(),
            sum: seconds(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

/// Keys are hashes already.
type AsItIs = std::hash::BuildHasherDefault<Ready>;

/// Takes a hash for what it is.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never asked: keys are numbers.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

struct Series<T> {
    labels: Vec<Box<str>>,
    value: T,
}

/// One series of a family.
pub struct Bound<T>(Arc<Series<T>>);

impl<T> std::ops::Deref for Bound<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> fmt::Debug for Bound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bound").field(&self.0.labels).finish()
    }
}

/// All label sets of one metric. Cheap to clone; clones share them.
pub struct Family<T, const N: usize>(Arc<Inner<T>>);

struct Inner<T> {
    series: ArcSwap<HashMap<u64, Arc<Series<T>>, AsItIs>>,
    growing: Mutex<()>,
    hasher: RandomState,
    fresh: Box<dyn Fn() -> T + Send + Sync>,
    refused: Arc<AtomicU64>,
}

impl<T, const N: usize> Clone for Family<T, N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, const N: usize> fmt::Debug for Family<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static, const N: usize> Family<T, N> {
    /// Records into the series with these label values, in the order the labels were named at registration. Values must
    /// come from a bounded set: configured names and words of our own, never what a client writes.
    pub fn with<R>(&self, labels: [&str; N], record: impl FnOnce(&T) -> R) -> R {
        let key = self.key(&labels);
        match self.0.series.load().get(&key) {
            Some(series) => record(&series.value),
            None => record(&self.grow(key, &labels).value),
        }
    }

    /// The series with these label values, for whoever records into it often.
    pub fn bind(&self, labels: [&str; N]) -> Bound<T> {
        let key = self.key(&labels);
        let known = self.0.series.load().get(&key).map(Arc::clone);
        Bound(known.unwrap_or_else(|| self.grow(key, &labels)))
    }

    fn key(&self, labels: &[&str; N]) -> u64 {
        let mut hasher = self.0.hasher.build_hasher();
        for label in labels {
            label.hash(&mut hasher);
        }
        hasher.finish()
    }

    fn grow(&self, key: u64, labels: &[&str; N]) -> Arc<Series<T>> {
        let _one_grows = self
            .0
            .growing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.0.series.load_full();
        if let Some(series) = now.get(&key) {
            return Arc::clone(series);
        }
        let (key, labels) = if now.len() < SERIES_MOST {
            (key, *labels)
        } else {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            (self.key(&[OTHER; N]), [OTHER; N])
        };
        if let Some(series) = now.get(&key) {
            return Arc::clone(series);
        }
        let series = Arc::new(Series {
            labels: labels.iter().map(|label| Box::from(*label)).collect(),
            value: (self.0.fresh)(),
        });
        let mut grown = HashMap::clone(&now);
        grown.insert(key, Arc::clone(&series));
        self.0.series.store(Arc::new(grown));
        series
    }
}

impl<T: Measured> Read for Inner<T> {
    fn points(&self) -> Vec<Point> {
        let series = self.series.load();
        let mut points: Vec<Point> = series
            .values()
            .map(|series| Point {
                labels: series.labels.clone(),
                value: series.value.value(),
            })
            .collect();
        points.sort_by(|one, other| one.labels.cmp(&other.labels));
        points
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Where a metric that is read when it is asked for puts its values.
#[derive(Debug, Default)]
pub struct Observed(Vec<Point>);

impl Observed {
    /// One label set's value now.
    pub fn add<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        if self.0.len() < SERIES_MOST {
            self.0.push(Point {
                labels: labels.iter().map(|label| Box::from(*label)).collect(),
                value: Value::Number(value),
            });
        }
    }
}

struct Callback(Box<dyn Fn(&mut Observed) + Send + Sync>);

impl Read for Callback {
    fn points(&self) -> Vec<Point> {
        let mut observed = Observed::default();
        (self.0)(&mut observed);
        observed.0
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Every metric there is.
///
/// A metric is registered where it is recorded: `registry.counter("keepgate.kills", "…", &["scope"])` gives the family to
/// count in. Registering a name again gives the same family, so that a stack that is built anew counts on.
#[derive(Default)]
pub struct Registry {
    metrics: Mutex<Vec<(About, Arc<dyn Read>)>>,
    refused: Arc<AtomicU64>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// A family of counters. `N` labels, named in OpenTelemetry's form.
    pub fn counter<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str; N],
    ) -> Family<Counter, N> {
        self.family(About::counter(name, help, labels), Counter::default)
    }

    /// A family of gauges.
    pub fn gauge<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str; N],
    ) -> Family<Gauge, N> {
        self.family(About::gauge(name, help, labels), Gauge::default)
    }

    /// A family of histograms of durations, with upper `bounds` in nanoseconds, ascending.
    pub fn histogram<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str; N],
        bounds: &'static [u64],
    ) -> Family<Histogram, N> {
        let about = About {
            name,
            help,
            unit: Unit::Seconds,
            kind: Kind::Histogram,
            labels,
        };
        self.family(about, move || Histogram::new(bounds))
    }

    /// A metric whose values are read when somebody asks for them: `read` is called on the operators' side, never on the
    /// path of a call, and adds one value for each label set. Registering a name again replaces what is read.
    pub fn observe(&self, about: About, read: impl Fn(&mut Observed) + Send + Sync + 'static) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.retain(|(known, _)| known.name != about.name);
        metrics.push((about, Arc::new(Callback(Box::new(read)))));
    }

    /// How often a label set had to be counted under [`OTHER`] because its metric had too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Every metric now, by name.
    pub fn read(&self) -> Vec<Reading> {
        let metrics = self
            .metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut readings: Vec<Reading> = metrics
            .into_iter()
            .map(|(about, metric)| Reading {
                about,
                points: metric.points(),
            })
            .collect();
        readings.sort_by_key(|reading| reading.about.name);
        readings
    }

    fn family<T: Measured, const N: usize>(
        &self,
        about: About,
        fresh: impl Fn() -> T + Send + Sync + 'static,
    ) -> Family<T, N> {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let known = metrics
            .iter()
            .find(|(known, _)| known.name == about.name && known.labels == about.labels)
            .and_then(|(_, metric)| Arc::clone(metric).as_any().downcast::<Inner<T>>().ok());
        if let Some(known) = known {
            return Family(known);
        }
        debug_assert!(
            metrics.iter().all(|(known, _)| known.name != about.name),
            "two metrics called {}",
            about.name
        );
        let inner = Arc::new(Inner {
            series: ArcSwap::default(),
            growing: Mutex::default(),
            hasher: RandomState::new(),
            fresh: Box::new(fresh),
            refused: Arc::clone(&self.refused),
        });
        metrics.push((about, Arc::clone(&inner) as Arc<dyn Read>));
        Family(inner)
    }
}

#[cfg(test)]
mod tests;
