//! `policies`: directories and bundles, as they are written.

use std::time::Duration;

use keepgate_jose::Algorithm;

use super::{ServerTls, standard};
use crate::config::decode::{At, Decode, Fields, OneOrMany, choice, wrong};
use crate::config::document::{Node, Value};
use crate::config::fault::{Fault, Faults};

/// One entry.
#[derive(Debug)]
pub(crate) enum Policies {
    /// A path alone.
    Directory(At<String>),
    /// A map with `bundle`.
    Bundle(Box<At<Bundle>>),
}

impl Decode for Policies {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Scalar(_) => At::decode(node, path, faults).map(Self::Directory),
            Value::Map(_) => At::decode(node, path, faults).map(|it| Self::Bundle(Box::new(it))),
            Value::Null | Value::List(_) => {
                let hint = "write the path of a directory, or `{ bundle: https://.. }`";
                faults.push(wrong(node, path, "a directory or a bundle").hint(hint));
                None
            }
        }
    }
}

/// A bundle, by its file or its URL.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) bundle: Option<At<String>>,
    pub(crate) verify: Vec<At<Verify>>,
    pub(crate) credential: Option<At<String>>,
    pub(crate) poll: At<Poll>,
    pub(crate) ca: Option<At<String>>,
    /// Keys that go with a URL only, and are there.
    pub(crate) remote: Vec<&'static str>,
}

impl Decode for Bundle {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let remote = ["credential", "poll", "tls"].into_iter();
        let remote = remote.filter(|key| fields.has(key)).collect();
        let bundle = Self {
            bundle: fields.required(
                "bundle",
                "write the file or the URL of the bundle: `bundle: https://policies.example/crm.tar.gz`",
            ),
            verify: fields.or("verify", OneOrMany(Vec::new())).0,
            credential: fields
                .optional::<Credential>("credential")
                .and_then(|credential| credential.reference),
            poll: fields.or("poll", standard("policies.poll", Poll::default())),
            ca: fields.optional::<ServerTls>("tls").and_then(|tls| tls.ca),
            remote,
        };
        fields.refuse_empty("verify");
        fields.finish();
        Some(bundle)
    }
}

/// `credential`: what the bundle's server wants to see, as a bearer token.
#[derive(Debug)]
struct Credential {
    reference: Option<At<String>>,
}

impl Decode for Credential {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let credential = Self {
            reference: fields.required(
                "ref",
                "write where the token is, like `file:/run/secrets/bundles`",
            ),
        };
        fields.finish();
        Some(credential)
    }
}

/// `poll`: how often the bundle is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Poll {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    pub(crate) wait: Option<Duration>,
}

impl Default for Poll {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(10),
            max: Duration::from_secs(20),
            wait: None,
        }
    }
}

impl Decode for Poll {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let usual = Self::default();
        let min = fields.optional("min");
        let max: Option<Duration> = fields.optional("max");
        let poll = Self {
            // One of them alone moves the other.
            min: min.unwrap_or_else(|| max.map_or(usual.min, |max| max.min(usual.min))),
            max: max.unwrap_or_else(|| min.map_or(usual.max, |min| min.max(usual.max))),
            wait: fields.optional("wait"),
        };
        if poll.min > poll.max {
            let fault = Fault::new(node.origin.clone(), path, "`min` is longer than `max`");
            fields.fault(fault);
        }
        fields.finish();
        Some(poll)
    }
}

/// `verify`: a key that may have signed the bundle.
#[derive(Debug)]
pub(crate) struct Verify {
    pub(crate) key: Option<At<String>>,
    pub(crate) algorithm: Option<At<Algorithm>>,
    pub(crate) id: Option<String>,
    pub(crate) scope: Option<String>,
}

impl Decode for Verify {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let verify = Self {
            key: fields.required("key", "name the PEM file with the public key"),
            algorithm: fields.required(
                "algorithm",
                "write the one algorithm the key is for, like ES256",
            ),
            id: fields.optional("id"),
            scope: fields.optional("scope"),
        };
        fields.finish();
        Some(verify)
    }
}

impl Decode for Algorithm {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words: Vec<_> = Self::all()
            .map(|algorithm| (algorithm.as_str(), algorithm))
            .collect();
        choice(node, path, faults, &words, &[])
    }
}
