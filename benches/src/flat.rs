//! `keepgate-bench flat`: what a call costs while more and more sessions are open, and while the server has more and more
//! tools. It should cost the same.

use std::fmt::Write as _;
use std::time::Duration;

use crate::error::Error;
use crate::folder::Folder;
use crate::process::Cores;
use crate::row::{Row, Stage};
use crate::run::{Load, measured, upstream};
use crate::serve;
use crate::workload::Workload;

/// How often each point is measured; a gateway of its own each time.
const ROUNDS: usize = 3;
const WARM: Duration = Duration::from_millis(200);
const MEASURE: Duration = Duration::from_millis(1000);

/// One point of the line that should be flat.
struct Point {
    title: &'static str,
    workload: Workload,
    tools: usize,
    /// Sessions each of the 64 connections opens beside its own.
    sessions: usize,
}

const POINTS: [Point; 6] = [
    point("64 sessions, 3 tools", Workload::Small, 3, 0),
    point("1,024 sessions, 3 tools", Workload::Small, 3, 15),
    point("9,984 sessions, 3 tools", Workload::Small, 3, 155),
    point("no sessions, 10 tools", Workload::Stateless, 10, 0),
    point("no sessions, 1,000 tools", Workload::Stateless, 1_000, 0),
    point("no sessions, 10,000 tools", Workload::Stateless, 10_000, 0),
];

const fn point(title: &'static str, workload: Workload, tools: usize, sessions: usize) -> Point {
    Point {
        title,
        workload,
        tools,
        sessions,
    }
}

/// Measures and prints.
pub(crate) fn run() -> Result<(), Error> {
    let mut samples = vec![Vec::new(); POINTS.len()];
    for round in 0..ROUNDS {
        for (point, samples) in POINTS.iter().zip(&mut samples) {
            samples.push(once(point)?);
        }
        serve::say(&format!("round {} of {ROUNDS} done", round + 1))?;
    }
    let mut table = String::from(
        "| everything on | CPU µs per call, median (least–most) | to the first |\n|---|---|---|\n",
    );
    let mut first = None;
    for (at, (point, samples)) in POINTS.iter().zip(&mut samples).enumerate() {
        samples.sort_by(f64::total_cmp);
        let middle = samples.get(ROUNDS / 2).copied().unwrap_or_default();
        let (least, most) = (samples.first().copied(), samples.last().copied());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        if at % 3 == 0 {
            first = Some(middle);
        }
        let ratio = middle / first.unwrap_or(middle);
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            table,
            "| {} | {middle:.1} ({least:.1}–{most:.1}) | {ratio:.2} |",
            point.title
        );
    }
    serve::say(&table)
}

/// CPU microseconds a call costs a gateway that has just been started.
fn once(point: &Point) -> Result<f64, Error> {
    let cores = Cores::find();
    let (_upstream, upstream) = upstream(cores, point.tools)?;
    let stage = Stage {
        upstream,
        core: cores.map(|cores| cores.proxy),
        folder: Folder::new()?,
        other: None,
    };
    let proxy = Row::Gateway.start(&stage)?;
    let load = Load {
        workload: point.workload,
        sessions: point.sessions,
        warm: WARM,
        measure: MEASURE,
    };
    measured(Row::Gateway, &proxy, &load, cores).map(|sample| sample.cpu)
}
