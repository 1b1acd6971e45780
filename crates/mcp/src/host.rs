//! Hosts as browsers and HTTP clients read them (WHATWG URL), and where their addresses lead.
//!
//! `2130706433`, `0x7f.1`, `127.0.0.1.` and `[::ffff:7f00:1]` are all this machine. A rule that compares texts sees four
//! strangers; here they have one spelling and one class.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host as Parsed, Url};

/// Names that lead to this machine wherever they are looked up (RFC 6761 §6.3, `/etc/hosts` of common systems).
const LOCAL: [&str; 4] = [
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
];

/// Names of metadata services: Google, OpenStack and EC2 clones.
const METADATA_NAMES: [&str; 5] = [
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Addresses of metadata services: EC2, Azure, Google and others; ECS tasks; EKS pods; Azure's wire server; Alibaba.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
];

/// The same over IPv6: EC2, EKS pods, Google.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Class of the address a host leads to, as far as its spelling shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// A name: only who looks it up learns the address, and it can change.
    Name,
    /// This machine, by address or by name; `0.0.0.0` too, which connects to it.
    Loopback,
    /// Networks of one's own: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// The local link (RFC 3927, RFC 4291 §2.5.6).
    LinkLocal,
    /// A service that hands out credentials of the machine.
    Metadata,
    /// Multicast, broadcast, documentation, and what is not assigned.
    Reserved,
    /// Any other address.
    Public,
}

impl AddressClass {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::Name,
        Self::Loopback,
        Self::Private,
        Self::LinkLocal,
        Self::Metadata,
        Self::Reserved,
        Self::Public,
    ];

    /// Its word in the input of policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link_local",
            Self::Metadata => "metadata",
            Self::Reserved => "reserved",
            Self::Public => "public",
        }
    }
}

/// A host in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Lower case, in ASCII (punycode), without a dot at the end; an IPv4 address with four decimal numbers, an IPv6 address
    /// in brackets, one that maps IPv4 as that.
    pub name: String,
    /// The class of its address.
    pub class: AddressClass,
}

impl Host {
    /// Reads a host as browsers do; an IPv6 address is in brackets. Nothing if they would refuse it, or if its spelling would be
    /// read as another host in turn: of `127.0.0.1..` one client takes one dot off, the next one takes all.
    pub fn read(text: &str) -> Option<Self> {
        let host = Self::of(Parsed::parse(text).ok()?);
        let again = Self::of(Parsed::parse(&host.name).ok()?);
        (again == host).then_some(host)
    }

    fn of<S: AsRef<str>>(parsed: Parsed<S>) -> Self {
        match parsed {
            Parsed::Domain(name) => Self::named(name.as_ref()),
            Parsed::Ipv4(address) => Self::v4(address),
            Parsed::Ipv6(address) => match embedded(address) {
                Some(inner) => Self {
                    // Mapped addresses are IPv4 on the wire; the others go through a translator, which has an address of its own.
                    name: match address.to_ipv4_mapped() {
                        Some(mapped) => mapped.to_string(),
                        None => format!("[{address}]"),
                    },
                    class: v4_class(inner),
                },
                None => Self {
                    name: format!("[{address}]"),
                    class: v6_class(address),
                },
            },
        }
    }

    fn v4(address: Ipv4Addr) -> Self {
        Self {
            name: address.to_string(),
            class: v4_class(address),
        }
    }

    fn named(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let class = if LOCAL.contains(&name.as_str()) || name.ends_with(".localhost") {
            AddressClass::Loopback
        } else if METADATA_NAMES.contains(&name.as_str()) {
            AddressClass::Metadata
        } else {
            AddressClass::Name
        };
        Self { name, class }
    }
}

/// A URL, read as browsers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// All of it in one spelling, without user and password.
    pub text: String,
    /// Lower case, without the colon.
    pub scheme: String,
    /// The host, where the URL has one.
    pub host: Option<Host>,
    /// The port, also where it is the scheme's own.
    pub port: Option<u16>,
    /// Whether a user or a password stands before the host.
    pub userinfo: bool,
    /// The path, dot segments resolved.
    pub path: String,
}

/// Reads a URL as browsers do: tabs and line breaks are taken out, backslashes are slashes where the scheme is one of theirs.
/// Nothing if it is none, or is relative.
pub fn locate(text: &str) -> Option<Location> {
    let mut url = Url::parse(text).ok()?;
    let userinfo = !url.username().is_empty() || url.password().is_some();
    // Hosts of schemes browsers do not know are left as they are written; a client of such a server reads them all the same.
    let host = match url.host_str().filter(|host| !host.is_empty()) {
        None => None,
        Some(text) => match Host::read(text) {
            None if url.is_special() => return None,
            None => Some(Host {
                name: text.to_ascii_lowercase(),
                // Clients that take all dots off the end reach this one.
                class: Host::read(text.trim_end_matches('.'))
                    .map_or(AddressClass::Name, |host| host.class),
            }),
            known => known,
        },
    };
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    // Only what has no host refuses that, and it has no user.
    if cleared.is_err() && userinfo {
        return None;
    }
    if let Some(host) = &host
        && url.host_str() != Some(&host.name)
        && url.set_host(Some(&host.name)).is_err()
    {
        return None;
    }
    Some(Location {
        scheme: url.scheme().to_owned(),
        port: url.port_or_known_default(),
        path: url.path().to_owned(),
        text: url.into(),
        host,
        userinfo,
    })
}

/// The IPv4 address within an IPv6 one: mapped, compatible, translated (RFC 6052), or the gateway of 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let word = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(word(high, low))
        }
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(word(high, low)),
        [0x2002, high, low, ..] => Some(word(high, low)),
        _ => None,
    }
}

fn v4_class(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.octets() {
        [0 | 127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            AddressClass::Private
        }
        [169, 254, ..] => AddressClass::LinkLocal,
        [192, 0, 0 | 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [198, 18..=19, ..]
        | [224..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn v6_class(address: Ipv6Addr) -> AddressClass {
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => AddressClass::Loopback,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0x2001, 0xdb8, ..] | [0x3fff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The class of an address that is known as such.
pub fn address_class(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => v4_class(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| v6_class(address), v4_class),
    }
}
