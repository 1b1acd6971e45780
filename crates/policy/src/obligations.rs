//! What a decision obliges the gateway to do with a call it lets through.
//!
//! Authors write one set for each obligation, named as it is (`redact contains {"result": "/items/*/ssn"} if ..`).
//! Several entries, and several layers, join: caps and times to the least, redactions, limits and labels to the union.
//! What must be one thing (a credential, the value of an argument) and is two is an answer of an unknown shape.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What is to be done with a call and its result. A call for which any of it cannot be done must be refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Obligations {
    /// What nobody may see of the result, in order and each once.
    pub redact: Vec<Redaction>,
    /// How long lists in the result may be, in order and each once.
    pub max_records: Vec<RecordCap>,
    /// Largest result that may be released, in bytes.
    pub max_bytes: Option<u64>,
    /// Rates the call counts against, in order of their names.
    pub limits: Vec<RateLimit>,
    /// Values that take the place of what the caller sent: JSON text by RFC 6901 pointer into `arguments`.
    pub set_arguments: BTreeMap<Arc<str>, Arc<str>>,
    /// Longest the call may take.
    pub timeout: Option<Duration>,
    /// How much of the call is recorded.
    pub audit: AuditLevel,
    /// The reference of the credential the call is armed with, instead of its server's own.
    pub credential: Option<Arc<str>>,
    /// Labels the session carries once the call is answered.
    pub labels: BTreeSet<Arc<str>>,
    /// Targets (`approvals.notify`) that are notified of the approval the call needs, instead of all.
    pub notify: BTreeSet<Arc<str>>,
}

/// Something nobody may see of a result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Redaction {
    /// What it is.
    pub what: Redact,
    /// Whether it is taken out rather than replaced.
    pub remove: bool,
}

/// How what nobody may see is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redact {
    /// By its place in the result: an RFC 6901 pointer in which `*` stands for any one step and `**` for any number.
    Result(Arc<str>),
    /// By the name of the member, at any depth, in any case.
    Field(Arc<str>),
    /// By its looks, in any text.
    Pattern(PatternClass),
}

/// Texts that are known by their looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternClass {
    /// An address of electronic mail (RFC 5321).
    Email,
    /// A payment card's number (ISO/IEC 7812, with its check digit).
    Card,
    /// A bank account (ISO 13616, with its check digits).
    Iban,
    /// A social security number of the United States, with dashes.
    Ssn,
    /// A telephone number in international form (E.164).
    Phone,
    /// An IPv4 address.
    Ipv4,
    /// A JSON Web Token (RFC 7519).
    Jwt,
    /// An access key id of AWS.
    AwsAccessKey,
    /// A private key in PEM (RFC 7468).
    PrivateKey,
    /// A token behind the word `Bearer` (RFC 6750).
    BearerToken,
}

impl PatternClass {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Email,
        Self::Card,
        Self::Iban,
        Self::Ssn,
        Self::Phone,
        Self::Ipv4,
        Self::Jwt,
        Self::AwsAccessKey,
        Self::PrivateKey,
        Self::BearerToken,
    ];

    /// The word authors write.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Ssn => "ssn",
            Self::Phone => "phone",
            Self::Ipv4 => "ipv4",
            Self::Jwt => "jwt",
            Self::AwsAccessKey => "aws_access_key",
            Self::PrivateKey => "private_key",
            Self::BearerToken => "bearer_token",
        }
    }
}

/// How long lists of a result may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordCap {
    /// Most items.
    pub max: u64,
    /// Which list, as [`Redact::Result`] names places; `None` for every list of records.
    pub result: Option<Arc<str>>,
}

/// A rate of the policy's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RateLimit {
    /// Its name: calls that oblige to a limit of the same name, rate and kind count together.
    pub name: Arc<str>,
    /// How many calls.
    pub count: u32,
    /// In which time.
    pub per: Duration,
    /// Whose calls count together.
    pub by: LimitBy,
}

/// Whose calls count together against a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitBy {
    /// Those of one session.
    Session,
    /// Those of one caller.
    Caller,
    /// Those to one server.
    Server,
    /// Those of one caller to one tool.
    Tool,
}

/// How much of a call is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AuditLevel {
    /// Who, what and how it ended.
    #[default]
    Metadata,
    /// The shape of the result as well.
    Summary,
    /// Arguments and result as they were.
    Full,
}

impl AuditLevel {
    /// The word authors write.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Summary => "summary",
            Self::Full => "full",
        }
    }
}

impl Obligations {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another layer asks for. `false` when the two ask for different things where only one can be done.
    #[must_use]
    pub fn join(&mut self, other: Self) -> bool {
        self.redact.extend(other.redact);
        self.max_records.extend(other.max_records);
        self.limits.extend(other.limits);
        self.labels.extend(other.labels);
        self.notify.extend(other.notify);
        self.max_bytes = least(self.max_bytes, other.max_bytes);
        self.timeout = least(self.timeout, other.timeout);
        self.audit = self.audit.max(other.audit);
        let agreed = self.credential.is_none()
            || other.credential.is_none()
            || self.credential == other.credential;
        self.credential = self.credential.take().or(other.credential);
        let mut settled = true;
        for (pointer, value) in other.set_arguments {
            settled &= self.set_argument(pointer, value);
        }
        self.order();
        agreed && settled
    }

    /// Notes the value of an argument. `false` when there is another one for the same place, or for one within or around it.
    pub(crate) fn set_argument(&mut self, pointer: Arc<str>, value: Arc<str>) -> bool {
        let clash = self.set_arguments.iter().any(|(other, held)| {
            let same = **other == *pointer;
            (same && *held != value)
                || (!same && (within(other, &pointer) || within(&pointer, other)))
        });
        self.set_arguments.insert(pointer, value);
        !clash
    }

    /// Brings what is a list into order, each once: the decision must not depend on the order of layers.
    pub(crate) fn order(&mut self) {
        self.redact.sort();
        self.redact.dedup();
        self.max_records.sort();
        self.max_records.dedup();
        self.limits.sort();
        self.limits.dedup();
    }
}

/// Whether a place lies below another.
fn within(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
