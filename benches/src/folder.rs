//! The folder of a run: policies and logs, gone when the run is.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Error, io};

/// Twelve rules on roles, tools and arguments.
const REALISTIC: &str = include_str!("../policy/realistic/authz.rego");

/// One rule that allows everything.
const OPEN: &str = include_str!("../policy/open/authz.rego");

/// Which policy a row judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Twelve rules on roles, tools and arguments.
    Realistic,
    /// One rule that allows everything.
    Open,
}

/// A temporary folder with the bench's policies in it.
#[derive(Debug)]
pub(crate) struct Folder {
    root: TempDir,
}

impl Folder {
    /// Makes the folder and writes the policies.
    pub(crate) fn new() -> Result<Self, Error> {
        let root = tempfile::Builder::new()
            .prefix("keepgate-bench-")
            .tempdir()
            .map_err(io("make a folder for the run"))?;
        let folder = Self { root };
        for (rules, text) in [(Rules::Realistic, REALISTIC), (Rules::Open, OPEN)] {
            let path = folder.policy(rules);
            fs::create_dir(&path).map_err(io("make a folder for a policy"))?;
            fs::write(path.join("authz.rego"), text).map_err(io("write a policy"))?;
        }
        Ok(folder)
    }

    /// The folder of one policy.
    pub(crate) fn policy(&self, rules: Rules) -> PathBuf {
        self.root.path().join(match rules {
            Rules::Realistic => "realistic",
            Rules::Open => "open",
        })
    }

    /// A path in the folder that nothing else uses if `name` is used once.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path: &Path = self.root.path();
        path.join(name)
    }
}
