//! The rules of one process: what configuration decides and the launcher carries out.

use std::{ffi::OsString, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::launch::COMMAND;

/// Rules of one child process. They travel on the launcher's command line, so nothing in them is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Version of Landlock's interface that is used; 0 for none, and then the files are not fenced in.
    pub abi: u8,
    /// Files the process may reach.
    pub files: Files,
    /// Paths the process must not reach, with everything below.
    pub hidden: Vec<PathBuf>,
    /// Paths the process may read and not change.
    pub read_only: Vec<PathBuf>,
    /// TCP ports the process may connect to; it then binds none. `None` leaves the network as it is.
    pub network: Option<Vec<u16>>,
    /// User the process runs as; the gateway's own if `None`.
    pub user: Option<String>,
}

/// Files a process may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Files {
    /// All but those that are hidden.
    #[default]
    Unlisted,
    /// Those on a list, the system's programs and libraries, and the caches of `npx` and `uvx`.
    Listed {
        /// Paths that may be read.
        read: Vec<PathBuf>,
        /// Paths that may be read and changed.
        write: Vec<PathBuf>,
    },
}

impl Rules {
    /// Arguments that make this binary the launcher; the program and its own arguments follow.
    pub fn arguments(&self) -> Vec<OsString> {
        // Paths of the configuration are UTF-8, so there is nothing that has no JSON.
        let rules = serde_json::to_string(self).unwrap_or_default();
        vec![COMMAND.into(), rules.into(), "--".into()]
    }
}
