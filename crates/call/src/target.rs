//! Where a call goes: the tenant and the server, each a type of its own.

use std::{fmt, sync::Arc};

/// A tenant. Every key in every store, log and metric carries one, so that a look-up cannot forget it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant of an installation that has only one.
    pub const DEFAULT: &'static str = "default";

    /// Takes a tenant's name as the configuration or a verified credential gives it.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Arc::from(Self::DEFAULT))
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name a server has in the configuration, and in the path `/{server}/mcp`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 64;

    /// Takes a name of lower-case letters, digits, `-` and `_` that begins with a letter or digit, at most
    /// [`Self::LONGEST`] bytes and without `__` (which separates server and tool in federated names). `None` for any
    /// other: a name is part of a URL path and of policy keys, so it has one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = name.bytes().next().is_some_and(plain);
        let rest = name
            .bytes()
            .all(|byte| plain(byte) || byte == b'-' || byte == b'_');
        (first && rest && name.len() <= Self::LONGEST && !name.contains("__"))
            .then(|| Self(Arc::from(name)))
    }

    /// The name in the path of an endpoint, `/{server}/mcp`; whether there is such a server is another question.
    pub fn of_endpoint(path: &str) -> Option<Self> {
        Self::parse(path.strip_prefix('/')?.strip_suffix("/mcp")?)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ServerName;

    #[test]
    fn a_server_name_has_one_spelling() {
        for good in ["crm", "files-2", "a_b", "0"] {
            assert!(ServerName::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "CRM",
            "a__b",
            "-a",
            "a/b",
            "a.b",
            "%61",
            "a b",
            &"a".repeat(65),
        ] {
            assert!(ServerName::parse(bad).is_none(), "{bad}");
        }
    }
}
