//! Least privilege: no rule for everything, nothing shared, environments apart.

use std::collections::{BTreeMap, BTreeSet};

use keepgate_authn::KeyStatus;
use keepgate_policy::probe::Witness;

use super::state;
use super::{DAY, Finding, Ground, Group, Item, first, names};

/// How long a key of a caller may last, in days.
const KEY_DAYS: u32 = 90;

pub(super) const GROUP: Group = Group {
    title: "Least privilege",
    items: &[
        Item {
            id: "no_allow_all",
            title: "no rule allows whatever a server has",
            look: no_allow_all,
        },
        Item {
            id: "credential_per_server",
            title: "every server has a credential of its own",
            look: credential_per_server,
        },
        Item {
            id: "environments_apart",
            title: "environments are kept apart",
            look: environments_apart,
        },
        Item {
            id: "keys_expire",
            title: "API keys end and are bound to servers",
            look: keys_expire,
        },
    ],
};

/// `server/tool`, as people read it.
pub(super) fn shown(witnesses: &[Witness]) -> Vec<String> {
    let shown = |witness: &Witness| format!("{}/{}", witness.server, witness.tool);
    witnesses.iter().map(shown).collect()
}

fn no_allow_all(ground: &Ground<'_>) -> Finding {
    let Some(found) = ground.probed.anything.first() else {
        return Finding::done(format!(
            "a tool that no rule names is refused at every server; rules that look at arguments were not tried ({} calls were)",
            ground.probed.calls
        ));
    };
    let servers: Vec<String> = ground
        .probed
        .anything
        .iter()
        .map(|witness| witness.server.clone())
        .collect();
    let whom = if found.with_roles {
        "a caller with the right role"
    } else {
        "any caller"
    };
    Finding::missing(
        format!(
            "{whom} may use tools no rule names at {} (rule: `{}`)",
            names(&servers),
            found.reason
        ),
        format!(
            "in a policy, name the tools: allow contains \"..\" if {{ input.server.name == \"{}\"; input.tool.name in {{\"get_case\", \"search_cases\"}} }}",
            found.server
        ),
    )
}

fn credential_per_server(ground: &Ground<'_>) -> Finding {
    let mut users: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, server) in ground.servers() {
        // One may be given to a server in two places.
        let references = server.credentials.iter();
        let references: BTreeSet<&str> = references.map(|it| it.reference.as_str()).collect();
        for reference in references {
            users.entry(reference).or_default().push(name.to_string());
        }
    }
    match users.iter().find(|(_, servers)| servers.len() > 1) {
        Some((reference, servers)) => Finding::missing(
            format!(
                "{} are given the same secret, `{reference}`",
                names(servers)
            ),
            format!(
                "servers: {{ {}: {{ credential: {{ ref: \"<a reference of its own>\" }} }} }}",
                first(servers)
            ),
        ),
        None if users.is_empty() => Finding::not_knowable(
            "no server is given a credential; whether one needs none, or keeps one itself, is not written here",
            "servers: { <name>: { credential: { ref: \"vault:secret/mcp/<name>#token\", as: bearer } } }",
        ),
        None => Finding::done(format!("no reference is used twice, of {}", users.len())),
    }
}

fn environments_apart(ground: &Ground<'_>) -> Finding {
    let mut environments: BTreeSet<&str> = BTreeSet::new();
    for (_, server) in ground.servers() {
        environments.extend(server.environment.as_deref());
    }
    let unnamed = ground.named(|server| server.environment.is_none());
    if !unnamed.is_empty() {
        return Finding::not_knowable(
            format!(
                "{} say not to which environment they belong",
                names(&unnamed)
            ),
            format!(
                "servers: {{ {}: {{ environment: production }} }}",
                first(&unnamed)
            ),
        );
    }
    let one = environments.first().copied().unwrap_or_default();
    if environments.len() <= 1 {
        return Finding::done(format!("all servers belong to `{one}`"));
    }
    let all: Vec<String> = environments.iter().map(ToString::to_string).collect();
    Finding::missing(
        format!(
            "{} stand behind one gateway: one login to the vault, one state and one set of policies reach them all",
            names(&all)
        ),
        "run one gateway for each environment, with its own configuration, state.dir and vault role",
    )
}

fn keys_expire(ground: &Ground<'_>) -> Finding {
    if !state::uses_keys(ground.configuration) {
        return Finding::done("no API keys are accepted");
    }
    let keys = match state::keys(&ground.configuration.state) {
        Ok(keys) => keys,
        Err(why) => return state::unreadable(&why),
    };
    let active: Vec<_> = keys
        .into_iter()
        .filter(|key| key.status(ground.now) == KeyStatus::Active)
        .collect();
    if active.is_empty() {
        return Finding::done("there is none");
    }
    let longest = ground.now + DAY * KEY_DAYS;
    let lasting: Vec<String> = active
        .iter()
        .filter(|key| key.expires.is_none_or(|expires| expires > longest))
        .map(|key| key.id.clone())
        .collect();
    let roaming: Vec<String> = active
        .iter()
        .filter(|key| key.servers.is_none())
        .map(|key| key.id.clone())
        .collect();
    let mend = |id: &str| {
        format!(
            "keepgate keys create --subject <agent> --role <role> --server <server> --expires {KEY_DAYS}d\nkeepgate keys revoke {id}"
        )
    };
    if !lasting.is_empty() {
        let why = format!(
            "keys that last longer than {KEY_DAYS} days: {}",
            names(&lasting)
        );
        return Finding::missing(why, mend(first(&lasting)));
    }
    if !roaming.is_empty() {
        let why = format!("keys that reach every server: {}", names(&roaming));
        return Finding::missing(why, mend(first(&roaming)));
    }
    Finding::done(format!(
        "{} active, each ends within {KEY_DAYS} days and names its servers",
        active.len()
    ))
}
