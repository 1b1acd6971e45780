//! Where a proxy's microseconds go: one row under `perf` while one workload runs.

use std::time::Duration;

use crate::drive::{READY, Report};
use crate::error::Error;
use crate::folder::Folder;
use crate::process::{self, Cores, Part};
use crate::row::{Row, Stage};
use crate::run::{self, Load};
use crate::serve;
use crate::workload::Workload;

/// How to profile, for `--perf`.
pub(crate) const HELP: &str = "\
Profile one proxy on one workload (needs `perf`, Debian package linux-perf, and permission to use it):

    keepgate-bench profile gateway --workload small --measure 5000

It samples the CPU clock, which also works in virtual machines without hardware counters, and prints where the time goes:
kernel against program first, then functions, then functions with all they call. Where `perf` is not to be had, count
instructions instead:

    keepgate-bench upstream < /dev/zero &                       # prints its address
    valgrind --tool=callgrind --instr-atstart=no keepgate-bench bare ADDRESS < /dev/zero
    callgrind_control -i on && (echo; sleep 5; echo) | keepgate-bench drive PROXY_ADDRESS --measure 3000
    callgrind_annotate callgrind.out.*
";

/// How often a second the CPU clock is sampled; odd, so as not to beat with timers.
const FREQUENCY: &str = "1999";

/// Profiles `row` on `workload` for `measure`.
pub(crate) fn run(row: Row, workload: Workload, measure: Duration) -> Result<(), Error> {
    let cores = Cores::find();
    let (_upstream, upstream) = run::upstream(cores, 0)?;
    let stage = Stage {
        upstream,
        core: cores.map(|cores| cores.proxy),
        folder: Folder::new()?,
        other: None,
    };
    let proxy = row.start(&stage)?;
    let Some(id) = proxy.id() else {
        return Err(Error::Reply("a profile of no proxy".into()));
    };
    let load = Load {
        workload,
        sessions: 0,
        warm: Duration::from_millis(500),
        // perf needs a moment to begin; the calls go on around it.
        measure: measure + Duration::from_secs(1),
    };
    let mut driver: Part = run::driver(&proxy, &load, cores)?;
    driver.hear(READY)?;
    driver.say("go")?;
    let data = stage.folder.path("perf.data");
    let (data, id) = (data.to_string_lossy(), id.to_string());
    let seconds = format!("{:.1}", measure.as_secs_f64());
    let mut record = vec!["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-g"];
    record.extend(["-p", &id, "-o", &data, "--", "sleep", &seconds]);
    process::tool("perf", &record)?;
    let report: Report = serde_json::from_str(&driver.hear("")?).map_err(Error::Report)?;
    serve::say(&format!(
        "{} on {}: {} calls, {} errors, p50 {:.0} µs",
        row.title(),
        workload.title(),
        report.calls,
        report.errors,
        report.p50
    ))?;
    let show = |arguments: &[&str]| {
        let mut all = vec!["report", "-i", &data, "--stdio", "-g", "none"];
        all.extend(arguments);
        process::tool("perf", &all)
    };
    show(&["--no-children", "--sort", "dso"])?;
    show(&[
        "--no-children",
        "--sort",
        "dso,symbol",
        "--percent-limit",
        "0.5",
    ])?;
    show(&["--children", "--sort", "symbol", "--percent-limit", "2"])
}
