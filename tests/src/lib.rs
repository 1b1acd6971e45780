//! Keepgate's tests.
