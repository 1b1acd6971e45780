//! `decisions` and `shadow`: where decisions are logged, and which policies are tried beside those in force.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use keepgate_credential::Use;
use keepgate_net::Egress;

use super::decode::{At, Decode, Fields, Size};
use super::document::Node;
use super::fault::{Fault, Faults};
use super::raw::{Plaintext, ServerTls};
use super::telemetry::Share;

/// What events may take in memory while they wait.
const BUFFER: usize = 16 << 20;
/// The size at which the file is put aside.
const FILE_SIZE: usize = 64 << 20;
/// How many files are kept that were put aside.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
/// How long events wait for others before they are sent.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long one attempt to send may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where decisions are logged; nowhere by default.
#[derive(Debug, Clone, PartialEq)]
pub struct Decisions {
    /// Whether events hold arguments and what servers answered, secrets masked.
    pub content: bool,
    /// How many decisions a second are logged at most.
    pub per_second: Option<NonZeroUsize>,
    /// What events may take in memory while they wait, in bytes.
    pub buffer: usize,
    /// The file, if one is written.
    pub file: Option<DecisionFile>,
    /// The receiver, if there is one.
    pub upload: Option<Upload>,
}

/// A file with one event a line.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionFile {
    /// The size at which it is put aside, in bytes.
    pub max_size: u64,
    /// How many files are kept that were put aside.
    pub keep: usize,
}

/// A receiver of OPA's decision logs.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// Its address; events go to `/logs` below it.
    pub url: Uri,
    /// What it gets so that it lets the gateway in.
    pub token: Option<Use>,
    /// Certificates (PEM) trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// The way to other machines.
    pub egress: Egress,
    /// How long events wait for others.
    pub interval: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// Policies that are tried beside those in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// Directories with policies, at least one.
    pub policies: Vec<PathBuf>,
    /// The share of calls and lists they are tried on, 0 to 1.
    pub sample: f64,
}

/// `decisions` as it is written.
#[derive(Debug)]
pub(crate) struct RawDecisions {
    pub(crate) content: bool,
    pub(crate) per_second: Option<NonZeroUsize>,
    pub(crate) buffer: Size,
    pub(crate) file: Option<RawFile>,
    pub(crate) upload: Option<RawUpload>,
}

impl Decode for RawDecisions {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let decisions = Self {
            content: fields.or("content", false),
            per_second: fields.optional("max_decisions_per_second"),
            buffer: fields.or("buffer", Size(BUFFER)),
            file: fields.optional("file"),
            upload: fields.optional("upload"),
        };
        let strangers =
            ["content", "max_decisions_per_second", "buffer"].map(|key| fields.has(key));
        if strangers.contains(&true) && !fields.has("file") && !fields.has("upload") {
            let fault = Fault::new(node.origin.clone(), path, "says not where decisions go");
            fields
                .fault(fault.hint("write `file: {}`, or `upload: { url: https://logs.example }`"));
        }
        fields.finish();
        Some(decisions)
    }
}

/// `decisions.file` as it is written.
#[derive(Debug)]
pub(crate) struct RawFile {
    pub(crate) max_size: Size,
    pub(crate) keep: NonZeroUsize,
}

impl Decode for RawFile {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let file = Self {
            max_size: fields.or("max_size", Size(FILE_SIZE)),
            keep: fields.or("keep", KEPT),
        };
        fields.finish();
        Some(file)
    }
}

/// `decisions.upload` as it is written.
#[derive(Debug)]
pub(crate) struct RawUpload {
    pub(crate) url: Option<At<String>>,
    pub(crate) token: Option<At<String>>,
    pub(crate) plaintext: Option<Plaintext>,
    pub(crate) ca: Option<At<String>>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

impl Decode for RawUpload {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let tls: Option<ServerTls> = fields.optional("tls");
        let upload = Self {
            url: fields.required("url", "name the receiver, like https://logs.example"),
            token: fields.optional("token"),
            plaintext: fields.optional("plaintext"),
            ca: tls.and_then(|tls| tls.ca),
            interval: fields.or("interval", INTERVAL),
            timeout: fields.or("timeout", TIMEOUT),
        };
        fields.finish();
        Some(upload)
    }
}

/// `shadow` as it is written.
#[derive(Debug)]
pub(crate) struct RawShadow {
    pub(crate) policies: Vec<At<String>>,
    pub(crate) sample: f64,
}

impl Decode for RawShadow {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let shadow = Self {
            policies: fields
                .required(
                    "policies",
                    "name the directories to try: `policies: [./candidate]`",
                )
                .unwrap_or_default(),
            sample: fields.or("sample", Share(1.0)).0,
        };
        fields.refuse_empty("policies");
        fields.finish();
        Some(shadow)
    }
}
