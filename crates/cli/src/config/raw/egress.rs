//! `egress`: the way to other machines, of all and of a server.

use super::Plaintext;
use crate::config::decode::{At, Decode, Fields};
use crate::config::document::Node;
use crate::config::fault::Faults;

/// `egress`.
#[derive(Debug, Clone)]
pub(crate) struct Egress {
    pub(crate) proxy: Option<At<String>>,
    pub(crate) no_proxy: Vec<At<String>>,
    pub(crate) credential: Option<At<ProxyCredential>>,
    pub(crate) plaintext: Option<Plaintext>,
}

impl Decode for Egress {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let egress = Self {
            proxy: fields.required(
                "proxy",
                "write the proxy's address, like http://proxy.example:3128, or `env` or `none`",
            ),
            no_proxy: fields.or("no_proxy", Vec::new()),
            credential: fields.optional("credential"),
            plaintext: fields.optional("plaintext"),
        };
        fields.finish();
        Some(egress)
    }
}

/// `egress.credential`: what the proxy gets.
#[derive(Debug, Clone)]
pub(crate) struct ProxyCredential {
    pub(crate) reference: Option<At<String>>,
    pub(crate) user: Option<At<String>>,
}

impl Decode for ProxyCredential {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let credential = Self {
            reference: fields.required(
                "ref",
                "write where the password is, like file:/run/secrets/proxy",
            ),
            user: fields.required("user", "write the user the proxy knows the gateway by"),
        };
        fields.finish();
        Some(credential)
    }
}
