//! One recorder, two outputs: the text Prometheus scrapes, and OTLP.

pub mod registry;
pub mod text;

pub use registry::{
    About, Bound, Counter, Family, Gauge, Histogram, Kind, OTHER, Observed, Reading, Registry, Unit,
};
