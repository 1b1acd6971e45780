//! Reload of the configuration: everything that can fail is tried first, then all of it is applied, or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use keepgate_audit::{Kind, Reason, Record};
use keepgate_authn::Authenticator;
use keepgate_net::Certificate;
use keepgate_policy::{Kept, Sources};
use keepgate_transport::http::tls::Tls;

use super::Reloader;
use super::changes::{Merged, merge};
use super::files::{CREDENTIALS, Contents, ISSUERS};
use crate::config::{self, AuthMode, Configuration};
use crate::failure::{Failure, chain};
use crate::serve::open::{authenticator, files};
use crate::serve::source::Reloaded;

/// Result of a reload: the part of the configuration for which nothing of it was applied.
type Applied = Result<(), &'static str>;

/// Parts that were read for a new configuration and are not in use yet.
struct Prepared {
    authn: Option<Arc<Authenticator>>,
    certificate: Option<Certificate>,
    admin_certificate: Option<Certificate>,
}

impl Reloader {
    /// The configuration: from a file that is right, nothing from one that is not.
    pub(super) async fn reload_configuration(&mut self) {
        let (path, variables) = (self.path.clone(), self.variables.clone());
        // In a task of its own, so that reading cannot hold up the listeners, and so that a bug in reading is a bad file
        // and no more.
        let loaded = tokio::task::spawn_blocking(move || config::load(&path, variables)).await;
        let taken = match loaded {
            Ok(Ok(configuration)) => self.merge(configuration).await,
            Ok(Err(error)) => rejected("configuration", &error),
            Err(error) => rejected("configuration", &error),
        };
        if let Err(part) = taken {
            let reason = Reason {
                code: "part",
                message: part,
            };
            let record = Record {
                reasons: &[reason],
                ..Record::new(Kind::ConfigRejected, SystemTime::now())
            };
            self.append(&record).await;
        }
        self.view.set_fresh(Reloaded::Configuration, taken.is_ok());
    }

    /// Applies a configuration as far as that can be done without a restart, and reports the rest.
    async fn merge(&mut self, configuration: Configuration) -> Applied {
        let Merged {
            configuration,
            mut restart,
            conflict,
        } = merge(&self.configuration, configuration);
        let contents = Contents::read(&configuration);
        self.rejected = files_of(&configuration, &contents);
        let changed = self.contents.changed(&contents);
        let is_vault_new =
            self.configuration.gateway.credentials != configuration.gateway.credentials;
        for key in changed.iter().copied().filter(|key| *key != ISSUERS) {
            let is_applied = key == CREDENTIALS && is_vault_new;
            if !is_applied && !restart.contains(&key) {
                restart.push(key);
            }
        }
        let keys = restart.join(", ");
        let taken = match conflict {
            Some(why) => rejected("restart_required", &why),
            None => self.apply(configuration, changed.contains(&ISSUERS)).await,
        };
        if taken.is_ok() {
            self.rejected.clear();
            self.contents.apply(contents, is_vault_new);
            self.record_configuration(&restart).await;
        }
        // Where nothing was applied for another reason, what is reported stays as it was.
        if taken.is_ok() || conflict.is_some() {
            self.view.set_restart(restart);
            if !keys.is_empty() {
                tracing::warn!(
                    keys,
                    "restart required: these keys have changed and are not active until the next start"
                );
            }
        }
        taken
    }

    async fn apply(&mut self, configuration: Configuration, has_issuer_files: bool) -> Applied {
        let prepared = match self.prepare(&configuration, has_issuer_files) {
            Ok(prepared) => prepared,
            Err((part, error)) => return rejected(part, &error.report()),
        };
        let before = self.shared.policy.keep();
        let sources = self.bundles.join(configuration.sources());
        let used = &self.configuration;
        let has_policies =
            used.policies != configuration.policies || used.tenants != configuration.tenants;
        // Also when those the last reload met under the same paths cannot be used: a start would fail.
        let was_fresh = self.view.is_fresh(Reloaded::Policy);
        let has_sources = has_policies
            || !was_fresh
            || used.gateway.definitions() != configuration.gateway.definitions();
        // First what is allowed, then who is reached: a server that is new is never without its definition.
        if has_sources {
            self.reload_sources(sources, has_policies).await?;
        }
        let Prepared {
            authn,
            certificate,
            admin_certificate,
        } = prepared;
        let is_authn = authn.is_some();
        let built = {
            let _within = self.data.enter();
            self.gateway.rebuild(&configuration.gateway, authn.as_ref())
        };
        if let Err(error) = built {
            if has_sources {
                self.restore_sources(before, was_fresh).await;
            }
            return rejected("servers", &chain(&error));
        }
        self.show(self.tls.as_ref(), certificate, Reloaded::Certificate);
        let admin_tls = self.admin_tls.as_ref();
        self.show(admin_tls, admin_certificate, Reloaded::AdminCertificate);
        if is_authn {
            self.view.set_fresh(Reloaded::Keys, true);
            announce(&configuration);
        }
        if configuration.log != self.configuration.log {
            (self.set_log)(&configuration.log);
        }
        for warning in &configuration.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(approvals) = &self.shared.approvals {
            approvals.configure(configuration.approvals.clone());
        }
        self.view.set_servers(&configuration.gateway);
        self.view.set_plaintext(!configuration.plaintext.is_empty());
        self.configuration = configuration;
        tracing::info!(
            servers = self.configuration.gateway.servers.len(),
            "configuration reloaded"
        );
        Ok(())
    }

    /// Lets a listener show the certificate of other files, if there are.
    fn show(&self, tls: Option<&Tls>, certificate: Option<Certificate>, part: Reloaded) {
        if let (Some(tls), Some(certificate)) = (tls, certificate) {
            tls.show(certificate);
            self.view.set_fresh(part, true);
            tracing::info!("certificate reloaded");
        }
    }

    /// Puts back the policies that were active, as they were: their files may be others by now.
    async fn restore_sources(&self, before: Kept, was_fresh: bool) {
        let generation = self.shared.policy.restore(before);
        if generation.changed {
            self.shared.changes.all();
            self.record(Kind::PolicyActivated).await;
        }
        self.view.set_fresh(Reloaded::Policy, was_fresh);
        tracing::info!(revision = %generation.revision, "the policies before are active again");
    }

    /// Reads what a new configuration names, without using it. The error has the part that cannot be used.
    fn prepare(
        &self,
        configuration: &Configuration,
        has_issuer_files: bool,
    ) -> Result<Prepared, (&'static str, Failure)> {
        let used = &self.configuration;
        let is_authn = has_issuer_files
            || (used.auth, &used.oauth) != (configuration.auth, &configuration.oauth);
        let current = self.shared.authn.current();
        let authn = is_authn.then(|| authenticator(configuration, Some((used, &current))));
        let authn = authn.transpose().map_err(|failure| ("auth", failure))?;
        Ok(Prepared {
            authn: authn.map(Arc::new),
            certificate: replaced("tls", used.tls.as_ref(), configuration.tls.as_ref())?,
            admin_certificate: replaced(
                "admin.tls",
                used.admin.tls.as_ref(),
                configuration.admin.tls.as_ref(),
            )?,
        })
    }

    /// Loads the policies and definitions from these places, which stay those they are reloaded from. `has_policies` is whether
    /// there are other policies, and not definitions alone.
    async fn reload_sources(&self, sources: Sources, has_policies: bool) -> Applied {
        let policy = Arc::clone(&self.shared.policy);
        let loaded = tokio::task::spawn_blocking(move || policy.reload_from(sources)).await;
        match loaded {
            Ok(Ok(generation)) => {
                if generation.changed {
                    self.record(Kind::PolicyActivated).await;
                }
                self.view.set_fresh(Reloaded::Policy, true);
                let what = if has_policies {
                    "policies"
                } else {
                    "definitions"
                };
                tracing::info!(
                    revision = %generation.revision,
                    files = generation.files,
                    "{what} reloaded"
                );
                Ok(())
            }
            Ok(Err(errors)) => rejected("policies", &format!("\n{errors}")),
            Err(error) => rejected("policies", &error),
        }
    }
}

/// The certificate of other files than those in use. Those under the same paths have to be usable too; they are shown by a
/// reload of their own.
fn replaced(
    key: &'static str,
    used: Option<&config::Tls>,
    new: Option<&config::Tls>,
) -> Result<Option<Certificate>, (&'static str, Failure)> {
    let read = new.map(|tls| Certificate::read(files(tls))).transpose();
    let read = read.map_err(|error| (key, Failure::caused(crate::exit::Exit::Start, &error)))?;
    Ok(read.filter(|_| used != new))
}

/// The files a configuration names that can be the reason for its rejection.
fn files_of(configuration: &Configuration, contents: &Contents) -> Vec<PathBuf> {
    let tls = configuration.own_tls();
    let tls = tls.flat_map(|tls| [tls.certificate.clone(), tls.key.clone()]);
    let named = contents.paths().map(Path::to_path_buf);
    let mut files = configuration.policy_directories();
    files.extend(tls.chain(named));
    files
}

/// Reports a configuration that changes nothing.
fn rejected(part: &'static str, why: &dyn std::fmt::Display) -> Applied {
    tracing::error!(
        part,
        "configuration not taken, the last good one stays active: {why}"
    );
    Err(part)
}

/// Reports who is let in from now on.
fn announce(configuration: &Configuration) {
    tracing::info!(
        mode = configuration.auth.as_str(),
        "authentication reloaded"
    );
    if configuration.auth == AuthMode::Anonymous {
        tracing::warn!(
            "auth.mode is anonymous: everybody on this machine can call, as far as policies let anonymous callers"
        );
    }
}
