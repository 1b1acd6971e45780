//! Whether anybody knows what a kill names, for a warning: a kill of a name that was mistyped looks like any other. The running
//! gateway knows more than this; what the configuration and the key file have is known without one, too.

use std::collections::BTreeSet;
use std::path::Path;

use keepgate_admin::Known;
use keepgate_authn::ApiKeys;
use keepgate_store::kill::{CLIENT, KEY, Scope};

use crate::config::{AuthMode, Configuration, nearest};

/// Names that are compared at most: the nearest of more is not worth an operator's time.
const MAX_COMPARED: usize = 10_000;

/// Looks a target up among names.
pub(crate) fn among(target: &str, names: &BTreeSet<String>) -> Known {
    if names.contains(target) {
        return Known::Yes;
    }
    let limit = (target.len() / 3).max(1);
    let names = names.iter().map(String::as_str);
    let alike = names.filter(|name| name.len().abs_diff(target.len()) <= limit);
    let nearest = nearest(target, alike.take(MAX_COMPARED));
    Known::No {
        nearest: nearest.map(str::to_owned),
    }
}

/// Whether the configuration and the key file know a target; `Yes` where neither could.
pub(crate) fn without_gateway(scope: &Scope, configuration: &Configuration) -> Known {
    let servers = configuration.gateway.servers.keys();
    let servers: BTreeSet<String> = servers.map(ToString::to_string).collect();
    let names = match scope {
        // Sessions are known to a running gateway alone.
        Scope::Everything | Scope::Tenant(_) | Scope::Session(_) => return Known::Yes,
        Scope::Server(_) => servers,
        Scope::Tool { server, .. } => {
            return match among(server.as_str(), &servers) {
                Known::No { nearest } => Known::NoServer { nearest },
                Known::Yes | Known::NoServer { .. } | Known::Unread => Known::Unread,
            };
        }
        Scope::Caller(name) => {
            // Callers with tokens are known to their issuers.
            if configuration.auth != AuthMode::Keys || name.starts_with(CLIENT) {
                return Known::Yes;
            }
            let keys = keys(&configuration.state).into_iter();
            keys.map(|(_, subject)| subject).collect()
        }
        Scope::Credential(_) => {
            let references = configuration.gateway.references();
            let references = references.values().flat_map(|them| them.iter());
            let references = references.map(ToString::to_string);
            let keys = keys(&configuration.state).into_iter();
            references
                .chain(keys.map(|(id, _)| format!("{KEY}{id}")))
                .collect()
        }
    };
    scope
        .target()
        .map_or(Known::Yes, |target| among(&target, &names))
}

/// Id and subject of each API key. A file that cannot be read has none: the kill does not depend on it.
fn keys(state: &Path) -> Vec<(String, String)> {
    // Opening makes files that are not there.
    let is_there = [ApiKeys::FILE, ApiKeys::SECRET_FILE].map(|file| state.join(file).exists());
    if is_there != [true, true] {
        return Vec::new();
    }
    let keys = ApiKeys::open(state).and_then(|keys| keys.list());
    let keys = keys.unwrap_or_default().into_iter();
    keys.map(|key| (key.id, key.subject)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let names = || ["crm", "crm-eu", "billing"].map(str::to_owned).into();
        for (target, expected) in [
            ("crm", Known::Yes),
            (
                "CRM_EU",
                Known::No {
                    nearest: Some("crm-eu".to_owned()),
                },
            ),
            (
                "biling",
                Known::No {
                    nearest: Some("billing".to_owned()),
                },
            ),
            ("warehouse", Known::No { nearest: None }),
        ] {
            assert_eq!(among(target, &names()), expected, "{target}");
        }
    }
}
