//! Metrics and traces: recorded without a lock, read by Prometheus, sent as OTLP.
//!
//! The one part of the gateway that fails open: what cannot be counted or sent is dropped and counted as dropped, and no
//! call waits for it.

pub mod export;
pub mod metrics;
mod otlp;
pub mod trace;
