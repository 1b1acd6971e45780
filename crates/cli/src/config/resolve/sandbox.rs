//! Rules of child processes, which their launcher carries out.
//!
//! The hidden paths are not a list that somebody keeps: every path and every `file:` reference the configuration
//! names is noted as it is read. What servers are given (`directory`, `sandbox`) is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keepgate_call::ServerName;
use keepgate_credential::{Place, Reference};
use keepgate_gateway::settings::{Launch, Server, Upstream};
use keepgate_sandbox::{Account, Feature, Files, Rules};

use super::Resolver;
use crate::config::PROGRAM;
use crate::config::decode::At;
use crate::config::raw::sandbox::Sandbox;

/// Directories of container engines and systemd for secrets: none of them is a child's, unless it is on its list.
const STORES: [&str; 3] = ["/run/secrets", "/run/credentials", "/var/run/secrets"];

/// Paths the gateway stands on.
#[derive(Debug, Default)]
pub(super) struct Owned {
    hidden: Vec<PathBuf>,
    /// Certificates to trust: others may need the same files.
    read_only: Vec<PathBuf>,
}

impl Owned {
    /// Notes a path the configuration names at `key`.
    pub(super) fn note(&mut self, key: &str, path: &Path) {
        let set = if key.ends_with(".ca") {
            &mut self.read_only
        } else {
            &mut self.hidden
        };
        if !set.iter().any(|known| known == path) {
            set.push(path.to_owned());
        }
    }

    /// Notes where a secret is.
    pub(super) fn note_reference(&mut self, reference: &Reference) {
        let Place::File(path) = reference.place() else {
            return;
        };
        // A volume of Kubernetes: its files change by another directory taking the place of the one behind `..data`.
        let volume = path
            .parent()
            .filter(|parent| parent.join("..data").exists());
        self.note("", volume.unwrap_or(path));
    }

    /// The hidden path that `path` is, or lies below of.
    fn covers(&self, path: &Path) -> Option<&PathBuf> {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.hidden
            .iter()
            .find(|hidden| path.starts_with(hidden) || real.starts_with(hidden))
    }
}

/// Offer of the machine, and how strict this configuration is with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub(super) abi: u8,
    /// Whether callers are people of this machine alone: then a kernel without Landlock is a warning.
    pub(super) anonymous: bool,
}

impl Resolver<'_> {
    /// Launch of one child process. The hidden paths come later, when all are known.
    pub(super) fn launch(
        &mut self,
        command: &At<Vec<super::super::decode::Text>>,
        sandbox: Option<&At<Sandbox>>,
        user: Option<&At<String>>,
    ) -> Launch {
        let abi = self.kernel.abi;
        let mut rules = Rules {
            abi,
            ..Rules::default()
        };
        match sandbox.map(|sandbox| (&sandbox.value, sandbox)) {
            Some((Sandbox::Off, _)) => rules.abi = 0,
            Some((
                Sandbox::List {
                    read,
                    write,
                    network,
                },
                at,
            )) => {
                if abi == 0 {
                    let message = "this kernel has no Landlock, so the list cannot be kept";
                    self.faults.push(at.fault(message).hint(WITHOUT));
                }
                if read.is_some() || write.is_some() {
                    rules.files = Files::Listed {
                        read: self.listed(read.as_deref()),
                        write: self.listed(write.as_deref()),
                    };
                }
                if let Some(network) = network {
                    self.can_restrict_network(network);
                    rules.network = Some(network.value.iter().map(|port| port.0).collect());
                }
            }
            None if abi == 0 && self.kernel.anonymous => self.warnings.push(format!(
                "{}: this kernel has no Landlock, the process can read every file of the gateway",
                command.path
            )),
            None if abi == 0 => {
                let message = "this kernel has no Landlock: the process could read the admin token and every key";
                self.faults.push(command.fault(message).hint(WITHOUT));
            }
            None => {}
        }
        let variables = user.and_then(|user| self.account(user));
        rules.user = user.map(|user| user.value.clone());
        Launch {
            launcher: PROGRAM.into(),
            rules: Arc::new(rules),
            variables: variables.unwrap_or_default(),
        }
    }

    fn can_restrict_network<T>(&mut self, network: &At<T>) {
        let lowest = Feature::ALL
            .into_iter()
            .find(|(feature, ..)| *feature == Feature::Network);
        if let Some((_, version, kernel)) = lowest
            && self.kernel.abi < version
        {
            let message = format!(
                "this kernel cannot restrict the network: that takes Linux {kernel} (Landlock {version}), it has Landlock {}",
                self.kernel.abi
            );
            let hint = "take the key out, and restrict the network around the gateway: IPAddressAllow= of its unit, a NetworkPolicy";
            self.faults.push(network.fault(message).hint(hint));
        }
    }

    fn account(&mut self, user: &At<String>) -> Option<Vec<(String, std::ffi::OsString)>> {
        match Account::find(&user.value) {
            Ok(account) => Some(account.variables()),
            Err(error) => {
                let report = crate::failure::chain(&error);
                let hint = "name a user of this machine, and start the gateway as root for it, or leave the key out";
                self.faults.push(user.fault(report).hint(hint));
                None
            }
        }
    }

    /// Paths of a list, which are a server's and not the gateway's.
    fn listed(&mut self, written: Option<&[At<String>]>) -> Vec<PathBuf> {
        let written = written.unwrap_or_default();
        let paths = written.iter().map(|text| {
            let path = self.place(text);
            self.granted.push((text.clone(), path.clone()));
            path
        });
        paths.collect()
    }

    /// Hides from every child process what the gateway stands on; returns those paths.
    pub(super) fn confine(
        &mut self,
        servers: &mut BTreeMap<ServerName, Server>,
        also: &[&Path],
    ) -> Vec<PathBuf> {
        let mut owned = self.owned.take();
        for path in also {
            owned.note("", path);
        }
        for (text, path) in &self.granted {
            if let Some(hidden) = owned.covers(path) {
                let message = format!("`{}` is the gateway's own", hidden.display());
                let hint =
                    "no child process is let in there: give the server a directory of its own";
                self.faults.push(text.fault(message).hint(hint));
            }
        }
        for store in STORES {
            owned.note("", Path::new(store));
        }
        if let Some(systemd) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            owned.note("", Path::new(&systemd));
        }
        for server in servers.values_mut() {
            if let Upstream::Child {
                launch: Some(launch),
                ..
            } = &mut server.upstream
            {
                let rules = Arc::make_mut(&mut launch.rules);
                rules.hidden.clone_from(&owned.hidden);
                rules.read_only.clone_from(&owned.read_only);
            }
        }
        owned.hidden
    }
}

/// Advice for a kernel without Landlock.
const WITHOUT: &str = "use a kernel with Landlock (5.13, and `landlock` among the `lsm=` it starts with), run the server elsewhere and name its `url`, or accept it: `sandbox: off`";
