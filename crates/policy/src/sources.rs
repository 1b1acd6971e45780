//! Where policies come from, and whom they are for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that is to be in force. Each layer is judged apart, and the strictest answer counts: a tenant, or a
/// server's definition, never widens what the platform refused.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// For every call.
    pub platform: Vec<Source>,
    /// For the calls of a tenant's callers, by the tenant's name.
    pub tenants: BTreeMap<String, Vec<Source>>,
    /// For the calls to a server, by its name: its definition, the JSON of the `mcp_server` document.
    pub definitions: BTreeMap<String, Arc<str>>,
}

/// One place policies come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory, read with everything below it, or a single file.
    Directory(PathBuf),
}

impl<P: AsRef<[PathBuf]> + ?Sized> From<&P> for Sources {
    /// Directories for every call.
    fn from(directories: &P) -> Self {
        Self {
            platform: directories
                .as_ref()
                .iter()
                .cloned()
                .map(Source::Directory)
                .collect(),
            ..Self::default()
        }
    }
}
