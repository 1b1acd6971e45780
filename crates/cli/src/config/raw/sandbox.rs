//! `servers.<name>.sandbox`: what a child process may reach.

use crate::config::decode::{At, Decode, Fields, plain, written, wrong};
use crate::config::document::Node;
use crate::config::fault::Faults;

/// The sandbox of one server.
#[derive(Debug, Clone)]
pub(crate) enum Sandbox {
    /// None, on a kernel without Landlock or by the operator's decision.
    Off,
    /// A list of what may be reached, in place of everything but the gateway's own files.
    List {
        read: Option<Vec<At<String>>>,
        write: Option<Vec<At<String>>>,
        network: Option<At<Vec<Port>>>,
    },
}

impl Decode for Sandbox {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        if written(node) == Some("off") {
            return Some(Self::Off);
        }
        let mut fields = Fields::new(node, path, faults)?;
        let sandbox = Self::List {
            read: fields.optional("read"),
            write: fields.optional("write"),
            network: fields.optional("network"),
        };
        fields.finish();
        Some(sandbox)
    }
}

/// A port of TCP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port(pub(crate) u16);

impl Decode for Port {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let port = plain(node).and_then(|text| text.parse::<u16>().ok());
        if port.is_none() {
            faults.push(wrong(
                node,
                path,
                "a port the process may connect to, 0 to 65535",
            ));
        }
        port.map(Self)
    }
}
