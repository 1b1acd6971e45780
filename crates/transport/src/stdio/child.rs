//! A child process: started in its own group and with a clean environment, ended as a whole group.

use std::{ffi::OsString, path::PathBuf, time::Duration};

/// How a child is started, and ended.
#[derive(Debug, Clone)]
pub struct ChildSettings {
    /// The server's name, for the log.
    pub name: String,
    /// The program, looked up in the child's `PATH`.
    pub command: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables of ours the child gets as they are, if they are set. Everything else stays here.
    pub inherit: Vec<String>,
    /// Variables set for the child; they win over the inherited ones.
    pub env: Vec<(String, OsString)>,
    /// Its working directory; ours if `None`.
    pub directory: Option<PathBuf>,
    /// Most bytes of one message in either direction.
    pub max_line: usize,
    /// Most bytes logged of one line the child writes to stderr.
    pub max_log_line: usize,
    /// Time between closing stdin and SIGTERM, and between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl ChildSettings {
    /// The variables a child gets unless the configuration says otherwise.
    pub const INHERIT: &'static [&'static str] = &[
        "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME",
    ];

    /// The usual settings for a program.
    pub fn new(name: impl Into<String>, command: impl Into<OsString>) -> Self {
        Self {
            name: name.into(),
            command: command.into(),
            args: Vec::new(),
            inherit: Self::INHERIT.iter().map(|&name| name.to_owned()).collect(),
            env: Vec::new(),
            directory: None,
            max_line: 8 * 1024 * 1024,
            max_log_line: 4 * 1024,
            grace: Duration::from_secs(2),
        }
    }
}

/// A running child.
#[derive(Debug)]
pub struct Child {}
