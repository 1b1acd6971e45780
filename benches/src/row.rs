//! The rows of the table: what stands between driver and upstream.

pub(crate) mod command;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::Error;
use crate::folder::{Folder, Rules};
use crate::process::Part;
use crate::serve::LISTENING;
use crate::traffic::Destination;
use crate::workload::Workload;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Row {
    /// No proxy: what latency is added to.
    Direct,
    /// hyper's server and client, bodies streamed. The 1.00 of the table.
    Bare,
    /// The same with both envelopes parsed.
    Envelope,
    /// Keepgate's `transport` at both ends.
    Relay,
    /// and its `mcp`.
    Decode,
    /// and its `policy`.
    Policy,
    /// and its `audit`.
    Audit,
    /// The whole gateway under a policy of one rule.
    Open,
    /// The whole gateway under the realistic policy.
    Gateway,
    /// The same, as the `keepgate` command runs it.
    Command,
    /// The whole gateway under the realistic policy, of another build of this bench: what a change costs.
    Other,
}

impl Row {
    /// Every row, in the table's order.
    pub(crate) const ALL: [Self; 11] = [
        Self::Direct,
        Self::Bare,
        Self::Envelope,
        Self::Relay,
        Self::Decode,
        Self::Policy,
        Self::Audit,
        Self::Open,
        Self::Gateway,
        Self::Command,
        Self::Other,
    ];

    /// The row's heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "no proxy",
            Self::Bare => "bare hyper proxy, streams",
            Self::Envelope => "hyper proxy, parses request and reply envelope",
            Self::Relay => "our relay",
            Self::Decode => "+ decode",
            Self::Policy => "+ policy (12 Rego rules)",
            Self::Audit => "+ audit",
            Self::Open => "everything on, a policy of one rule",
            Self::Gateway => "everything on",
            Self::Command => "everything on, as `keepgate serve`",
            Self::Other => "everything on, in the other build",
        }
    }

    /// Whether the row is measured on this workload. Without a proxy only latency can be.
    pub(crate) fn meets(self, workload: Workload) -> bool {
        self != Self::Direct || workload == Workload::Single
    }

    /// Whether the row can be started here: the command and another build are programs that somebody must have built.
    pub(crate) fn is_here(self, other: Option<&Path>) -> bool {
        let missing = (self == Self::Command && command::program().is_none())
            || (self == Self::Other && other.is_none());
        !missing
    }

    /// Starts the row's proxy.
    pub(crate) fn start(self, stage: &Stage) -> Result<Started, Error> {
        let upstream = stage.upstream.to_string();
        match self {
            Self::Direct => Ok(Started {
                part: None,
                to: destination(stage.upstream),
            }),
            Self::Bare => self.own(stage, &["bare", &upstream]),
            Self::Envelope => self.own(stage, &["bare", &upstream, "--reading", "envelope"]),
            Self::Relay => self.layers(stage, "relay"),
            Self::Decode => self.layers(stage, "decode"),
            Self::Policy => self.layers(stage, "policy"),
            Self::Audit => self.layers(stage, "audit"),
            Self::Open => self.gateway(stage, "state-open", Rules::Open),
            Self::Gateway => self.gateway(stage, "state-realistic", Rules::Realistic),
            Self::Other => self.gateway(stage, "state-other", Rules::Realistic),
            Self::Command => command::start(stage, self.title()),
        }
    }

    fn gateway(self, stage: &Stage, state: &str, rules: Rules) -> Result<Started, Error> {
        let policy = stage.folder.policy(rules);
        let state = stage.folder.path(state);
        let upstream = stage.upstream.to_string();
        let (policy, state) = (policy.to_string_lossy(), state.to_string_lossy());
        let arguments = ["gateway", &upstream, "--policy", &policy, "--state", &state];
        let mut started = self.own(stage, &arguments)?;
        if let Some(part) = &mut started.part {
            started.to.key = Some(part.hear("")?);
        }
        Ok(started)
    }

    fn layers(self, stage: &Stage, with: &str) -> Result<Started, Error> {
        let policy = stage.folder.policy(Rules::Realistic);
        let log = stage.folder.path(&format!("log-{with}"));
        let upstream = stage.upstream.to_string();
        let mut arguments = vec!["layers", &upstream, "--with", with, "--policy"];
        let (policy, log) = (policy.to_string_lossy(), log.to_string_lossy());
        arguments.extend([&policy, "--log", &log]);
        self.own(stage, &arguments)
    }

    fn own(self, stage: &Stage, arguments: &[&str]) -> Result<Started, Error> {
        let mut part = match (self, &stage.other) {
            (Self::Other, Some(program)) => Part::of(self.title(), program, arguments, stage.core)?,
            _ => Part::own(self.title(), arguments, stage.core)?,
        };
        let address = part.hear(LISTENING)?;
        match address.parse() {
            Ok(address) => Ok(Started {
                part: Some(part),
                to: destination(address),
            }),
            Err(_) => Err(Error::Reply(address)),
        }
    }
}

/// What a row's proxy is started on.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Where calls go in the end.
    pub(crate) upstream: SocketAddr,
    /// The core the proxy runs on.
    pub(crate) core: Option<usize>,
    /// Policies and logs.
    pub(crate) folder: Folder,
    /// Another build of this bench.
    pub(crate) other: Option<PathBuf>,
}

/// A row's proxy, running.
#[derive(Debug)]
pub(crate) struct Started {
    part: Option<Part>,
    to: Destination,
}

impl Started {
    /// The proxy's process id; none without a proxy.
    pub(crate) fn id(&self) -> Option<u32> {
        self.part.as_ref().map(Part::id)
    }

    /// Where calls to this row go.
    pub(crate) fn destination(&self) -> &Destination {
        &self.to
    }
}

fn destination(address: SocketAddr) -> Destination {
    Destination {
        address,
        path: "/bench/mcp".to_owned(),
        key: None,
    }
}
