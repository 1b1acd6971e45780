//! What a record costs: `cargo bench -p keepgate-audit`.
//!
//! CPU time of all threads of this process (on-CPU time from schedstat), divided by the records; it survives the noise of a
//! shared machine, wall time does not. The appenders are tasks of one single-threaded runtime, as on a gateway's worker.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use keepgate_audit::{
    Caller, Client, Decision, Durability, Kind, Log, Outcome, Reason, Record, Settings, Status,
    verify,
};

/// CPU time of this process in nanoseconds.
fn cpu() -> u64 {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        total += text
            .split(' ')
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .unwrap_or(0);
    }
    total
}

/// The records of a call as the gateway writes them.
fn intent<'a>(id: &'a str, at: SystemTime, reasons: &'a [Reason<'a>]) -> Record<'a> {
    Record {
        decision_id: Some(id),
        session_id: Some("b3:5m3Yx3rM6m0R0jX6hY0n2cV0l8kq3m1s9aKq2d1x7uE"),
        tenant: Some("acme"),
        caller: Some(Caller {
            kind: "key",
            user_id: "local:support-agent",
            key_id: Some("k-17"),
            issuer: None,
            client_id: None,
        }),
        client: Some(Client {
            name: "claude-code",
            version: "2.4.1",
        }),
        source: Some([127, 0, 0, 1].into()),
        server: Some("files"),
        method: Some("tools/call"),
        tool_name: Some("read_file"),
        protocol_version: Some("2026-07-28"),
        args_digest: Some("b3:9b8GmP2sXl1kq3m1s9aKq2d1x7uE5m3Yx3rM6m0R0jX"),
        request_bytes: Some(312),
        decision: Some(Decision::Allow),
        policy_rev: Some("sha256:5f2c8a1e"),
        reasons,
        ..Record::new(Kind::CallIntent, at)
    }
}

fn outcome(id: &str, at: SystemTime) -> Record<'_> {
    Record {
        decision_id: Some(id),
        server: Some("files"),
        method: Some("tools/call"),
        tool_name: Some("read_file"),
        result: Some(Outcome {
            http_status: Some(200),
            bytes: Some(250),
            upstream: Some(Duration::from_millis(3)),
            ..Outcome::new(Status::Ok)
        }),
        ..Record::new(Kind::CallOutcome, at)
    }
}

fn settings(directory: &Path, durability: Durability) -> Settings {
    let settings = Settings::new(directory, "gate.example/bench", "node-1");
    Settings {
        durability,
        min_free_bytes: 0,
        ..settings
    }
}

/// Two records a call, `appenders` at a time; `between` is work of this many nanoseconds before and between them.
async fn calls(log: Log, appenders: u64, calls: u64, between: Duration) {
    let mut tasks = Vec::new();
    let latency = std::sync::Arc::new(AtomicU64::new(0));
    for lane in 0..appenders {
        let (log, latency) = (log.clone(), latency.clone());
        tasks.push(tokio::spawn(async move {
            let reasons = [Reason {
                code: "support_reads",
                message: "support reads documents",
            }];
            let mut id = String::new();
            for number in 0..calls / appenders {
                id.clear();
                write!(id, "{lane:08x}-{number:08x}").ok();
                work(between).await;
                let began = Instant::now();
                log.append(&intent(&id, SystemTime::now(), &reasons))
                    .await
                    .ok();
                latency.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
                work(between).await;
                log.append(&outcome(&id, SystemTime::now())).await.ok();
            }
        }));
    }
    for task in tasks {
        task.await.ok();
    }
    print!(
        "{:>9.1}",
        latency.load(Ordering::Relaxed) as f64 / calls as f64 / 1000.0
    );
}

/// Stands for the rest of a call: burns CPU, then lets the others go on.
async fn work(time: Duration) {
    if !time.is_zero() {
        let began = Instant::now();
        while began.elapsed() < time {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }
}

fn measure(name: &str, appenders: u64, count: u64, between: Duration, durability: Durability) {
    // `cargo bench … -- <text>` measures only what has the text in its name.
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let Ok(directory) = tempfile::tempdir() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (Ok(log), Ok(runtime)) = (Log::open(settings(directory.path(), durability)), runtime)
    else {
        return;
    };
    print!("{name:<34}");
    let (cpu_before, began) = (cpu(), Instant::now());
    runtime.block_on(calls(log.clone(), appenders, count, between));
    let (spent, took) = (cpu() - cpu_before, began.elapsed());
    let records = log.health().size as f64;
    let other = between.as_nanos() as f64;
    println!(
        "{:>10.2}{:>12.0}",
        spent as f64 / records / 1000.0 - other / 1000.0,
        records / took.as_secs_f64(),
    );
    log.close();
}

/// Writes so many calls and verifies them.
fn measure_verify(name: &str, count: u64) {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if wanted.is_none_or(|wanted| !name.contains(&wanted)) {
        return;
    }
    let Ok(directory) = tempfile::tempdir() else {
        return;
    };
    let Ok(log) = Log::open(settings(directory.path(), Durability::Written)) else {
        return;
    };
    let at = SystemTime::now();
    for number in 0..count {
        let id = format!("d-{number}");
        log.post(&intent(&id, at, &[]));
        log.post(&outcome(&id, at));
        while log.health().queued_bytes > 4 << 20 {
            std::thread::yield_now();
        }
    }
    log.close();
    let (cpu_before, began) = (cpu(), Instant::now());
    let Ok(report) = verify(directory.path(), &log.public_key(), &[]) else {
        return;
    };
    let (spent, took) = (cpu() - cpu_before, began.elapsed());
    println!(
        "{name}: {} records, {:?} in {:.1} s, {:.2} µs CPU a record, {} lost",
        report.records,
        report.verdict(),
        took.as_secs_f64(),
        spent as f64 / report.records as f64 / 1000.0,
        log.health().lost,
    );
}

fn main() {
    measure_verify("verify a million (only when named)", 500_000);
    println!(
        "{:<34}{:>9}{:>10}{:>12}",
        "", "wait µs", "CPU µs/rec", "records/s"
    );
    let busy = Duration::from_micros(12);
    for _ in 0..2 {
        measure("1 appender", 1, 20_000, Duration::ZERO, Durability::Written);
        measure(
            "1 appender, 12 µs of other work",
            1,
            20_000,
            busy,
            Durability::Written,
        );
        measure(
            "16 appenders, 12 µs of other work",
            16,
            100_000,
            busy,
            Durability::Written,
        );
        measure(
            "64 appenders",
            64,
            200_000,
            Duration::ZERO,
            Durability::Written,
        );
        measure(
            "64 appenders, 12 µs of other work",
            64,
            100_000,
            busy,
            Durability::Written,
        );
        measure(
            "64 appenders, synced",
            64,
            3_000,
            Duration::ZERO,
            Durability::Synced,
        );
    }
}
