//! A tool's `inputSchema`, as far as it declares arguments: read once when a list shows the tool, so that a call
//! costs one look per name.
//!
//! [`InputSchema`] is no validation. It answers which names a server may read an argument by, and whether the schema lets
//! others in. [`values`] validates.

mod check;
mod read;
mod reference;
#[cfg(test)]
mod tests;
pub mod values;

pub use check::{ArgumentFault, Undeclared};

use crate::json::{Kind, Raw};
use crate::mirror::{InvalidMirror, Mirror};

/// Longest schema that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Most schemas within one schema.
const MAX_NODES: usize = 10_000;

/// Treatment of arguments that a schema does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Additional {
    /// It declares properties, and is silent about others.
    Plain,
    /// It lets others in, declares none at all, or is composed of parts that may declare more.
    Open,
    /// `additionalProperties: false`.
    Closed,
}

/// A schema that cannot be read within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the schema is too large to be read")]
pub struct TooLarge;

/// The arguments of a tool, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSchema {
    /// The first is the root's; others stand for nested objects that declare properties, or lead to such.
    nodes: Box<[Node]>,
    additional: Additional,
    mirrors: Result<Box<[Mirror]>, InvalidMirror>,
}

/// The names one object may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    /// Sorted by name.
    declared: Box<[Declared]>,
    /// The folded forms of the names, sorted.
    folded: Box<[Box<str>]>,
    /// Two names fold to one, so that a call may not have both.
    has_twins: bool,
    /// The nodes of an array's items.
    items: Box<[u32]>,
    /// The nodes of members that are not declared.
    others: Box<[u32]>,
}

/// A declared property, and the nodes its value is read by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Declared {
    name: Box<str>,
    nodes: Box<[u32]>,
}

impl InputSchema {
    /// Reads a schema; none, and what is no object, is open.
    ///
    /// # Errors
    /// A schema of more than [`MAX_BYTES`], or of more parts than are read.
    pub fn read(schema: Option<Raw<'_>>) -> Result<Self, TooLarge> {
        match schema.filter(|schema| schema.kind() == Kind::Object) {
            Some(schema) if schema.as_bytes().len() > MAX_BYTES => Err(TooLarge),
            Some(schema) => read::schema(schema),
            None => Ok(Self::open()),
        }
    }

    /// One that declares nothing.
    pub fn open() -> Self {
        Self {
            nodes: Box::default(),
            additional: Additional::Open,
            mirrors: Ok(Box::default()),
        }
    }

    /// Its treatment of arguments it does not declare.
    pub fn additional(&self) -> Additional {
        self.additional
    }

    /// The arguments that headers repeat.
    ///
    /// # Errors
    /// If a declaration is invalid, so that 2026-07-28 demands to drop the tool.
    pub fn mirrors(&self) -> Result<&[Mirror], InvalidMirror> {
        match &self.mirrors {
            Ok(mirrors) => Ok(mirrors),
            Err(invalid) => Err(*invalid),
        }
    }

    /// Bytes of memory it holds, about.
    pub fn size(&self) -> usize {
        let node = |node: &Node| {
            let names = node.declared.iter();
            let declared: usize = names
                .map(|declared| 2 * declared.name.len() + 4 * declared.nodes.len() + 48)
                .sum();
            declared + 4 * (node.items.len() + node.others.len()) + size_of::<Node>()
        };
        let mirrors = self.mirrors.as_deref().unwrap_or_default();
        let mirror = |mirror: &Mirror| {
            let path: usize = mirror.path.iter().map(|step| step.len() + 16).sum();
            path + mirror.header.len() + size_of::<Mirror>()
        };
        self.nodes.iter().map(node).sum::<usize>() + mirrors.iter().map(mirror).sum::<usize>()
    }
}
