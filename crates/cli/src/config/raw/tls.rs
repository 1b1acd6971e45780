//! `tls`: of the listeners, and of what is connected to.

use crate::config::decode::{At, Decode, Fields};
use crate::config::document::Node;
use crate::config::fault::{Fault, Faults};

/// `tls`, `admin.tls`: the certificate that listeners show.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) certificate: Option<At<String>>,
    pub(crate) key: Option<At<String>>,
}

impl Decode for Tls {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let tls = Self {
            certificate: fields.required(
                "certificate",
                "name the PEM file with the certificate and its chain",
            ),
            key: fields.required("key", "name the PEM file with the private key"),
        };
        fields.finish();
        Some(tls)
    }
}

/// `tls` of what is connected to: the authorities that are trusted.
#[derive(Debug)]
pub(crate) struct ServerTls {
    pub(crate) ca: Option<At<String>>,
}

impl Decode for ServerTls {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let tls = Self {
            ca: fields.optional("ca"),
        };
        fields.finish();
        Some(tls)
    }
}

/// `servers.<name>.tls`: the authorities that are trusted, and the certificate the server is shown.
#[derive(Debug, Default)]
pub(crate) struct UpstreamTls {
    pub(crate) ca: Option<At<String>>,
    pub(crate) client: Option<(At<String>, At<String>)>,
}

impl Decode for UpstreamTls {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let ca = fields.optional("ca");
        let certificate: Option<At<String>> = fields.optional("client_certificate");
        let key: Option<At<String>> = fields.optional("client_key");
        if fields.has("client_certificate") != fields.has("client_key") {
            let message = "has one of `client_certificate` and `client_key`";
            let fault = Fault::new(node.origin.clone(), path, message);
            fields.fault(fault.hint("a certificate is shown with its private key: name both"));
        }
        fields.finish();
        Some(Self {
            ca,
            client: certificate.zip(key),
        })
    }
}
