//! The signed record of every call: writing, verifying, reading.
