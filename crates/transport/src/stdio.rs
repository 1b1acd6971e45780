//! MCP over the standard streams of a child process.

pub mod child;

pub use child::{Child, ChildSettings};
