//! `credentials`, and `credential` and `credentials` of a server: where secrets are and how servers get them.

use std::collections::BTreeMap;
use std::time::Duration;

use keepgate_credential::{Engine, VaultSettings};

use super::{Plaintext, ServerTls, standard};
use crate::config::decode::{At, Decode, Fields, choice};
use crate::config::document::Node;
use crate::config::fault::Faults;

/// `credentials`.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) providers: Providers,
}

impl Decode for Credentials {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let credentials = Self {
            providers: fields.section("providers")?,
        };
        fields.finish();
        Some(credentials)
    }
}

/// `credentials.providers`: those that need to be told something.
#[derive(Debug)]
pub(crate) struct Providers {
    pub(crate) vault: Option<At<Vault>>,
}

impl Decode for Providers {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["aws", "azure", "exchange", "oauth"]);
        let providers = Self {
            vault: fields.optional("vault"),
        };
        fields.finish();
        Some(providers)
    }
}

/// `credentials.providers.vault`.
#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) address: Option<At<String>>,
    pub(crate) namespace: Option<At<String>>,
    pub(crate) auth: VaultAuth,
    pub(crate) mounts: BTreeMap<String, At<Engine>>,
    pub(crate) ca: Option<At<String>>,
    pub(crate) plaintext: Option<Plaintext>,
    pub(crate) timeout: Duration,
    pub(crate) max_age: At<Duration>,
}

impl Decode for Vault {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let tls: Option<ServerTls> = fields.optional("tls");
        let vault = Self {
            address: fields.required("address", "write its URL, like `https://vault.example:8200`"),
            namespace: fields.optional("namespace"),
            auth: fields.section("auth")?,
            mounts: fields
                .required(
                    "mounts",
                    "name the engines the gateway reads: `mounts: { secret: kv2, database: leased }`",
                )
                .unwrap_or_default(),
            ca: tls.and_then(|tls| tls.ca),
            plaintext: fields.optional("plaintext"),
            timeout: fields.or("timeout", VaultSettings::TIMEOUT),
            max_age: fields.or(
                "max_age",
                standard("credentials.providers.vault.max_age", VaultSettings::LONGEST_AGE),
            ),
        };
        fields.refuse_empty("mounts");
        fields.finish();
        Some(vault)
    }
}

/// `credentials.providers.vault.auth`.
#[derive(Debug)]
pub(crate) struct VaultAuth {
    pub(crate) token: Option<At<String>>,
    pub(crate) approle: Option<At<AppRole>>,
    pub(crate) jwt: Option<At<JwtLogin>>,
    pub(crate) wrapped_by: Option<At<String>>,
}

impl Decode for VaultAuth {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["kubernetes"]);
        let auth = Self {
            token: fields.optional("token"),
            approle: fields.optional("approle"),
            jwt: fields.optional("jwt"),
            wrapped_by: fields.optional("wrapped_by"),
        };
        let fault = |message: &str| {
            super::Fault::new(node.origin.clone(), path, message).hint(
                "write `token: file:/run/secrets/vault-token`, `approle: { role_id: file:.., secret_id: file:.. }` or `jwt: { role: keepgate, token: file:.. }`",
            )
        };
        let methods = ["token", "approle", "jwt"];
        match methods.iter().filter(|method| fields.has(method)).count() {
            0 => fields.fault(fault("no auth method configured")),
            1 => {}
            2.. => fields.fault(fault("more than one auth method configured")),
        }
        fields.finish();
        Some(auth)
    }
}

/// `credentials.providers.vault.auth.approle`.
#[derive(Debug)]
pub(crate) struct AppRole {
    pub(crate) mount: At<String>,
    pub(crate) role_id: Option<At<String>>,
    pub(crate) secret_id: Option<At<String>>,
}

impl Decode for AppRole {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let role = Self {
            mount: fields.or(
                "mount",
                standard("credentials.providers.vault.auth.approle.mount", "approle"),
            ),
            role_id: fields.required(
                "role_id",
                "write where the role id is, like `file:/run/secrets/role-id`",
            ),
            secret_id: fields.optional("secret_id"),
        };
        fields.finish();
        Some(role)
    }
}

/// `credentials.providers.vault.auth.jwt`.
#[derive(Debug)]
pub(crate) struct JwtLogin {
    pub(crate) mount: At<String>,
    pub(crate) role: Option<At<String>>,
    pub(crate) token: Option<At<String>>,
}

impl Decode for JwtLogin {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let login = Self {
            mount: fields.or(
                "mount",
                standard("credentials.providers.vault.auth.jwt.mount", "jwt"),
            ),
            role: fields.required("role", "write the name of the method's role"),
            token: fields.required(
                "token",
                "write where the JWT is, like `file:/run/secrets/gateway.jwt`",
            ),
        };
        fields.finish();
        Some(login)
    }
}

impl Decode for Engine {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(node, path, faults, Self::WORDS, &[])
    }
}

/// `servers.<name>.credential`, and each of `servers.<name>.credentials`: what a server gets, and how.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) reference: Option<At<String>>,
    pub(crate) form: Option<Form>,
    pub(crate) name: Option<At<String>>,
    pub(crate) user: Option<At<String>>,
    pub(crate) user_field: Option<At<String>>,
    pub(crate) user_name: Option<At<String>>,
    pub(crate) in_url: bool,
}

/// `as`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bearer,
    Header,
    Basic,
    Query,
    Environment,
}

impl Decode for Form {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = &[
            ("bearer", Self::Bearer),
            ("header", Self::Header),
            ("basic", Self::Basic),
            ("query", Self::Query),
            ("environment", Self::Environment),
        ];
        choice(node, path, faults, words, &[])
    }
}

impl Decode for Credential {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let credential = Self {
            reference: fields.required(
                "ref",
                "write where the secret is, like `vault:secret/mcp/crm#token`",
            ),
            form: fields.required(
                "as",
                "write how the server gets it: bearer, header, basic, query or environment",
            ),
            name: fields.optional("name"),
            user: fields.optional("user"),
            user_field: fields.optional("user_field"),
            user_name: fields.optional("user_name"),
            in_url: fields.or("in_url", false),
        };
        fields.finish();
        Some(credential)
    }
}

/// Most credentials a server can have: their references are in each record of its calls.
const MAX_CREDENTIALS: usize = 16;

/// Reads `credential`, the short form of one, or `credentials`.
pub(super) fn of_server(fields: &mut Fields<'_>, node: &Node, path: &str) -> Vec<At<Credential>> {
    let one: Option<At<Credential>> = fields.optional("credential");
    let several: Option<At<Vec<At<Credential>>>> = fields.optional("credentials");
    if fields.has("credential") && fields.has("credentials") {
        let message = "has both `credential` and `credentials`";
        let fault = super::Fault::new(node.origin.clone(), path, message);
        fields.fault(
            fault.hint("`credential` is the short form of one: write all of them as a list"),
        );
    }
    fields.refuse_empty("credentials");
    if let Some(several) = &several
        && several.value.len() > MAX_CREDENTIALS
    {
        let message = format!("a server has {MAX_CREDENTIALS} credentials at most");
        fields.fault(several.fault(message));
    }
    let several = several.into_iter().flat_map(|several| several.value);
    one.into_iter().chain(several).collect()
}
