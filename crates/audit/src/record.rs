//! The record: one event, written as one canonical JSON object (RFC 8785). This file is the contract of the format.
//!
//! Members stand in the order of their names, without white space; strings are escaped as RFC 8785 §3.2.2.2 says; numbers
//! are integers below 2^53. What is not known is left out. There is no other member than those written here.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

mod read;
mod write;

pub(crate) use read::{Head, read};
pub(crate) use write::{
    LogNote, MAX_DIGITS, MAX_RECORD, Stamp, decision_id_member, scatter, write, write_number,
};

/// Version of the record format, member `v`.
pub(crate) const VERSION: u64 = 1;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every value there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word that stands in the record.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The value with this word, if there is one.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }
    };
}

words! {
    /// What happened, member `kind`.
    Kind {
        /// A call is about to be sent upstream. Durable before it is.
        CallIntent = "call.intent",
        /// The upstream began to answer with a stream.
        CallOpen = "call.open",
        /// A call that had an intent is over.
        CallOutcome = "call.outcome",
        /// A call was refused before it had an intent.
        CallRefused = "call.refused",
        /// Records equal to an earlier one, counted instead of written; `decision_id` is that of the first.
        RecordRepeated = "record.repeated",
        /// A list went to a client, with what it may not see taken out.
        ListFiltered = "list.filtered",
        /// A session began.
        SessionStart = "session.start",
        /// A session ended.
        SessionEnd = "session.end",
        /// Someone could not prove who they are.
        AuthDenied = "auth.denied",
        /// An upstream asked something of the client (sampling, elicitation, roots) and it was judged.
        ServerRequest = "server_request",
        /// A policy revision took effect.
        PolicyActivated = "policy.activated",
        /// A policy revision was refused; the last good one stays.
        PolicyRejected = "policy.rejected",
        /// A configuration took effect: the SHA-256 of its file, and the keys of it that wait for a restart, in the reasons.
        ConfigActivated = "config.activated",
        /// A configuration was refused; the last good one stays.
        ConfigRejected = "config.rejected",
        /// An operator cut something off.
        KillSet = "kill.set",
        /// An operator ended a kill, or its time was over.
        KillCleared = "kill.cleared",
        /// An operator asked what a kill would cut.
        KillDrill = "kill.drill",
        /// A kill has not reached everything: something is not revoked, cut or ended yet.
        KillPartial = "kill.partial",
        /// A kill that was partial has reached everything.
        KillCompleted = "kill.completed",
        /// A call waits for a person's decision.
        ApprovalRequested = "approval.requested",
        /// An operator has approved or denied a call that waits.
        ApprovalDecided = "approval.decided",
        /// A call uses an approval. Durable before it is made.
        ApprovalConsumed = "approval.consumed",
        /// An approval ended without a decision of its own: its time is over, or it was taken back.
        ApprovalEnded = "approval.ended",
        /// An operator logged in to the console.
        OperatorLogin = "operator.login",
        /// The wall clock has jumped, by the seconds in the reason.
        ClockJumped = "clock.jumped",
        /// The log was opened; says what was found.
        LogOpened = "log.opened",
        /// The log was closed in order.
        LogClosed = "log.closed",
        /// Records could not be kept; says how many.
        LogLoss = "log.loss",
        /// The log is alive.
        Heartbeat = "heartbeat",
    }
}

impl Kind {
    /// Whether this kind may use the reserve of a full disk: it ends something already begun, or is about the log itself.
    #[must_use]
    pub(crate) const fn may_use_reserve(self) -> bool {
        match self {
            Self::CallOpen
            | Self::CallOutcome
            | Self::RecordRepeated
            | Self::SessionEnd
            | Self::PolicyActivated
            | Self::PolicyRejected
            | Self::ConfigActivated
            | Self::ConfigRejected
            | Self::KillSet
            | Self::KillCleared
            | Self::KillDrill
            | Self::KillPartial
            | Self::KillCompleted
            | Self::ApprovalDecided
            | Self::ApprovalConsumed
            | Self::ApprovalEnded
            | Self::OperatorLogin
            | Self::ClockJumped
            | Self::LogOpened
            | Self::LogClosed
            | Self::LogLoss
            | Self::Heartbeat => true,
            Self::CallIntent
            | Self::CallRefused
            | Self::ListFiltered
            | Self::SessionStart
            | Self::AuthDenied
            | Self::ApprovalRequested
            | Self::ServerRequest => false,
        }
    }
}

words! {
    /// What the policy said, member `decision`.
    Decision {
        /// The call may go.
        Allow = "allow",
        /// The call may not go.
        Deny = "deny",
        /// Somebody has to approve the call first.
        Approve = "approve",
    }
}

words! {
    /// How a call ended, member `result.status`.
    Status {
        /// The upstream answered with a result.
        Ok = "ok",
        /// The upstream answered with a JSON-RPC error.
        Error = "error",
        /// The tool ran and said `isError`.
        ToolError = "tool_error",
        /// The client went away before the end.
        Abandoned = "abandoned",
        /// The client cancelled.
        Cancelled = "cancelled",
        /// The upstream could not be reached, broke the protocol or ended in the middle.
        UpstreamFailed = "upstream_failed",
        /// The kill switch cut the call while it ran. What the upstream did of it is not known.
        Killed = "killed_in_flight",
        /// The gateway held the answer back or cut the call.
        Withheld = "withheld",
    }
}

/// Who called, as authenticated.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// `anonymous`, `machine`, `user`… (member `caller_kind`).
    pub kind: &'a str,
    /// The subject, within the issuer if there is one (member `user_id`).
    pub user_id: &'a str,
    /// Who vouches for the subject; none for what the gateway itself knows (member `issuer`).
    pub issuer: Option<&'a str>,
    /// The OAuth client the caller's token was issued to (member `client_id`).
    pub client_id: Option<&'a str>,
    /// The API key's id, never the key (member `key_id`).
    pub key_id: Option<&'a str>,
}

/// What the client says of itself; a claim, never proof (member `client`).
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// `clientInfo.name`.
    pub name: &'a str,
    /// `clientInfo.version`.
    pub version: &'a str,
}

/// One reason of a decision (member `reasons`).
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a> {
    /// Stable code.
    pub code: &'a str,
    /// What the author of the rule wrote; may be empty, then left out.
    pub message: &'a str,
}

/// The credentials the gateway sent with a call, never their values (member `cred`).
#[derive(Debug, Clone, Copy)]
pub struct Credential<'a> {
    /// Where they are, as the configuration says, with spaces between, which no reference has; where one could not be had, that
    /// one (member `ref`).
    pub reference: &'a str,
    /// Keyed digest of the id of its lease, from [`crate::Log::digest`]; of several credentials one for each, with spaces
    /// between, and `-` for one without a lease (member `lease_id`).
    pub lease_id: Option<&'a str>,
    /// Why there was none (member `fault`).
    pub fault: Option<&'a str>,
    /// Places of the answer that held a secret and were masked (member `masked`).
    pub masked: Option<u64>,
}

/// What policies that are tried beside those in force would have decided (member `shadow`). Nothing followed from it.
#[derive(Debug, Clone, Copy)]
pub struct Shadow<'a> {
    /// `would_allow`, `would_deny` and the like.
    pub would: &'a str,
    /// The codes it would have been for, with spaces between them; may be empty, then left out.
    pub codes: &'a str,
    /// Which policies (member `policy_rev`).
    pub policy_rev: &'a str,
}

words! {
    /// Common ground of records that share one, member `repeat.scope`.
    Scope {
        /// Everything: caller, session, server, method, what it is about, code and rule.
        Equal = "equal",
        /// Caller and code: the caller had too many different ones at once.
        Caller = "caller",
        /// The code alone: too many callers had some at once.
        Code = "code",
    }
}

/// Records that share one (member `repeat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Stands in the first, which is written whole: those that follow within `within` are counted, not written.
    Opened {
        /// Time in which they are counted; whole seconds in the record (member `within_s`).
        within: Duration,
        /// Common ground with it.
        scope: Scope,
    },
    /// Stands in the record that counts.
    Counted {
        /// Number of them after the first.
        count: u64,
        /// When the first of those was (member `first`).
        first: SystemTime,
        /// When the last of those was (member `last`).
        last: SystemTime,
        /// Their common ground.
        scope: Scope,
    },
}

/// How a call ended (member `result`).
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// How it ended.
    pub status: Status,
    /// HTTP status of the upstream's answer.
    pub http_status: Option<u16>,
    /// Bytes of the answer given to the client.
    pub bytes: Option<u64>,
    /// Time the upstream took; whole milliseconds in the record (member `upstream_ms`).
    pub upstream: Option<Duration>,
    /// Keyed digest of the answer, from [`crate::Log::digest`].
    pub result_digest: Option<&'a str>,
    /// Records in the result, where policy wants a summary.
    pub records: Option<u64>,
    /// The names of the result's members, where policy wants a summary; left out when empty.
    pub keys: &'a [Cow<'a, str>],
    /// The answer in clear, as it was released: the text of `result` or `error`, kept as a string. Where policy wants it.
    pub output: Option<&'a str>,
    /// Places of the answer that policy had redacted.
    pub redacted: Option<u64>,
    /// Records of the answer that policy had cut.
    pub records_cut: Option<u64>,
}

impl Outcome<'_> {
    /// An outcome of which only the status is known.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self {
            status,
            http_status: None,
            bytes: None,
            upstream: None,
            result_digest: None,
            records: None,
            keys: &[],
            output: None,
            redacted: None,
            records_cut: None,
        }
    }
}

/// One event. Build it with [`Record::new`] and struct update syntax.
///
/// The log adds `v`, `event_id` (UUIDv7), `seq`, `node` and `boot_id`. A record longer than 65,535 bytes loses first
/// `input_params` and `result.output`, then the ends of its strings, `undeclared` and `result.keys`, and says so in member `cut`.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// What happened (member `kind`).
    pub kind: Kind,
    /// When it happened, to the microsecond (member `timestamp`, RFC 3339, UTC).
    pub at: SystemTime,
    /// The approval it is about, or that the call used (member `approval`).
    pub approval: Option<&'a str>,
    /// Joins the records of one call, and is told to the client (member `decision_id`).
    pub decision_id: Option<&'a str>,
    /// Keyed digest of the session's id, never the id (member `session_id`).
    pub session_id: Option<&'a str>,
    /// Tenant (member `tenant`).
    pub tenant: Option<&'a str>,
    /// Who called.
    pub caller: Option<Caller<'a>>,
    /// What the client says of itself.
    pub client: Option<Client<'a>>,
    /// The credential the gateway sent with the call.
    pub credential: Option<Credential<'a>>,
    /// Where the connection came from (member `src.ip`).
    pub source: Option<IpAddr>,
    /// Who began it: `human`, `schedule`, `agent`; a claim (member `initiated_by`).
    pub initiated_by: Option<&'a str>,
    /// The server's name in the configuration (member `server`).
    pub server: Option<&'a str>,
    /// The MCP method (member `method`).
    pub method: Option<&'a str>,
    /// The tool (member `tool_name`).
    pub tool_name: Option<&'a str>,
    /// The resource's URI (member `resource`).
    pub resource: Option<&'a str>,
    /// The prompt's name (member `prompt`).
    pub prompt: Option<&'a str>,
    /// The MCP revision (member `protocol_version`).
    pub protocol_version: Option<&'a str>,
    /// Keyed digest of the arguments, from [`crate::Log::digest`] (member `args_digest`).
    pub args_digest: Option<&'a str>,
    /// Keyed digest that binds an approval to its call, with a key of the approvals' own (member `call_digest`).
    pub call_digest: Option<&'a str>,
    /// BLAKE3 of all that an operator was shown of the call (member `shown`).
    pub shown: Option<&'a str>,
    /// The arguments in clear, the very JSON text that was judged, kept as a string (member `input_params`). Opt-in.
    pub input_params: Option<&'a str>,
    /// Names of the arguments the tool does not declare; left out when empty (member `undeclared`).
    pub undeclared: &'a [Cow<'a, str>],
    /// Bytes of the request (member `request_bytes`).
    pub request_bytes: Option<u64>,
    /// What the policy said (member `decision`).
    pub decision: Option<Decision>,
    /// Which policy said it (member `policy_rev`).
    pub policy_rev: Option<&'a str>,
    /// Why; left out when empty (member `reasons`).
    pub reasons: &'a [Reason<'a>],
    /// Stable code of the refusal (member `refusal`).
    pub refusal: Option<&'a str>,
    /// Its relation to equal records (member `repeat`).
    pub repeat: Option<Repeat>,
    /// How the call ended (member `result`).
    pub result: Option<Outcome<'a>>,
    /// What other policies would have decided (member `shadow`).
    pub shadow: Option<Shadow<'a>>,
}

impl Record<'_> {
    /// A record of which only kind and time are known.
    #[must_use]
    pub const fn new(kind: Kind, at: SystemTime) -> Self {
        Self {
            kind,
            at,
            approval: None,
            decision_id: None,
            session_id: None,
            tenant: None,
            caller: None,
            client: None,
            credential: None,
            source: None,
            initiated_by: None,
            server: None,
            method: None,
            tool_name: None,
            resource: None,
            prompt: None,
            protocol_version: None,
            args_digest: None,
            call_digest: None,
            shown: None,
            input_params: None,
            undeclared: &[],
            request_bytes: None,
            decision: None,
            policy_rev: None,
            reasons: &[],
            refusal: None,
            repeat: None,
            result: None,
            shadow: None,
        }
    }
}

#[cfg(test)]
mod tests;
