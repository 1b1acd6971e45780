//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::bare::Reading;
use crate::drive::Task;
use crate::gateway::Start;
use crate::layers::{Settings, With};
use crate::row::Row;
use crate::run::Plan;
use crate::traffic::Destination;
use crate::workload::Workload;

/// What a call through Keepgate costs on this machine, beside a bare hyper proxy.
#[derive(Debug, Parser)]
#[command(name = "keepgate-bench")]
pub(crate) struct Arguments {
    /// A smoke run of a few seconds; its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Print every figure as JSON instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print how to find out where a proxy's time goes.
    #[arg(long)]
    pub(crate) perf: bool,
    /// How often each proxy meets each workload.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each meeting is measured, in milliseconds.
    #[arg(long, default_value_t = 1500)]
    measure: u64,
    /// How long each meeting is warmed up, in milliseconds.
    #[arg(long, default_value_t = 300)]
    warm: u64,
    /// Only these proxies (the bare one is always among them).
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Another build of this program, whose gateway becomes a row: both are measured in the same rounds.
    #[arg(long)]
    other: Option<PathBuf>,
    /// Only these workloads.
    #[arg(long, value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// One process of a run; started by the run itself.
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// The processes of a run.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// The MCP server behind every proxy.
    Upstream {
        /// How many tools it has; the bench's own are always among them.
        #[arg(long, default_value_t = 0)]
        tools: usize,
    },
    /// A bare hyper proxy.
    Bare {
        /// Where it sends requests.
        upstream: SocketAddr,
        /// How much of the messages it reads.
        #[arg(long, value_enum, default_value = "nothing")]
        reading: Reading,
    },
    /// Keepgate's crates, composed up to one of them.
    Layers(Layers),
    /// The whole gateway.
    Gateway(Gateway),
    /// What judging one call costs.
    Judge(Judge),
    /// One proxy under `perf`.
    Profile(Profile),
    /// The load generator.
    Drive(Drive),
    /// How fast a kill cuts a thousand running calls.
    Kill,
    /// What a call costs with ever more sessions and tools.
    Flat,
    /// Latency of other calls and of the kill switch under hostile streams and answers.
    Saturate,
}

/// What a composition of Keepgate's crates is told.
#[derive(Debug, Args)]
pub(crate) struct Layers {
    /// Where it sends calls.
    upstream: SocketAddr,
    /// The last crate that is switched on.
    #[arg(long, value_enum)]
    with: With,
    /// The folder of Rego policies.
    #[arg(long)]
    policy: PathBuf,
    /// The folder of the audit log.
    #[arg(long)]
    log: PathBuf,
}

impl Layers {
    /// The arguments as the composition takes them.
    pub(crate) fn to_settings(&self) -> Settings {
        Settings {
            with: self.with,
            upstream: self.upstream,
            policy: self.policy.clone(),
            log: self.log.clone(),
        }
    }
}

/// What the gateway is told.
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// Where it sends calls.
    upstream: SocketAddr,
    /// The folder of Rego policies.
    #[arg(long)]
    policy: PathBuf,
    /// The folder of keys and log.
    #[arg(long)]
    state: PathBuf,
}

impl Gateway {
    /// The arguments as the gateway takes them.
    pub(crate) fn to_start(&self) -> Start {
        Start {
            upstream: self.upstream,
            policy: self.policy.clone(),
            state: self.state.clone(),
        }
    }
}

/// What judging is measured on.
#[derive(Debug, Args)]
pub(crate) struct Judge {
    /// The folder of Rego policies.
    #[arg(long)]
    pub(crate) policy: PathBuf,
    /// Whose call is judged.
    #[arg(long, value_enum, default_value = "small")]
    pub(crate) workload: Workload,
    /// How long to judge, in milliseconds.
    #[arg(long, default_value_t = 300)]
    pub(crate) measure: u64,
}

/// What is profiled.
#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The proxy.
    #[arg(value_enum)]
    pub(crate) row: Row,
    /// The calls it gets.
    #[arg(long, value_enum, default_value = "small")]
    pub(crate) workload: Workload,
    /// For how long, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    pub(crate) measure: u64,
}

/// What the load generator is told.
#[derive(Debug, Args)]
pub(crate) struct Drive {
    /// The proxy's address.
    address: SocketAddr,
    /// The endpoint's path.
    #[arg(long, default_value = "/bench/mcp")]
    path: String,
    /// The API key to call with.
    #[arg(long)]
    key: Option<String>,
    /// Which calls to make.
    #[arg(long, value_enum, default_value = "small")]
    workload: Workload,
    /// How many sessions each connection opens beside the one it uses.
    #[arg(long, default_value_t = 0)]
    sessions: usize,
    /// How long to call before measuring, in milliseconds.
    #[arg(long, default_value_t = 300)]
    warm: u64,
    /// How long to measure, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    measure: u64,
}

impl Drive {
    /// The arguments as the driver takes them.
    pub(crate) fn to_task(&self) -> Task {
        Task {
            to: Destination {
                address: self.address,
                path: self.path.clone(),
                key: self.key.clone(),
            },
            workload: self.workload,
            sessions: self.sessions,
            warm: Duration::from_millis(self.warm),
            measure: Duration::from_millis(self.measure),
        }
    }
}

impl Arguments {
    /// The run these arguments ask for.
    pub(crate) fn plan(&self) -> Plan {
        let chosen =
            |row: &Row| *row == Row::Bare || self.rows.is_empty() || self.rows.contains(row);
        let met =
            |workload: &Workload| self.workloads.is_empty() || self.workloads.contains(workload);
        let (rounds, measure, warm) = if self.quick {
            (1, 150, 50)
        } else {
            (self.rounds.max(1), self.measure, self.warm)
        };
        Plan {
            rows: Row::ALL
                .into_iter()
                .filter(|row| row.is_here(self.other.as_deref()))
                .filter(chosen)
                .collect(),
            workloads: Workload::ALL.into_iter().filter(met).collect(),
            rounds,
            measure: Duration::from_millis(measure),
            warm: Duration::from_millis(warm),
            other: self.other.clone(),
        }
    }
}
