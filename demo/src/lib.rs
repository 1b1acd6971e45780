//! Keepgate's demo.
