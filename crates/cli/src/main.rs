//! The `keepgate` binary.
fn main() {}
