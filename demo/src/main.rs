//! The demo's binary.
fn main() {}
