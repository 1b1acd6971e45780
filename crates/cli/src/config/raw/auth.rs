//! `auth`: how callers prove who they are, as it is written.

use keepgate_authn::oauth::TokenKind;
use keepgate_jose::SignatureAlgorithm;

use super::{ServerTls, standard};
use crate::config::AuthMode;
use crate::config::decode::{At, Decode, Fields, choice};
use crate::config::document::Node;
use crate::config::fault::{Fault, Faults};

/// `auth`.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) mode: At<AuthMode>,
    pub(crate) keys: bool,
    pub(crate) scopes: Vec<At<String>>,
    pub(crate) issuers: Vec<At<Issuer>>,
}

impl Decode for Auth {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let mode: At<AuthMode> = fields.or("mode", standard("auth.mode", AuthMode::Keys));
        let auth = Self {
            keys: fields.or("keys", false),
            scopes: fields.or("scopes", Vec::new()),
            issuers: fields.or("issuers", Vec::new()),
            mode,
        };
        let fault = |key: &str, message: &str| {
            Fault::new(node.origin.clone(), &format!("{path}.{key}"), message)
        };
        match auth.mode.value {
            AuthMode::OAuth if !fields.has("issuers") => {
                let hint =
                    "name who gives your tokens: `issuers: [{ issuer: https://idp.example }]`";
                fields.fault(fault("issuers", "key is missing").hint(hint));
            }
            AuthMode::OAuth => fields.refuse_empty("issuers"),
            AuthMode::Anonymous | AuthMode::Keys => {
                for key in ["keys", "scopes", "issuers"] {
                    if fields.has(key) {
                        fields.fault(fault(key, "goes with `mode: oauth` only"));
                    }
                }
            }
        }
        fields.finish();
        Some(auth)
    }
}

impl Decode for AuthMode {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(
            node,
            path,
            faults,
            &[
                ("anonymous", Self::Anonymous),
                ("keys", Self::Keys),
                ("oauth", Self::OAuth),
            ],
            &[],
        )
    }
}

/// `auth.issuers[]`: who gives tokens, and how they are read.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) issuer: Option<At<String>>,
    pub(crate) audience: Option<String>,
    pub(crate) jwks_uri: Option<At<String>>,
    pub(crate) typ: TokenKind,
    pub(crate) algorithms: Vec<SignatureAlgorithm>,
    pub(crate) tenant: Option<At<String>>,
    pub(crate) roles_claim: Option<String>,
    pub(crate) groups_claim: Option<String>,
    pub(crate) ca: Option<At<String>>,
}

impl Decode for Issuer {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let issuer = Self {
            issuer: fields.required(
                "issuer",
                "write what stands in `iss` of its tokens, like https://idp.example",
            ),
            audience: fields.optional("audience"),
            jwks_uri: fields.optional("jwks_uri"),
            typ: fields.or("typ", TokenKind::AccessToken),
            algorithms: fields.or("algorithms", SignatureAlgorithm::ALL.to_vec()),
            tenant: fields.optional("tenant"),
            roles_claim: fields.optional("roles_claim"),
            groups_claim: fields.optional("groups_claim"),
            ca: fields.optional::<ServerTls>("tls").and_then(|tls| tls.ca),
        };
        fields.refuse_empty("algorithms");
        fields.finish();
        Some(issuer)
    }
}

impl Decode for TokenKind {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(
            node,
            path,
            faults,
            &[("at+jwt", Self::AccessToken), ("jwt", Self::Plain)],
            &[],
        )
    }
}

impl Decode for SignatureAlgorithm {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words: Vec<_> = Self::ALL
            .iter()
            .map(|algorithm| (algorithm.as_str(), *algorithm))
            .collect();
        choice(node, path, faults, &words, &[])
    }
}
