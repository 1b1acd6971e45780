//! The keepgate binary: commands, configuration, signals, wiring.
