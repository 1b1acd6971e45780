//! Vaulted and rotated: no secret in a file of ours, none that lasts for ever, none in a URL.

use keepgate_credential::{Engine, Form, Login, Place, Use};
use keepgate_gateway::settings::Upstream;

use super::{Finding, Ground, Group, Item, first, names};

/// Parts of names of variables that hold secrets as a rule.
const TELLING: [&str; 6] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "API_KEY",
    "CREDENTIAL",
];

pub(super) const GROUP: Group = Group {
    title: "Vaulted and rotated credentials",
    items: &[
        Item {
            id: "vaulted",
            title: "credentials come from a secrets manager",
            look: vaulted,
        },
        Item {
            id: "none_in_the_clear",
            title: "no secret stands in the configuration or in a variable",
            look: none_in_the_clear,
        },
        Item {
            id: "none_in_a_url",
            title: "no secret travels in a URL",
            look: none_in_a_url,
        },
        Item {
            id: "encrypted",
            title: "no secret travels in clear",
            look: encrypted,
        },
        Item {
            id: "rotation",
            title: "credentials rotate",
            look: rotation,
        },
        Item {
            id: "vault_login",
            title: "the gateway's own login to the vault is one of a role",
            look: vault_login,
        },
    ],
};

/// Servers with credentials of some kind.
#[derive(Default)]
struct Credited {
    /// Names, as messages show them: with the references where a server has several credentials.
    shown: Vec<String>,
    /// Name of the first, and whether it has several credentials.
    name: String,
    is_several: bool,
}

impl Credited {
    /// The servers with a credential that `wanted` holds for.
    fn of(ground: &Ground<'_>, wanted: impl Fn(&Use) -> bool) -> Self {
        let mut credited = Self::default();
        for (name, server) in ground.servers() {
            let used = server.credentials.iter().filter(|used| wanted(used));
            let references: Vec<&str> = used.map(|used| used.reference.as_str()).collect();
            let is_several = server.credentials.len() > 1;
            if references.is_empty() {
                continue;
            }
            if credited.is_empty() {
                credited.name = name.to_string();
                credited.is_several = is_several;
            }
            credited.shown.push(match is_several {
                true => format!("{name} ({})", references.join(", ")),
                false => name.to_string(),
            });
        }
        credited
    }

    fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// The entry to write for the first of them, with this of the credential.
    fn fix(&self, credential: &str) -> String {
        let key = match self.is_several {
            true => format!("credentials: [{{ {credential} }}, ..]"),
            false => format!("credential: {{ {credential} }}"),
        };
        format!("servers: {{ {}: {{ {key} }} }}", self.name)
    }

    /// As [`Self::fix`], with a reference to a vault.
    fn vault_fix(&self) -> String {
        self.fix(&format!("ref: \"vault:secret/mcp/{}#token\"", self.name))
    }
}

fn in_vault(credential: &Use) -> bool {
    matches!(credential.reference.place(), Place::Vault { .. })
}

fn on_disk(credential: &Use) -> bool {
    matches!(
        credential.reference.place(),
        Place::File(_) | Place::Systemd(_)
    )
}

fn vaulted(ground: &Ground<'_>) -> Finding {
    let with = Credited::of(ground, |_| true);
    if with.is_empty() {
        return Finding::done("no server is given a credential, so there is none to vault");
    }
    let variables = Credited::of(ground, |credential| {
        matches!(credential.reference.place(), Place::Environment(_))
    });
    if !variables.is_empty() {
        return Finding::missing(
            format!("{} take theirs from a variable", names(&variables.shown)),
            variables.vault_fix(),
        );
    }
    let files = Credited::of(ground, on_disk);
    if !files.is_empty() {
        return Finding::not_knowable(
            format!(
                "{} take theirs from a file: a secrets manager may have mounted it, or somebody wrote it",
                names(&files.shown)
            ),
            files.vault_fix(),
        );
    }
    Finding::done(format!("all of them, {}, by `vault:`", with.shown.len()))
}

fn none_in_the_clear(ground: &Ground<'_>) -> Finding {
    let telling = |name: &str| {
        let name = name.to_ascii_uppercase().replace('-', "_");
        TELLING.iter().any(|part| name.contains(part))
    };
    let open = ground.named(|server| match &server.upstream {
        Upstream::Child {
            environment,
            arguments,
            ..
        } => {
            let flags = arguments.iter().filter(|word| word.starts_with('-'));
            environment.keys().chain(flags).any(|name| telling(name))
        }
        Upstream::Http { .. } => false,
    });
    if open.is_empty() {
        return Finding::done("no `env` and no flag of a `command` has a name that secrets have");
    }
    let name = first(&open);
    Finding::missing(
        format!(
            "by its name, `env` or a flag of the `command` holds a secret: {}",
            names(&open)
        ),
        format!(
            "servers: {{ {name}: {{ credential: {{ ref: \"vault:secret/mcp/{name}#token\", as: environment, name: <VARIABLE> }} }} }}"
        ),
    )
}

fn encrypted(ground: &Ground<'_>) -> Finding {
    let keys = &ground.configuration.plaintext;
    if keys.is_empty() {
        return Finding::done("over https, or on this machine");
    }
    Finding::missing(
        format!(
            "`plaintext: allowed`, and a secret is sent over http: {}",
            names(keys)
        ),
        format!("write the URL of {} with https", first(keys)),
    )
}

fn none_in_a_url(ground: &Ground<'_>) -> Finding {
    let query = Credited::of(ground, |credential| {
        matches!(credential.form, Form::Query(_))
    });
    if query.is_empty() {
        return Finding::done("no credential is attached `as: query`");
    }
    Finding::missing(
        format!("in the query, which lands in logs: {}", names(&query.shown)),
        query.fix("as: bearer"),
    )
}

fn rotation(ground: &Ground<'_>) -> Finding {
    let with = Credited::of(ground, |_| true);
    if with.is_empty() {
        return Finding::done("no server is given a credential");
    }
    let vault = ground.configuration.gateway.credentials.vault.as_ref();
    let engine = |used: &Use| {
        let Place::Vault { path, .. } = used.reference.place() else {
            return None;
        };
        let (_, engine, _) = vault?.mount_of(path)?;
        Some(engine)
    };
    let leased = |used: &Use| engine(used) == Some(Engine::Leased);
    // Of a secret in version 2 of KV it is known when it was written.
    let watched = |used: &Use| engine(used) == Some(Engine::Kv2) && used.terms.rotation.is_some();
    let fixed = Credited::of(ground, |used| !leased(used) && !watched(used));
    if fixed.is_empty() {
        let watched = Credited::of(ground, watched).shown;
        return Finding::done(if watched.is_empty() {
            "every credential is issued for a lease and ends with it".to_owned()
        } else {
            format!(
                "every credential is issued for a lease, or has `rotation_days` and is told to be overdue ({}): who changes it is not written here",
                names(&watched)
            )
        });
    }
    let soon = if !Credited::of(ground, in_vault).is_empty() {
        "what is changed in the vault is used within its max_age, 60s at most"
    } else if !Credited::of(ground, on_disk).is_empty() {
        "a file that is changed is used without a restart"
    } else {
        "a variable stays as it is until a restart"
    };
    Finding::not_knowable(
        format!(
            "who changes the secrets of {}, and how often, is not written here; {soon}",
            names(&fixed.shown)
        ),
        "rotate them every 30 to 90 days and write `rotation_days` in their definitions, or let the vault issue them: credentials: { providers: { vault: { mounts: { database: leased } } } }",
    )
}

fn vault_login(ground: &Ground<'_>) -> Finding {
    let Some(vault) = &ground.configuration.gateway.credentials.vault else {
        return Finding::done("there is no vault to log in to");
    };
    let mend = "credentials: { providers: { vault: { auth: { approle: { role_id: file:/run/secrets/role-id, secret_id: file:/run/secrets/secret-id } } } } }";
    let references = match &vault.login {
        Login::Token(reference) => {
            return Finding::missing(
                format!(
                    "it logs in with a token, `{reference}`, which somebody has to renew and may hold more than it needs"
                ),
                mend,
            );
        }
        Login::AppRole {
            role_id, secret_id, ..
        } => std::iter::once(role_id).chain(secret_id),
        Login::Jwt { token, .. } => std::iter::once(token).chain(&None),
    };
    for reference in references {
        if matches!(reference.place(), Place::Environment(_)) {
            let why = format!("its login comes from a variable, `{reference}`");
            return Finding::missing(why, mend);
        }
    }
    let method = match vault.login {
        Login::Jwt { .. } => "JWT",
        Login::Token(_) | Login::AppRole { .. } => "AppRole",
    };
    Finding::done(format!(
        "by {method}; that the role reads these paths only is the vault's to say"
    ))
}
