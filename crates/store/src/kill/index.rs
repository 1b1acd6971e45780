//! The kills in force, arranged so that a call finds its own without looking through the rest.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    Facts, Kill, Scope,
    scope::{CLIENT, GRANT, KEY},
};

type Found = Vec<Arc<Kill>>;
type ByName = HashMap<Box<str>, Found>;

/// The kills in force at one moment. Never changed, only replaced.
#[derive(Debug, Default)]
pub(super) struct Index {
    count: usize,
    everything: Found,
    tenants: ByName,
    servers: ByName,
    /// By server, then by tool.
    tools: HashMap<Box<str>, ByName>,
    callers: ByName,
    clients: ByName,
    sessions: ByName,
    grants: ByName,
    credentials: ByName,
    keys: ByName,
}

impl Index {
    /// An index of `kills`.
    pub(super) fn new<'a>(kills: impl Iterator<Item = &'a Arc<Kill>>) -> Self {
        let mut index = Self::default();
        for kill in kills {
            index.count += 1;
            let place = match &kill.scope {
                Scope::Everything => &mut index.everything,
                Scope::Tenant(tenant) => index.tenants.entry(tenant.as_str().into()).or_default(),
                Scope::Server(server) => index.servers.entry(server.as_str().into()).or_default(),
                Scope::Tool { server, tool } => index
                    .tools
                    .entry(server.as_str().into())
                    .or_default()
                    .entry(tool.clone())
                    .or_default(),
                Scope::Caller(name) => {
                    also(&mut index.clients, name, CLIENT, kill);
                    index.callers.entry(name.clone()).or_default()
                }
                Scope::Session(id) => {
                    also(&mut index.grants, id, GRANT, kill);
                    index.sessions.entry(id.clone()).or_default()
                }
                Scope::Credential(reference) => {
                    also(&mut index.keys, reference, KEY, kill);
                    index.credentials.entry(reference.clone()).or_default()
                }
            };
            place.push(Arc::clone(kill));
        }
        index
    }

    /// Whether nothing at all is cut off.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The widest kill that covers what `facts` say.
    pub(super) fn find(&self, facts: &Facts<'_>, now: Instant) -> Option<&Arc<Kill>> {
        let tool = || self.tools.get(facts.server)?.get(facts.tool.as_deref()?);
        let given = facts.credentials.iter();
        let given = given.map(|reference| self.credentials.get(&**reference));
        let found = [
            Some(&self.everything),
            self.tenants.get(facts.tenant),
            self.servers.get(facts.server),
            tool(),
            self.callers.get(facts.caller),
            named(&self.clients, facts.client),
            named(&self.sessions, facts.session),
            named(&self.grants, facts.grant),
            named(&self.keys, facts.key),
        ];
        found
            .into_iter()
            .chain(given)
            .flatten()
            .flatten()
            .find(|kill| kill.is_in_force(now) && kill.covers(facts))
    }

    /// Whether a kill of this credential is active, for whichever tenant.
    pub(super) fn withholds(&self, reference: &str, now: Instant) -> bool {
        let mut kills = self.credentials.get(reference).into_iter().flatten();
        kills.any(|kill| kill.is_in_force(now))
    }

    /// The kill of exactly this tool, if one is in force: what lists leave out.
    pub(super) fn hides(&self, server: &str, tool: &str, tenant: &str, now: Instant) -> bool {
        let found = || self.tools.get(server)?.get(tool);
        found().into_iter().flatten().any(|kill| {
            kill.is_in_force(now)
                && kill
                    .tenant
                    .as_ref()
                    .is_none_or(|only| only.as_str() == tenant)
        })
    }
}

/// The kills of a name, if there is one.
fn named<'a>(kills: &'a ByName, name: Option<&str>) -> Option<&'a Found> {
    kills.get(name?)
}

/// Files a kill under what stands behind the prefix of its target, if it has the prefix.
fn also(kills: &mut ByName, target: &str, prefix: &str, kill: &Arc<Kill>) {
    if let Some(id) = target.strip_prefix(prefix) {
        kills.entry(id.into()).or_default().push(Arc::clone(kill));
    }
}
