//! The variables that name a proxy to most programs: `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case of letters.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Names, in the order in which they count.
const ADDRESSES: [&str; 2] = ["HTTPS_PROXY", "ALL_PROXY"];
/// Name of the list of hosts that are connected to directly.
const NO_PROXY: &str = "NO_PROXY";

/// The variables, as far as they are set. They may hold a password, so they show nothing of themselves.
#[derive(Default)]
pub(crate) struct ProxyVariables(BTreeMap<String, String>);

/// Two variables that differ in the case of their names and in their values.
pub(crate) struct Ambiguous(pub(crate) &'static str);

impl ProxyVariables {
    /// Takes them out of all variables. An empty one counts as none.
    pub(crate) fn of(variables: &[(OsString, OsString)]) -> Self {
        let ours = variables.iter().filter_map(|(name, value)| {
            let (name, value) = (name.to_str()?, value.to_str()?.trim());
            let upper = name.to_ascii_uppercase();
            let is_ours = ADDRESSES.contains(&upper.as_str()) || upper == NO_PROXY;
            let is_spelled = name == upper || name == upper.to_ascii_lowercase();
            (is_ours && is_spelled && !value.is_empty())
                .then(|| (name.to_owned(), value.to_owned()))
        });
        Self(ours.collect())
    }

    /// The name and the value of the variable with the proxy's address.
    pub(crate) fn address(&self) -> Result<Option<(&str, &str)>, Ambiguous> {
        for name in ADDRESSES {
            if let Some(found) = self.of_name(name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The hosts that are connected to directly.
    pub(crate) fn no_proxy(&self) -> Result<&str, Ambiguous> {
        Ok(self.of_name(NO_PROXY)?.map_or("", |(_, value)| value))
    }

    fn of_name(&self, name: &'static str) -> Result<Option<(&str, &str)>, Ambiguous> {
        let upper = self.0.get_key_value(name);
        let lower = self.0.get_key_value(&name.to_ascii_lowercase());
        match (upper, lower) {
            // Programs do not agree on which of them counts.
            (Some((_, upper)), Some((_, lower))) if upper != lower => Err(Ambiguous(name)),
            (upper, lower) => Ok(upper
                .or(lower)
                .map(|(name, value)| (name.as_str(), value.as_str()))),
        }
    }
}
