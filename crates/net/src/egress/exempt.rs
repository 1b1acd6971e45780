//! Hosts that are connected to without the proxy: the list of `NO_PROXY`.

use crate::network::Network;

/// Hosts that are connected to directly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exempt(Vec<(Hosts, Option<u16>)>);

/// The hosts of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    /// Every host.
    All,
    /// Every address of a network. Names are not resolved for it: the proxy resolves them.
    Network(Network),
    /// The host of this name, and all below it.
    Named(String),
    /// All hosts below this name.
    Below(String),
}

impl Exempt {
    /// Reads a list with commas: `*`, a name (with all below it), `.name` or `*.name` (only what is below it), an address or a
    /// network, each but the network with or without a port.
    ///
    /// # Errors
    /// The first entry that is none of these.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        let read = entries.map(|entry| read(entry).ok_or_else(|| entry.to_owned()));
        read.collect::<Result<_, _>>().map(Self)
    }

    /// These hosts and those of `more`.
    #[must_use]
    pub fn with(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Whether a host, which has no brackets, is in it.
    pub(crate) fn contains(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse().ok();
        let mut entries = self.0.iter();
        entries.any(|(hosts, only)| {
            only.is_none_or(|only| only == port)
                && match hosts {
                    Hosts::All => true,
                    Hosts::Network(network) => {
                        address.is_some_and(|address| network.contains(address))
                    }
                    Hosts::Named(name) => host == *name || is_below(&host, name),
                    Hosts::Below(name) => is_below(&host, name),
                }
        })
    }
}

fn is_below(host: &str, name: &str) -> bool {
    let above = host.strip_suffix(name);
    above.is_some_and(|above| above.len() > 1 && above.ends_with('.'))
}

fn read(entry: &str) -> Option<(Hosts, Option<u16>)> {
    if entry == "*" {
        return Some((Hosts::All, None));
    }
    if let Ok(network) = entry.parse() {
        return Some((Hosts::Network(network), None));
    }
    let bracketed = entry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => match entry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (entry, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    if let Ok(network) = host.parse() {
        return Some((Hosts::Network(network), port));
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let below = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !name.is_empty() && bracketed.is_none() && name.bytes().all(plain)
    };
    let hosts = match below {
        Some(below) if is_name(below) => Hosts::Below(below.to_owned()),
        None if is_name(&name) => Hosts::Named(name),
        Some(_) | None => return None,
    };
    Some((hosts, port))
}

#[cfg(test)]
mod tests {
    use super::Exempt;

    #[test]
    fn hosts_are_exempt_by_name_network_and_port() {
        for (list, host, port, is_exempt) in [
            ("", "crm.example", 443, false),
            ("*", "crm.example", 443, true),
            ("crm.example", "crm.example", 443, true),
            ("CRM.example", "crm.EXAMPLE.", 443, true),
            ("crm.example", "a.crm.example", 443, true),
            ("crm.example", "acrm.example", 443, false),
            (".crm.example", "a.crm.example", 443, true),
            ("*.crm.example", "a.b.crm.example", 443, true),
            (".crm.example", "crm.example", 443, false),
            ("crm.example:8443", "crm.example", 8443, true),
            ("crm.example:8443", "crm.example", 443, false),
            ("a.example, b.example ,", "b.example", 443, true),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.0.0.0/8", "10.example", 443, false),
            ("192.0.2.7:8443", "192.0.2.7", 8443, true),
            ("192.0.2.7:8443", "192.0.2.7", 443, false),
            ("2001:db8::/32", "2001:db8::7", 443, true),
            ("[2001:db8::7]:8443", "2001:db8::7", 8443, true),
            ("[2001:db8::7]:8443", "2001:db8::7", 443, false),
        ] {
            let list = Exempt::parse(list).unwrap();
            assert_eq!(
                list.contains(host, port),
                is_exempt,
                "{list:?} {host}:{port}"
            );
        }
        for wrong in [
            "http://crm.example",
            "a b",
            "10.0.0.1/8",
            "crm.example:x",
            "a*b",
        ] {
            assert_eq!(Exempt::parse(wrong), Err(wrong.to_owned()));
        }
    }
}
