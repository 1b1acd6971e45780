//! Networks in CIDR notation.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regorus::Value;
use regorus::value::Set;

use super::{Answer, text_at};

/// Longest notation of a network, with room to spare.
const MAX_NOTATION: usize = 64;
/// Most addresses of a network that is expanded.
const MAX_ADDRESSES: u128 = 4_096;
/// Most networks in one call; of `net.cidr_contains_matches` most pairs that are compared.
const MAX_NETWORKS: usize = 10_000;

/// Addresses of one family from the first to the last, both of them in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    /// IPv4 before IPv6: the two never meet.
    six: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// An IPv4 address in the form of IPv6 is one of IPv4, and so is a network of such: a list of what is denied holds
    /// whichever way a listener writes its peers.
    fn new(address: IpAddr, prefix: u32) -> Option<Self> {
        let (address, prefix) = match (address, prefix.checked_sub(96)) {
            (IpAddr::V6(six), Some(below)) => six
                .to_ipv4_mapped()
                .map_or((address, prefix), |four| (IpAddr::V4(four), below)),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => (address, prefix),
        };
        let (six, bits, address): (bool, u32, u128) = match address {
            IpAddr::V4(address) => (false, 32, u128::from(u32::from(address))),
            IpAddr::V6(address) => (true, 128, u128::from(address)),
        };
        let host = bits.checked_sub(prefix).map(ones)?;
        Some(Self {
            six,
            first: address & !host,
            last: address | host,
        })
    }

    fn network(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
            Self::new(
                address.parse().ok()?,
                prefix.parse().ok().filter(|_| plain)?,
            )
        });
        parsed.ok_or_else(|| format!("no network: `{text}`"))
    }

    fn address(text: &str) -> Result<Self, String> {
        let address: IpAddr = text.parse().map_err(|_| format!("no address: `{text}`"))?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        Self::new(address, whole).ok_or_else(|| format!("no address: `{text}`"))
    }

    fn either(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            Self::network(text)
        } else {
            Self::address(text)
        }
    }

    fn contains(&self, other: &Self) -> bool {
        self.six == other.six && self.first <= other.first && other.last <= self.last
    }

    fn meets(&self, other: &Self) -> bool {
        self.six == other.six && self.first <= other.last && other.first <= self.last
    }

    fn address_at(&self, number: u128) -> IpAddr {
        if self.six {
            IpAddr::V6(Ipv6Addr::from(number))
        } else {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
        }
    }

    /// The fewest networks that are this range, in order.
    fn networks(&self) -> Vec<String> {
        let bits: u32 = if self.six { 128 } else { 32 };
        let mut found = Vec::new();
        let mut next = Some(self.first);
        while let Some(first) = next {
            let aligned = first.trailing_zeros().min(bits);
            let size = (0..=aligned)
                .rev()
                .find(|size| {
                    first
                        .checked_add(ones(*size))
                        .is_some_and(|last| last <= self.last)
                })
                .unwrap_or(0);
            let address = self.address_at(first);
            found.push(format!("{address}/{}", bits - size));
            let last = first | ones(size);
            next = last.checked_add(1).filter(|_| last < self.last);
        }
        found
    }
}

/// The number whose lowest `count` bits are ones.
const fn ones(count: u32) -> u128 {
    match u128::MAX.checked_shr(128_u32.saturating_sub(count)) {
        Some(ones) => ones,
        None => 0,
    }
}

/// `net.cidr_contains`: whether a network contains another, or an address.
pub(crate) fn contains(values: &[Value]) -> Answer {
    let network = Range::network(text_at(values, 0, MAX_NOTATION)?)?;
    let other = Range::either(text_at(values, 1, MAX_NOTATION)?)?;
    Ok(Value::Bool(network.contains(&other)))
}

/// `net.cidr_is_valid`: whether something is the notation of a network.
pub(crate) fn is_valid(values: &[Value]) -> Answer {
    let network = text_at(values, 0, MAX_NOTATION).and_then(Range::network);
    Ok(Value::Bool(network.is_ok()))
}

/// `net.cidr_expand`: all addresses of a network.
pub(crate) fn expand(values: &[Value]) -> Answer {
    let range = Range::network(text_at(values, 0, MAX_NOTATION)?)?;
    if range.last - range.first >= MAX_ADDRESSES {
        return Err("the network is too large".to_owned());
    }
    let mut set = Set::new();
    for address in range.first..=range.last {
        set.insert(Value::from(range.address_at(address).to_string().as_str()));
    }
    Ok(Value::Set(set.into()))
}

/// `net.cidr_intersects`: whether two networks have an address in common.
pub(super) fn intersects(values: &[Value]) -> Answer {
    let one = Range::network(text_at(values, 0, MAX_NOTATION)?)?;
    let other = Range::network(text_at(values, 1, MAX_NOTATION)?)?;
    Ok(Value::Bool(one.meets(&other)))
}

/// `net.cidr_merge`: the fewest networks with the same addresses. As OPA has it, an IPv4 address without a prefix
/// stands for the network of its old class, and an IPv6 address needs a prefix.
pub(super) fn merge(values: &[Value]) -> Answer {
    let listed: Vec<&Value> = match values.first() {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Set(items)) => items.iter().collect(),
        Some(_) | None => return Err("argument 1 must be an array or a set".to_owned()),
    };
    if listed.len() > MAX_NETWORKS {
        return Err(format!("more than {MAX_NETWORKS} networks"));
    }
    let ranges: BTreeSet<Range> = listed
        .into_iter()
        .map(|item| classed(text_at(std::slice::from_ref(item), 0, MAX_NOTATION)?))
        .collect::<Result<_, String>>()?;
    let mut merged: Vec<Range> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last)
                if last.six == range.six
                    && last
                        .last
                        .checked_add(1)
                        .is_none_or(|next| range.first <= next) =>
            {
                last.last = last.last.max(range.last);
            }
            Some(_) | None => merged.push(range),
        }
    }
    let networks: Vec<String> = merged.iter().flat_map(Range::networks).collect();
    if networks.len() > MAX_NETWORKS {
        return Err(format!("more than {MAX_NETWORKS} networks"));
    }
    let mut set = Set::new();
    for network in networks {
        set.insert(Value::from(network.as_str()));
    }
    Ok(Value::Set(set.into()))
}

fn classed(text: &str) -> Result<Range, String> {
    if text.contains('/') {
        return Range::network(text);
    }
    match text.parse() {
        Ok(IpAddr::V4(address)) => {
            let prefix = match address.octets().first() {
                Some(0..=127) => 8,
                Some(128..=191) => 16,
                Some(192..=255) | None => 24,
            };
            Range::new(IpAddr::V4(address), prefix).ok_or_else(|| format!("no network: `{text}`"))
        }
        Ok(IpAddr::V6(_)) => Err(format!("an IPv6 address needs a prefix: `{text}`")),
        Err(_) => Err(format!("no network: `{text}`")),
    }
}

/// `net.cidr_contains_matches`: which networks of the first collection contain which networks or addresses of the
/// second, as pairs of keys: the index in an array, the key in an object, the element itself in a set, a text itself.
pub(super) fn contains_matches(values: &[Value]) -> Answer {
    let networks = keyed(values, 0, Range::network)?;
    let others = keyed(values, 1, Range::either)?;
    if networks.len().saturating_mul(others.len()) > MAX_NETWORKS * 10 {
        return Err("too many pairs".to_owned());
    }
    let mut matches = Set::new();
    for (key, network) in &networks {
        for (other_key, other) in &others {
            if network.contains(other) {
                matches.insert(Value::from(vec![key.clone(), other_key.clone()]));
            }
        }
    }
    Ok(Value::Set(matches.into()))
}

fn keyed(
    values: &[Value],
    index: usize,
    read: fn(&str) -> Result<Range, String>,
) -> Result<Vec<(Value, Range)>, String> {
    let number = index + 1;
    let one =
        |key: Value, item: &Value| {
            let text = match item {
                Value::String(text) => Some(text),
                Value::Array(items) => items.first().and_then(|first| first.as_string().ok()),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Set(_)
                | Value::Object(_)
                | Value::Undefined => None,
            };
            let text = text.filter(|text| text.len() <= MAX_NOTATION).ok_or_else(|| {
            format!("argument {number}: an element must be a text or an array that begins with one")
        })?;
            Ok((key, read(text)?))
        };
    match values.get(index) {
        Some(text @ Value::String(_)) => Ok(vec![one(text.clone(), text)?]),
        Some(Value::Array(items)) => (0_u64..)
            .zip(items.iter())
            .map(|(at, item)| one(Value::from(at), item))
            .collect(),
        Some(Value::Set(items)) => items.iter().map(|item| one(item.clone(), item)).collect(),
        Some(Value::Object(object)) => object
            .iter()
            .map(|(key, item)| one(key.clone(), item))
            .collect(),
        Some(_) | None => Err(format!("argument {number} must be a text or a collection")),
    }
}
