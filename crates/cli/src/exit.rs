//! The codes the program ends with. They are a contract: scripts and service managers tell cases apart by them.

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Success,
    /// What was asked for is not so: a policy test failed, a key or record is not there.
    Negative,
    /// The command line makes no sense.
    Usage,
    /// The configuration is not valid.
    Configuration,
    /// The policies are not valid.
    Policy,
    /// The audit log was changed.
    Tampered,
    /// The gateway could not start: an address is taken, a certificate cannot be read.
    Start,
    /// Signed records of the audit log are gone.
    Truncated,
    /// The audit log is not signed by the key given.
    Unsigned,
    /// The audit log has the outcome of a call that was never announced.
    Unannounced,
    /// Files of the state directory cannot be read or written.
    State,
    /// The operators' listener of the gateway cannot be reached; nothing was done.
    Unreachable,
    /// The operator's token is wrong, or its roles do not allow it.
    Forbidden,
    /// It is in force, but a restart undoes it: nothing could be written.
    Fleeting,
    /// An item of readiness is missing.
    Unready,
    /// The candidate allows something that was refused.
    Widened,
    /// The candidate refuses something that was allowed, and allows nothing more.
    Narrowed,
    /// Nothing was seen to widen, but some records could not be replayed.
    Unreplayed,
    /// The kill is active, but something in its scope is not revoked, cut or ended yet.
    Partial,
}

impl Exit {
    /// Every code with what it means, for the help text.
    pub const ALL: [(Self, &'static str); 19] = [
        (Self::Success, "done"),
        (
            Self::Negative,
            "not so: a test failed, a key or record is not there",
        ),
        (Self::Usage, "wrong command line"),
        (Self::Configuration, "configuration not valid"),
        (Self::Policy, "policies not valid"),
        (Self::Tampered, "audit log was changed"),
        (
            Self::Start,
            "cannot start: address taken, certificate unusable",
        ),
        (Self::Truncated, "signed records of the audit log are gone"),
        (Self::Unsigned, "audit log is not signed by the key given"),
        (
            Self::Unannounced,
            "audit log has the outcome of a call never announced",
        ),
        (
            Self::State,
            "files of the state directory or log cannot be used",
        ),
        (
            Self::Unreachable,
            "the gateway cannot be reached, nothing was done",
        ),
        (Self::Forbidden, "token wrong, or its roles do not allow it"),
        (
            Self::Fleeting,
            "in force, but not durable: a restart undoes it",
        ),
        (Self::Unready, "not ready: something is missing"),
        (Self::Widened, "replay: the candidate allows more"),
        (Self::Narrowed, "replay: the candidate allows less"),
        (Self::Unreplayed, "replay: some records say nothing"),
        (
            Self::Partial,
            "killed in part: something is not revoked, cut or ended yet",
        ),
    ];

    /// The word of the code, in errors for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Negative => "negative",
            Self::Usage => "usage",
            Self::Configuration => "configuration",
            Self::Policy => "policy",
            Self::Tampered => "tampered",
            Self::Start => "start",
            Self::Truncated => "truncated",
            Self::Unsigned => "unsigned",
            Self::Unannounced => "unannounced",
            Self::State => "state",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::Fleeting => "not_durable",
            Self::Unready => "unready",
            Self::Widened => "widened",
            Self::Narrowed => "narrowed",
            Self::Unreplayed => "unreplayed",
            Self::Partial => "partial",
        }
    }

    /// The code of the process.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Negative => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Policy => 4,
            Self::Tampered => 5,
            Self::Start => 6,
            Self::Truncated => 7,
            Self::Unsigned => 8,
            Self::Unannounced => 9,
            Self::State => 10,
            Self::Unreachable => 11,
            Self::Forbidden => 12,
            Self::Fleeting => 13,
            Self::Unready => 14,
            Self::Widened => 15,
            Self::Narrowed => 16,
            Self::Unreplayed => 17,
            Self::Partial => 18,
        }
    }
}
