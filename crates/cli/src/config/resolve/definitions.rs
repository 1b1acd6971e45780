//! Definitions meet the servers they are of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keepgate_call::ServerName;
use keepgate_credential::{Engine, Place, Terms};
use keepgate_gateway::settings::{Server, Upstream};

use super::Resolver;
use crate::config::decode::At;
use crate::config::definition::{Credential, Definition, File};
use crate::config::nearest::nearest;

/// The field of a vault's answer that holds the secret, unless the definition says otherwise.
const FIELD: &str = "token";
/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Resolver<'_> {
    /// Gives each definition to its server. What is wrong goes to the file it stands in.
    pub(super) fn definitions(
        &mut self,
        files: &mut [File],
        servers: &mut BTreeMap<ServerName, Server>,
        credentials: &keepgate_credential::Settings,
    ) {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for file in files {
            let Some(definition) = file.definition.take() else {
                continue;
            };
            let mut within = Resolver {
                directory: self.directory,
                faults: &mut file.faults,
                warnings: Vec::new(),
                plaintext: Vec::new(),
                urls: BTreeMap::new(),
                kernel: self.kernel,
                owned: RefCell::new(self.owned.take()),
                granted: Vec::new(),
                egress: self.egress.clone(),
                proxies: Arc::clone(&self.proxies),
            };
            within.definition(&definition, servers, credentials, &seen);
            self.warnings.append(&mut within.warnings);
            self.owned = within.owned;
            if let Some(name) = &definition.name {
                let path = file.path.display().to_string();
                seen.entry(name.value.clone()).or_insert(path);
            }
        }
        // Of definitions as well.
        self.plaintext(servers);
    }

    fn definition(
        &mut self,
        definition: &Definition,
        servers: &mut BTreeMap<ServerName, Server>,
        credentials: &keepgate_credential::Settings,
        seen: &BTreeMap<String, String>,
    ) {
        let Some(name) = &definition.name else { return };
        if let Some(other) = seen.get(&name.value) {
            self.faults
                .push(name.fault(format!("the server has a definition already, in `{other}`")));
            return;
        }
        let parsed = ServerName::parse(&name.value);
        let Some(server) = parsed.as_ref().and_then(|name| servers.get_mut(name)) else {
            let known = servers.keys().map(ServerName::as_str);
            let hint = match nearest(&name.value, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "a definition is of a server in `servers`, by its name".to_owned(),
            };
            self.faults
                .push(name.fault("no server of this name").hint(hint));
            return;
        };
        if let Some(credential) = &definition.credential {
            self.armed(credential, name, server, credentials);
        }
        self.unkept(definition, &name.value);
        match serde_json::to_string(definition) {
            Ok(json) => server.definition = Some(json.into()),
            Err(error) => self.faults.push(name.fault(error.to_string())),
        }
    }

    /// The definition's credential is the server's.
    fn armed(
        &mut self,
        written: &Credential,
        name: &At<String>,
        server: &mut Server,
        credentials: &keepgate_credential::Settings,
    ) {
        let Some(path) = &written.vault_path else {
            return;
        };
        if !server.credentials.is_empty() {
            let message = format!("`servers.{}` has a credential already", name.value);
            self.faults
                .push(path.fault(message).hint("keep one of the two"));
            return;
        }
        let field = written.field.as_deref().unwrap_or(FIELD);
        let mut attached = written.attached.clone();
        attached.reference = Some(At {
            value: format!("vault:{}#{field}", path.value),
            origin: path.origin.clone(),
            path: path.path.clone(),
        });
        let child = matches!(server.upstream, Upstream::Child { .. });
        let Some(mut wanted) = self.credential(&attached, child, credentials) else {
            return;
        };
        wanted.terms = Terms {
            leased: written.dynamic_secret,
            rotation: written
                .rotation_days
                .and_then(|days| DAY.checked_mul(u32::try_from(days).ok()?)),
        };
        let vault = credentials.vault.as_ref();
        let engine = match wanted.reference.place() {
            Place::Vault { path, .. } => vault.and_then(|vault| vault.mount_of(path)),
            Place::File(_) | Place::Systemd(_) | Place::Environment(_) => None,
        };
        if wanted.terms.leased && !matches!(engine, Some((_, Engine::Leased, _))) {
            self.warnings.push(format!(
                "the definition of `{}` wants a dynamic secret and `{}` lies in an engine that issues none: its calls will be refused",
                name.value, path.value
            ));
        }
        self.alone(path, &wanted, &[], &server.upstream, credentials);
        server.credentials.push(wanted);
    }

    /// Says what of a definition this version cannot keep.
    fn unkept(&mut self, definition: &Definition, name: &str) {
        let audit = &definition.audit;
        if let Some(sink) = &audit.siem_forward {
            self.warnings.push(format!(
                "the definition of `{name}` asks for records to go to `{sink}`: this version sends none, let an agent ship the audit log"
            ));
        }
        if let Some(days) = audit.retention_days {
            self.warnings.push(format!(
                "the definition of `{name}` asks for records to be kept {days} days: they are, for nothing is ever deleted; the disk fills"
            ));
        }
        if !audit.log_all_calls {
            self.warnings.push(format!(
                "the definition of `{name}` does not ask for all calls to be recorded: they are all the same"
            ));
        }
    }
}
