//! Tests of the scanner and the raw view.
