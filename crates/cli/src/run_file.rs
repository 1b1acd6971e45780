//! `run.json` of the state directory: address and process of the gateway that runs there, so that the kill switch finds it
//! without a configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the file in the state directory.
pub(crate) const FILE: &str = "run.json";

/// The gateway that runs with a state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFile {
    /// Address of the operators' listener.
    pub(crate) admin: SocketAddr,
    /// File of the certificate the listener shows; none where it speaks plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    /// Number of the process.
    pub(crate) pid: u32,
    /// Start of the process in clock ticks since boot: distinguishes it from a later process with the same number.
    started: u64,
}

/// State of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The gateway it names runs.
    Running(RunFile),
    /// The gateway it names has ended without removing it. Whoever listens at its address now must not get a token.
    Stale(RunFile),
    /// No file that can be read.
    Absent,
}

/// Removes the file at an orderly end.
#[derive(Debug)]
pub(crate) struct Announced {
    path: PathBuf,
    own: RunFile,
}

impl RunFile {
    /// Reads the file of `state`.
    pub(crate) fn find(state: &Path) -> Found {
        let bytes = keepgate_files::read(&state.join(FILE)).ok().flatten();
        let Some(read) = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok()) else {
            return Found::Absent;
        };
        if started(read.pid) == Some(read.started) {
            Found::Running(read)
        } else {
            Found::Stale(read)
        }
    }

    /// Address to connect to. A listener on all addresses is reached by the loopback one.
    pub(crate) fn reachable(&self) -> SocketAddr {
        let loopback: IpAddr = match self.admin.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let mut reachable = self.admin;
        if reachable.ip().is_unspecified() {
            reachable.set_ip(loopback);
        }
        reachable
    }

    /// URL of the listener.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.certificate.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.reachable())
    }

    /// Writes the file for this process. One that cannot be written costs convenience, not the gateway: it is logged.
    pub(crate) fn announce(
        state: &Path,
        admin: SocketAddr,
        certificate: Option<&Path>,
    ) -> Option<Announced> {
        let path = state.join(FILE);
        let pid = std::process::id();
        let own = Self {
            admin,
            certificate: certificate.map(Path::to_path_buf),
            pid,
            started: started(pid)?,
        };
        let written = serde_json::to_vec(&own)
            .map_err(|error| error.to_string())
            .and_then(|bytes| {
                keepgate_files::replace(&path, &bytes)
                    .map_err(|error| crate::failure::chain(&error))
            });
        match written {
            Ok(()) => Some(Announced { path, own }),
            Err(error) => {
                tracing::warn!(
                    error,
                    "run.json is not written: `keepgate kill` needs the configuration or --url"
                );
                None
            }
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // Another gateway may have begun here since: its file stays.
        let state = self.path.parent().unwrap_or_else(|| Path::new("."));
        if RunFile::find(state) == Found::Running(self.own.clone()) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Start of a process in clock ticks since boot: the 22nd field of its `stat`, the name in parentheses being the second.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    // A zombie has ended.
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn tells_a_running_gateway_from_one_that_ended() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path();
        assert_eq!(RunFile::find(state), Found::Absent);
        let address: SocketAddr = "0.0.0.0:9080".parse().unwrap();
        let announced = RunFile::announce(state, address, Some(Path::new("/tls.crt"))).unwrap();
        let path = state.join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let Found::Running(own) = RunFile::find(state) else {
            panic!("not running");
        };
        assert_eq!(own.url(), "https://127.0.0.1:9080");
        assert_eq!(own.certificate.as_deref(), Some(Path::new("/tls.crt")));

        // Another program under the same number, and a number nobody has.
        for other in [
            RunFile {
                started: own.started + 1,
                admin: own.admin,
                certificate: own.certificate.clone(),
                pid: own.pid,
            },
            RunFile {
                pid: u32::MAX,
                admin: own.admin,
                certificate: None,
                started: own.started,
            },
        ] {
            keepgate_files::replace(&path, &serde_json::to_vec(&other).unwrap()).unwrap();
            assert_eq!(RunFile::find(state), Found::Stale(other));
        }
        std::fs::write(&path, "{").unwrap();
        assert_eq!(RunFile::find(state), Found::Absent);

        keepgate_files::replace(&path, &serde_json::to_vec(&own).unwrap()).unwrap();
        drop(announced);
        assert!(!path.exists());
    }
}
