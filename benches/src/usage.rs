//! What a process has used, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::error::{Error, io};

/// The CPU time a process had used at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// Nanoseconds on a CPU of each thread, by thread id (`schedstat`).
    threads: BTreeMap<u32, u64>,
    /// User and system time of the whole process with its ended threads, in clock ticks (`stat`).
    ticks: u64,
}

impl Usage {
    /// Reads what process `id` has used until now.
    pub(crate) fn of(id: u32) -> Result<Self, Error> {
        let mut threads = BTreeMap::new();
        let tasks = fs::read_dir(format!("/proc/{id}/task")).map_err(io("list threads"))?;
        for task in tasks {
            let task = task.map_err(io("list threads"))?;
            // A thread may end between being listed and being read.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            if let (Some(thread), Some(nanos)) = (
                task.file_name().to_str().and_then(|name| name.parse().ok()),
                text.split(' ').next().and_then(|nanos| nanos.parse().ok()),
            ) {
                threads.insert(thread, nanos);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).map_err(io("read `stat`"))?;
        Ok(Self {
            threads,
            ticks: ticks(&stat),
        })
    }

    /// The CPU time used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let kept = before
            .threads
            .keys()
            .all(|thread| self.threads.contains_key(thread));
        if kept {
            let nanos = self.threads.iter().map(|(thread, after)| {
                after.saturating_sub(before.threads.get(thread).copied().unwrap_or(0))
            });
            Duration::from_nanos(nanos.sum())
        } else {
            // A thread took its figures with it. The process's own sum has them, in coarse ticks:
            // Linux counts 100 of them a second on every machine this runs on.
            Duration::from_millis(self.ticks.saturating_sub(before.ticks) * 10)
        }
    }
}

/// `utime` + `stime` of `/proc/ID/stat`: fields 14 and 15, counted after the name in parentheses.
fn ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields = after_name.split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The resident memory of process `id`, in MiB.
pub(crate) fn resident(id: u32) -> Result<f64, Error> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).map_err(io("read `status`"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<f64>().ok());
    Ok(kib.unwrap_or(f64::NAN) / 1024.0)
}

/// The machine, in a line: what a table of figures is worthless without.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches(['\t', ' ', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "{model}, {cores} cores, Linux {}, load {load} at start",
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_work_is_counted_once_and_about_right() {
        let id = std::process::id();
        let before = Usage::of(id).unwrap();
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            let busy = scope.spawn(|| {
                while start.elapsed() < Duration::from_millis(50) {
                    std::hint::black_box(0);
                }
                Usage::of(id).unwrap()
            });
            let used = busy.join().unwrap().since(&before);
            // Others may hold the CPU meanwhile, and other tests run in this process too.
            assert!(used > Duration::from_millis(5), "{used:?}");
            assert!(used < Duration::from_secs(2), "{used:?}");
        });
    }

    #[test]
    fn a_lost_thread_falls_back_to_the_sum_of_the_process() {
        let usage = |threads: &[(u32, u64)], ticks| Usage {
            threads: threads.iter().copied().collect(),
            ticks,
        };
        let before = usage(&[(1, 100), (2, 900)], 7);
        let both = usage(&[(1, 150), (2, 910), (3, 5)], 8);
        assert_eq!(both.since(&before), Duration::from_nanos(65));
        let lost = usage(&[(1, 150)], 9);
        assert_eq!(lost.since(&before), Duration::from_millis(20));
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "12 (a) b (c) S 1 1 1 0 -1 4194304 99 0 0 0 31 11 0 0 20";
        assert_eq!(ticks(stat), 42);
    }
}
