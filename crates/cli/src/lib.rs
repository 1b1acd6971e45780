//! The keepgate binary: commands, configuration, signals, wiring.

pub mod config;
