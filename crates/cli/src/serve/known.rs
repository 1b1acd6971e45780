//! Whether the gateway knows what a kill names, for a warning: a kill of a name that was mistyped looks like any other.

use std::collections::BTreeSet;
use std::sync::Arc;

use keepgate_admin::Known;
use keepgate_call::Caller;
use keepgate_store::kill::{CLIENT, GRANT, KEY, Kill, Scope};

use super::source::View;
use crate::known::among;

/// Names by which a kill may mean a caller.
fn of_caller(caller: &Caller) -> impl Iterator<Item = String> {
    let client = caller.client.as_ref();
    [
        Some(caller.subject.to_string()),
        client.map(|client| format!("{CLIENT}{client}")),
    ]
    .into_iter()
    .flatten()
}

impl View {
    /// Whether a server, tool, caller, session or credential of that name is known now.
    pub(super) fn known(&self, scope: &Scope) -> Known {
        let names: BTreeSet<String> = match scope {
            Scope::Everything | Scope::Tenant(_) => return Known::Yes,
            Scope::Server(_) => self.server_names().collect(),
            Scope::Tool { server, .. } => {
                if let Known::No { nearest } = self.known(&Scope::Server(server.clone())) {
                    return Known::NoServer { nearest };
                }
                let (catalogs, sessions) = (&self.shared.catalogs, &self.shared.sessions);
                let Some(tools) = catalogs.names(server, &sessions.all()) else {
                    return Known::Unread;
                };
                let tools = tools.into_iter();
                tools.map(|tool| format!("{server}/{tool}")).collect()
            }
            Scope::Caller(_) => {
                let (sessions, keys) = (
                    self.shared.sessions.all(),
                    self.shared.authn.current().callers(),
                );
                let callers = sessions.iter().map(|session| &session.caller);
                callers
                    .chain(&keys)
                    .flat_map(|caller| of_caller(caller))
                    .collect()
            }
            Scope::Session(_) => {
                let named = |session: &Arc<keepgate_gateway::session::Session>| {
                    let grant = session.caller.grant.as_ref();
                    let grant = grant.map(|grant| format!("{GRANT}{grant}"));
                    [Some(session.public.to_string()), grant]
                        .into_iter()
                        .flatten()
                };
                self.shared.sessions.all().iter().flat_map(named).collect()
            }
            Scope::Credential(_) => {
                let keys = self.shared.authn.current().callers();
                let keys = keys.iter().filter_map(|caller| caller.key_id.as_ref());
                let keys = keys.map(|id| format!("{KEY}{id}"));
                self.credential_names().chain(keys).collect()
            }
        };
        scope
            .target()
            .map_or(Known::Yes, |target| among(&target, &names))
    }

    /// The active kills of a server or credential that the configuration does not have, so that they cut nothing: it may have
    /// been renamed.
    pub(super) fn stray(&self) -> Vec<Arc<Kill>> {
        let mut kills = self.ledger.switch().in_force();
        if kills.is_empty() {
            return kills;
        }
        let servers: BTreeSet<String> = self.server_names().collect();
        let credentials: BTreeSet<String> = self.credential_names().collect();
        kills.retain(|kill| match &kill.scope {
            Scope::Server(server) | Scope::Tool { server, .. } => {
                !servers.contains(server.as_str())
            }
            Scope::Credential(reference) => {
                !reference.starts_with(KEY) && !credentials.contains(&**reference)
            }
            Scope::Everything | Scope::Tenant(_) | Scope::Caller(_) | Scope::Session(_) => false,
        });
        kills
    }
}
