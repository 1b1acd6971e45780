//! The revisions of MCP as values: what each one has, as a table.

#[cfg(test)]
mod tests;
mod v2024_11_05;
mod v2025_03_26;
mod v2025_06_18;
mod v2025_11_25;
mod v2026_07_28;

use crate::method::{Direction, Method};

/// A revision of MCP we speak, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2024-11-05
    V2024_11_05,
    /// 2025-03-26
    V2025_03_26,
    /// 2025-06-18
    V2025_06_18,
    /// 2025-11-25
    V2025_11_25,
    /// 2026-07-28
    V2026_07_28,
}

/// The two ways of running the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// `initialize`, a session, streams that outlive a request.
    Stateful,
    /// Every request says all about itself.
    Stateless,
}

/// What a revision has. All of it is read from the specification of that revision.
#[derive(Debug)]
pub struct Facts {
    /// The name on the wire.
    pub name: &'static str,
    /// With sessions or without.
    pub era: Era,
    /// `initialize` opens.
    pub handshake: bool,
    /// `Mcp-Session-Id` means something.
    pub sessions: bool,
    /// A body may be an array.
    pub batches: bool,
    /// The client must send `MCP-Protocol-Version` after the handshake.
    pub version_header: bool,
    /// `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` mirror the body and must match.
    pub mirrored_headers: bool,
    /// GET opens a stream.
    pub get_stream: bool,
    /// DELETE ends a session.
    pub delete: bool,
    /// `Last-Event-ID` resumes a stream.
    pub resume: bool,
    /// A stream the client closes cancels the request it answers.
    pub disconnect_cancels: bool,
    /// The server may put requests on a stream.
    pub server_requests: bool,
    /// The client may POST responses.
    pub clients_may_respond: bool,
    /// `ttlMs` and `cacheScope` belong into cacheable results.
    pub caching_hints: bool,
    /// An upstream may answer `-32042`.
    pub url_elicitation_error: bool,
    /// What a client may send.
    pub to_server: &'static [Method],
    /// What a server may send.
    pub to_client: &'static [Method],
}

impl Revision {
    /// All, oldest first.
    pub const ALL: &'static [Self] = &[
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// The newest with sessions.
    pub const LATEST_STATEFUL: Self = Self::V2025_11_25;

    /// The newest without.
    pub const LATEST_STATELESS: Self = Self::V2026_07_28;

    /// What a client speaks that has no session and names no version (2025-06-18 basic/transports.mdx).
    pub const ASSUMED: Self = Self::V2025_03_26;

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// The revision of that exact name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|revision| revision.as_str() == name)
    }

    /// What the revision has.
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::V2024_11_05 => &v2024_11_05::FACTS,
            Self::V2025_03_26 => &v2025_03_26::FACTS,
            Self::V2025_06_18 => &v2025_06_18::FACTS,
            Self::V2025_11_25 => &v2025_11_25::FACTS,
            Self::V2026_07_28 => &v2026_07_28::FACTS,
        }
    }

    /// With sessions or without.
    pub fn era(self) -> Era {
        self.facts().era
    }

    /// Whether the revision lets that method travel that way. Methods we do not know: never.
    pub fn permits(self, method: &Method, direction: Direction) -> bool {
        let facts = self.facts();
        match direction {
            Direction::ToServer => facts.to_server.contains(method),
            Direction::ToClient => facts.to_client.contains(method),
        }
    }

    /// The stateful revision to offer a client that asked for `requested`: that one if we speak it, else the newest
    /// stateful one (basic/lifecycle.mdx "Version Negotiation").
    pub fn negotiate(requested: &str) -> Self {
        Self::parse(requested)
            .filter(|revision| revision.era() == Era::Stateful)
            .unwrap_or(Self::LATEST_STATEFUL)
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
