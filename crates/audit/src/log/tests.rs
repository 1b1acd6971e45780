//! Tests of the writing end.
