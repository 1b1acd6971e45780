//! Where policies come from, and whom they are for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::BundleSource;

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
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory, read with everything below it, or a single file.
    Directory(PathBuf),
    /// A bundle, and who may have signed it. Bundles of one layer own different parts of `data`.
    Bundle(Arc<BundleSource>),
}

/// Bundles are the same where they are one: what they hold, and what they are checked with, is not compared.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(one), Self::Directory(other)) => one == other,
            (Self::Bundle(one), Self::Bundle(other)) => Arc::ptr_eq(one, other),
            (Self::Directory(_), Self::Bundle(_)) | (Self::Bundle(_), Self::Directory(_)) => false,
        }
    }
}

impl Eq for Source {}

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
