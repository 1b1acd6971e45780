//! The demo's directory: configuration, policy, and what Keepgate keeps.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Options;

/// Says that a directory was made by a demo and may be emptied by one.
const MARKER: &str = ".keepgate-demo";

const DATA_PORT: u16 = 8080;

const ADMIN_PORT: u16 = 9080;

/// What the support desk lets in. The agent never sees it; Keepgate adds it to each call.
const TOKEN: &str = "crm-token";

/// The policy's files, by name.
const POLICY: [(&str, &str); 2] = [
    ("support.rego", include_str!("../../policy/support.rego")),
    (
        "support_test.rego",
        include_str!("../../policy/support_test.rego"),
    ),
];

/// Why the stage could not be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The directory holds something else.
    #[error("not emptying a directory that no demo made: `{path}`")]
    Foreign {
        /// Which one.
        path: PathBuf,
    },
    /// A file could not be written or copied.
    #[error("failed to write or copy `{path}`")]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port is taken.
    #[error("port {port} on 127.0.0.1 is taken, choose another with {option}")]
    Taken {
        /// Which one.
        port: u16,
        /// How to choose another.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A directory in which Keepgate can be started.
#[derive(Debug)]
pub(super) struct Stage {
    directory: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Stage {
    /// Empties the directory and writes configuration and policy. `crm` is the support desk's
    /// endpoint and `token` what it lets in, `own` this program, which is also the notebook.
    pub(super) fn set(
        options: &Options,
        crm: &str,
        token: &str,
        own: &Path,
    ) -> Result<Self, StageError> {
        let listen = free(options.port, DATA_PORT, "--port")?;
        let admin = free(options.admin_port, ADMIN_PORT, "--admin-port")?;
        let directory = emptied(&options.directory)?;
        let stage = Self {
            directory,
            listen,
            admin,
        };
        fs::create_dir_all(stage.policies()).map_err(at(&stage.policies()))?;
        for (name, text) in POLICY {
            write(&stage.policies().join(name), text)?;
        }
        write_secret(&stage.directory.join(TOKEN), token)?;
        write(&stage.config(), &stage.settings(crm, own))?;
        Ok(stage)
    }

    fn settings(&self, crm: &str, own: &Path) -> String {
        let Self { listen, admin, .. } = self;
        let state = quoted(&self.directory.join("state"));
        let policies = quoted(&self.policies());
        let own = quoted(own);
        let token = self.directory.join(TOKEN);
        let reference = serde_json::Value::from(format!("file:{}", token.display()));
        let traces = quoted(&self.traces());
        let cases = crate::crm::CASES_AN_HOUR;
        format!(
            "# Written by the demo. Change it, or the policy, while `--stay` is on: both are read again.\n\
             version: 1\n\
             listen: {listen}\n\
             admin: {{ listen: {admin} }}\n\
             auth: {{ mode: keys }}\n\
             approvals: {{ hold: \"off\" }}\n\
             state: {{ dir: {state} }}\n\
             policies: [{policies}]\n\
             decisions: {{ file: {{}}, content: true }}\n\
             telemetry: {{ traces: {{ file: {traces} }} }}\n\
             servers:\n\
             \x20 crm:\n\
             \x20   url: {crm}\n\
             \x20   owner: support\n\
             \x20   credential: {{ ref: {reference}, as: bearer }}\n\
             \x20   limits: {{ tools: {{ get_case: {cases}/1h }} }}\n\
             \x20 notes: {{ command: [{own}, notes], owner: support }}\n"
        )
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn config(&self) -> PathBuf {
        self.directory.join("keepgate.yaml")
    }

    /// Where Keepgate writes its traces.
    pub(super) fn traces(&self) -> PathBuf {
        self.directory.join("traces.jsonl")
    }

    pub(super) fn decisions(&self) -> PathBuf {
        self.directory.join("state").join("decisions.jsonl")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("keepgate.log")
    }

    /// Where Keepgate keeps its record.
    pub(super) fn record(&self) -> PathBuf {
        self.directory.join("state").join("audit")
    }

    /// The record's public key, as it was when Keepgate had just started. A key taken from a log
    /// proves little about that log.
    pub(super) fn noted_key(&self) -> PathBuf {
        self.directory.join("log.pub")
    }

    /// Notes the record's public key.
    pub(super) fn note_key(&self) -> Result<(), StageError> {
        let key = self.record().join("log.pub");
        fs::copy(&key, self.noted_key()).map_err(at(&key)).map(drop)
    }

    fn policies(&self) -> PathBuf {
        self.directory.join("policy")
    }

    pub(super) fn policy_file(&self) -> PathBuf {
        self.policies().join("support.rego")
    }

    /// Where agents connect, without a path.
    pub(super) fn base(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Writes a secret that a command reads.
    pub(super) fn secret(&self, name: &str, text: &str) -> Result<PathBuf, StageError> {
        let path = self.directory.join(name);
        write_secret(&path, text)?;
        Ok(path)
    }

    /// Address of the console, without a path.
    pub(super) fn console(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }
}

/// A double-quoted YAML scalar (YAML 1.2, 7.3.1); JSON's strings are among them.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StageError {
    let path = path.to_owned();
    move |source| StageError::Write { path, source }
}

fn write(path: &Path, text: &str) -> Result<(), StageError> {
    fs::write(path, text).map_err(at(path))
}

/// Writes a file that only we can read.
fn write_secret(path: &Path, text: &str) -> Result<(), StageError> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(at(path))?;
    file.write_all(text.as_bytes()).map_err(at(path))
}

/// An empty directory at `path`, marked as ours and unknown to git.
fn emptied(path: &Path) -> Result<PathBuf, StageError> {
    let used = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if used && !path.join(MARKER).exists() {
        return Err(StageError::Foreign {
            path: path.to_owned(),
        });
    }
    if used {
        fs::remove_dir_all(path).map_err(at(path))?;
    }
    fs::create_dir_all(path).map_err(at(path))?;
    let path = fs::canonicalize(path).map_err(at(path))?;
    write(
        &path.join(MARKER),
        "Made by keepgate-demo, and emptied by it.\n",
    )?;
    write(&path.join(".gitignore"), "*\n")?;
    Ok(path)
}

/// `wanted` if it is free; without a wish `usual`, or any free port.
fn free(wanted: Option<u16>, usual: u16, option: &'static str) -> Result<SocketAddr, StageError> {
    let port = wanted.unwrap_or(usual);
    match bound(port) {
        Ok(address) => Ok(address),
        Err(source) if wanted.is_some() => Err(StageError::Taken {
            port,
            option,
            source,
        }),
        Err(_) => bound(0).map_err(|source| StageError::Taken {
            port,
            option,
            source,
        }),
    }
}

/// An address nobody listens on now. Keepgate binds it a moment later; should someone else be
/// faster, it says so.
fn bound(port: u16) -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(directory: &Path) -> Options {
        Options {
            directory: directory.to_owned(),
            port: None,
            admin_port: None,
            stay: false,
            yes: true,
            keepgate: None,
        }
    }

    #[test]
    fn empties_its_own_directory_and_no_other() {
        let place = std::env::temp_dir().join(format!("keepgate-demo-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("thesis.txt"), "years of work").unwrap();
        let refused = Stage::set(
            &options(&place),
            "http://127.0.0.1:1/mcp",
            "t",
            Path::new("/x"),
        );
        assert!(matches!(refused, Err(StageError::Foreign { .. })));
        assert!(place.join("thesis.txt").exists());

        let own = place.join("state");
        for _ in 0..2 {
            let stage = Stage::set(
                &options(&own),
                "http://127.0.0.1:1/mcp",
                "t",
                Path::new("/x y"),
            );
            let text = fs::read_to_string(stage.unwrap().config()).unwrap();
            assert!(text.contains("command: [\"/x y\", notes]"), "{text}");
            fs::write(own.join("left-over"), "").unwrap();
        }
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_port_that_was_asked_for_must_be_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(matches!(
            free(Some(port), DATA_PORT, "--port"),
            Err(StageError::Taken { .. })
        ));
        assert_ne!(free(None, port, "--port").unwrap().port(), port);
    }
}
