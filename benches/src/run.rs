//! One run: every row of the table in turn, round after round, each round in another order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::drive::{READY, Report};
use crate::error::Error;
use crate::folder::{Folder, Rules};
use crate::process::{Cores, Part};
use crate::row::{Row, Stage, Started};
use crate::serve::LISTENING;
use crate::usage::{Usage, machine, resident};
use crate::workload::Workload;

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The rows, in the table's order.
    pub(crate) rows: Vec<Row>,
    /// The columns, in the table's order.
    pub(crate) workloads: Vec<Workload>,
    /// How many times each row meets each workload.
    pub(crate) rounds: usize,
    /// How long each meeting is measured.
    pub(crate) measure: Duration,
    /// How long each meeting is warmed up.
    pub(crate) warm: Duration,
    /// Another build of this bench, whose gateway is a row.
    pub(crate) other: Option<PathBuf>,
}

/// What one row showed on one workload in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// The proxy's CPU microseconds per call.
    pub(crate) cpu: f64,
    /// Median latency in microseconds.
    pub(crate) p50: f64,
    /// Calls per second.
    pub(crate) rate: f64,
}

/// Everything a run measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The machine, in words.
    pub(crate) machine: String,
    /// Whether proxy and others had a core each.
    pub(crate) pinned: bool,
    /// One sample a round.
    pub(crate) samples: BTreeMap<(Row, Workload), Vec<Sample>>,
    /// CPU microseconds of judging one call by the realistic policy, one figure a round.
    pub(crate) judging: BTreeMap<Workload, Vec<f64>>,
    /// Resident memory after the run, in MiB.
    pub(crate) memory: BTreeMap<Row, f64>,
    /// The same with [`SESSIONS`] sessions more.
    pub(crate) crowded: BTreeMap<Row, f64>,
}

/// How many sessions are opened on each proxy at the end of a run.
pub(crate) const SESSIONS: usize = 1000;

/// Starts the upstream, with so many tools, on the core of the others and gives its address.
pub(crate) fn upstream(cores: Option<Cores>, tools: usize) -> Result<(Part, SocketAddr), Error> {
    let core = cores.map(|cores| cores.others);
    let tools = tools.to_string();
    let mut part = Part::own("upstream", &["upstream", "--tools", &tools], core)?;
    let address = part.hear(LISTENING)?;
    match address.parse() {
        Ok(address) => Ok((part, address)),
        Err(_) => Err(Error::Reply(address)),
    }
}

/// Carries out the plan. `progress` hears a line before each round.
pub(crate) fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Measured, Error> {
    let cores = Cores::find();
    let (_upstream, upstream) = upstream(cores, 0)?;
    let mut measured = Measured {
        machine: machine(),
        pinned: cores.is_some(),
        samples: BTreeMap::new(),
        judging: BTreeMap::new(),
        memory: BTreeMap::new(),
        crowded: BTreeMap::new(),
    };
    let stage = Stage {
        upstream,
        core: cores.map(|cores| cores.proxy),
        folder: Folder::new()?,
        other: plan.other.clone(),
    };
    let mut proxies = Vec::new();
    for row in &plan.rows {
        proxies.push((*row, row.start(&stage)?));
    }
    for round in 0..plan.rounds {
        for workload in &plan.workloads {
            progress(&format!(
                "round {} of {}: {}",
                round + 1,
                plan.rounds,
                workload.title()
            ));
            for turn in 0..proxies.len() {
                // Each round begins one row later, so that no row always follows the same one.
                let at = (round + turn) % proxies.len();
                let Some((row, proxy)) = proxies.get(at).filter(|(row, _)| row.meets(*workload))
                else {
                    continue;
                };
                let sample = sample(plan, *row, proxy, *workload, cores)?;
                let samples = measured.samples.entry((*row, *workload)).or_default();
                samples.push(sample);
            }
            if plan.rows.contains(&Row::Gateway) {
                let figures = measured.judging.entry(*workload).or_default();
                figures.push(judging(plan, &stage, *workload)?);
            }
        }
    }
    progress("memory");
    for (row, proxy) in &proxies {
        if let Some(id) = proxy.id() {
            measured.memory.insert(*row, resident(id)?);
            measured.crowded.insert(*row, crowded(proxy, id, cores)?);
        }
    }
    Ok(measured)
}

/// What judging the workload's call costs, measured on the proxy's core.
fn judging(plan: &Plan, stage: &Stage, workload: Workload) -> Result<f64, Error> {
    let policy = stage.folder.policy(Rules::Realistic);
    let (policy, measure) = (policy.to_string_lossy(), plan.measure.as_millis() / 3);
    let measure = measure.to_string();
    let mut arguments = vec!["judge", "--policy", &policy, "--measure", &measure];
    arguments.extend(["--workload", workload.name()]);
    let said = Part::own("judge", &arguments, stage.core)?.hear("")?;
    said.parse().map_err(|_| Error::Reply(said))
}

/// Memory with many sessions open.
fn crowded(proxy: &Started, id: u32, cores: Option<Cores>) -> Result<f64, Error> {
    let load = Load {
        workload: Workload::Single,
        sessions: SESSIONS,
        warm: Duration::ZERO,
        measure: Duration::ZERO,
    };
    let mut driver = driver(proxy, &load, cores)?;
    driver.hear(READY)?;
    resident(id)
}

fn sample(
    plan: &Plan,
    row: Row,
    proxy: &Started,
    workload: Workload,
    cores: Option<Cores>,
) -> Result<Sample, Error> {
    let load = Load {
        workload,
        sessions: 0,
        warm: plan.warm,
        measure: plan.measure,
    };
    measured(row, proxy, &load, cores)
}

/// One meeting of a proxy and a load.
pub(crate) fn measured(
    row: Row,
    proxy: &Started,
    load: &Load,
    cores: Option<Cores>,
) -> Result<Sample, Error> {
    let mut driver = driver(proxy, load, cores)?;
    driver.hear(READY)?;
    let before = proxy.id().map(Usage::of).transpose()?;
    driver.say("go")?;
    let report: Report = serde_json::from_str(&driver.hear("")?).map_err(Error::Report)?;
    let after = proxy.id().map(Usage::of).transpose()?;
    driver.say("end")?;
    driver.wait();
    if report.errors > 0 {
        return Err(Error::Calls {
            errors: report.errors,
            calls: report.calls,
            proxy: row.title().to_owned(),
            workload: load.workload.title(),
            first: report.first_error.unwrap_or_default(),
        });
    }
    let used = match (before, after) {
        (Some(before), Some(after)) => after.since(&before),
        _ => Duration::ZERO,
    };
    let calls = precise(report.calls);
    Ok(Sample {
        cpu: used.as_secs_f64() * 1e6 / calls,
        p50: report.p50,
        rate: calls / report.seconds,
    })
}

/// What a driver is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Which calls.
    pub(crate) workload: Workload,
    /// How many sessions each connection opens beside its own.
    pub(crate) sessions: usize,
    /// How long to call before measuring.
    pub(crate) warm: Duration,
    /// How long to measure.
    pub(crate) measure: Duration,
}

/// Starts a driver on the core of the others.
pub(crate) fn driver(proxy: &Started, load: &Load, cores: Option<Cores>) -> Result<Part, Error> {
    let to = proxy.destination();
    let address = to.address.to_string();
    let [sessions, warm, measure] = [
        load.sessions.to_string(),
        load.warm.as_millis().to_string(),
        load.measure.as_millis().to_string(),
    ];
    let mut arguments = vec!["drive", &address, "--path", &to.path];
    arguments.extend(["--workload", load.workload.name(), "--sessions", &sessions]);
    arguments.extend(["--warm", &warm, "--measure", &measure]);
    if let Some(key) = &to.key {
        arguments.extend(["--key", key]);
    }
    Part::own("driver", &arguments, cores.map(|cores| cores.others))
}

/// A count as a float; counts here are far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls stay far below 2^53"
)]
fn precise(count: u64) -> f64 {
    count as f64
}
