//! Keepgate's benches.
