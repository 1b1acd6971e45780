//! `keepgate-bench saturate`: latency of other callers and of the kill switch while hostile servers flood the gateway.
//!
//! The `keepgate` command fronts two servers: the bench's own, and a hostile one that answers calls with streams of blank
//! lines, comments and tiny events, and with 7 MB bodies that repeat the beginning of its credential in base64. Rounds
//! alternate between a quiet run and a flooded one. Printed are p99 of calls to the good server and the
//! acknowledgement of `kill set`, each with its ratio to the quiet runs, and how long hostile streams outlive a kill of
//! their server. Generators share the machine's cores with the gateway, so the ratios are upper bounds.

mod hostile;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::drive::{READY, Report};
use crate::error::{Error, io};
use crate::folder::{Folder, Rules};
use crate::kill::operator;
use crate::process::Part;
use crate::row::command;
use crate::serve;

/// Quiet and flooded runs, each.
const ROUNDS: usize = 3;
/// Duration of one run.
const MEASURE: Duration = Duration::from_secs(4);
/// Pause between two kills of a run.
const PAUSE: Duration = Duration::from_millis(100);
/// Time after the last hostile byte is expected to be gone: longer is reported as still alive.
const PATIENCE: Duration = Duration::from_secs(20);

/// Figures of one run, in milliseconds.
#[derive(Debug, Default)]
struct Run {
    p50: f64,
    p99: f64,
    calls: u64,
    acknowledged: Vec<f64>,
}

/// Addresses of the gateway under test.
#[derive(Debug, Clone, Copy)]
struct Gate {
    data: SocketAddr,
    admin: SocketAddr,
}

/// Measures and prints.
pub(crate) fn run() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(io("start a runtime"))?;
    let folder = Folder::new()?;
    let hostile = runtime.block_on(hostile::listen())?;
    let mut upstream = Part::own("upstream", &["upstream"], None)?;
    let good = upstream.hear(serve::LISTENING)?;
    let good: SocketAddr = good.parse().map_err(|_| Error::Reply(good))?;
    let (_gateway, data, admin) =
        command::start_with(&folder, Rules::Open, &servers(&folder, good, hostile)?)?;
    let gate = Gate { data, admin };
    let token = fs::read_to_string(folder.path("state-command").join("admin-token"))
        .map_err(io("read the admin token"))?;
    let streams = 4 * thread::available_parallelism().map_or(2, usize::from);
    let (mut quiet, mut flooded, mut outlived) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        quiet.push(measured(gate, token.trim())?);
        let flood = Flood::start(&runtime, gate, streams)?;
        flooded.push(measured(gate, token.trim())?);
        outlived.push(flood.kill(&runtime, gate, token.trim())?);
        serve::say(&format!("round {} of {ROUNDS} done", round + 1))?;
    }
    serve::say(&report(&quiet, &flooded, &outlived, streams))
}

/// The `servers` section: the good server, and the hostile one with a credential for the mask to look for.
fn servers(folder: &Folder, good: SocketAddr, hostile: SocketAddr) -> Result<String, Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = folder.path("secret");
    fs::write(&secret, hostile::SECRET).map_err(io("write a secret"))?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))
        .map_err(io("protect a secret"))?;
    Ok(format!(
        "  bench: {{ url: \"http://{good}/bench/mcp\" }}\n  hostile: {{ url: \"http://{hostile}/mcp\", \
         credential: {{ ref: \"file:{}\", as: bearer }} }}\n",
        secret.display()
    ))
}

/// One run: calls to the good server by the bench's driver, and kills of nobody over the operators' API.
fn measured(gate: Gate, token: &str) -> Result<Run, Error> {
    let (address, measure) = (gate.data.to_string(), MEASURE.as_millis().to_string());
    let arguments = [
        "drive",
        &address,
        "--workload",
        "stateless",
        "--measure",
        &measure,
    ];
    let mut driver = Part::own("driver", &arguments, None)?;
    driver.hear(READY)?;
    driver.say("go")?;
    let mut run = Run::default();
    let end = Instant::now() + MEASURE;
    while Instant::now() < end {
        run.acknowledged.push(kill_of_nobody(gate.admin, token)?);
        thread::sleep(PAUSE);
    }
    let report: Report = serde_json::from_str(&driver.hear("")?).map_err(Error::Report)?;
    driver.say("end")?;
    driver.wait();
    if report.errors > 0 {
        return Err(Error::Calls {
            errors: report.errors,
            calls: report.calls,
            proxy: "keepgate serve".to_owned(),
            workload: "stateless",
            first: report.first_error.unwrap_or_default(),
        });
    }
    (run.p50, run.p99, run.calls) = (report.p50 / 1000.0, report.p99 / 1000.0, report.calls);
    Ok(run)
}

/// Sets and clears a kill that covers no call; gives the milliseconds from request to acknowledgement of the first.
fn kill_of_nobody(admin: SocketAddr, token: &str) -> Result<f64, Error> {
    let asked = Instant::now();
    let (id, answered) = set(admin, token, "caller", "keepgate-bench-nobody")?;
    clear(admin, token, &id)?;
    Ok(milliseconds(answered.saturating_duration_since(asked)))
}

/// Sets a kill; gives its id and the moment of its acknowledgement.
fn set(
    admin: SocketAddr,
    token: &str,
    scope: &str,
    target: &str,
) -> Result<(String, Instant), Error> {
    let wish = json!({"scope": scope, "target": target, "reason": "bench"});
    let answer = operator(admin, "POST", "/api/v1/kills", token, &wish)?;
    let answered = Instant::now();
    match answer.pointer("/kill/id").and_then(Value::as_str) {
        Some(id) => Ok((id.to_owned(), answered)),
        None => Err(Error::Reply(answer.to_string())),
    }
}

fn clear(admin: SocketAddr, token: &str, id: &str) -> Result<(), Error> {
    let path = format!("/api/v1/kills/{id}");
    operator(admin, "DELETE", &path, token, &json!({"reason": "bench"})).map(drop)
}

/// Clients that keep hostile answers running.
struct Flood {
    clients: Vec<tokio::task::JoinHandle<Result<Instant, Error>>>,
    received: Arc<AtomicU64>,
}

impl Flood {
    /// Starts `streams` clients, a quarter on each kind of answer, and waits for the first bytes.
    fn start(runtime: &Runtime, gate: Gate, streams: usize) -> Result<Self, Error> {
        let received = Arc::new(AtomicU64::new(0));
        let clients = hostile::TOOLS
            .into_iter()
            .cycle()
            .take(streams)
            .map(|tool| runtime.spawn(client(gate.data, tool, Arc::clone(&received))))
            .collect();
        let end = Instant::now() + PATIENCE;
        while received.load(Ordering::Relaxed) == 0 {
            if Instant::now() > end {
                return Err(Error::Reply("no hostile answer begins".to_owned()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { clients, received })
    }

    /// Kills the hostile server; gives the milliseconds from the acknowledgement to the last byte of the slowest client.
    fn kill(self, runtime: &Runtime, gate: Gate, token: &str) -> Result<f64, Error> {
        let (id, answered) = set(gate.admin, token, "server", "hostile")?;
        let mut slowest = Duration::ZERO;
        for client in self.clients {
            let last = runtime
                .block_on(async { tokio::time::timeout(PATIENCE, client).await })
                .map_err(|_| Error::Reply("a hostile answer outlives its kill".to_owned()))?
                .map_err(|error| Error::Reply(error.to_string()))??;
            slowest = slowest.max(last.saturating_duration_since(answered));
        }
        serve::say(&format!(
            "hostile answers brought {} MiB",
            self.received.load(Ordering::Relaxed) / (1024 * 1024)
        ))?;
        clear(gate.admin, token, &id)?;
        Ok(milliseconds(slowest))
    }
}

/// Calls a hostile tool again and again until a kill refuses it; gives the moment of the last byte.
async fn client(
    gate: SocketAddr,
    tool: &'static str,
    received: Arc<AtomicU64>,
) -> Result<Instant, Error> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool, "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
    }}})
    .to_string();
    let request = format!(
        "POST /hostile/mcp HTTP/1.1\r\nhost: {gate}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/call\r\nmcp-name: {tool}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut stream = TcpStream::connect(gate).await.map_err(io("connect"))?;
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(io("send a call"))?;
        let mut tail = Vec::new();
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let last = Instant::now();
            received.fetch_add(read as u64, Ordering::Relaxed);
            tail.extend_from_slice(buffer.get(..read).unwrap_or_default());
            if memchr::memmem::find(&tail, b"killed").is_some() {
                return Ok(last);
            }
            // Enough to find the word over the boundary of two reads.
            tail.drain(..tail.len().saturating_sub(16));
        }
        // The gateway ended it for a limit: once more, as an attacker would, but not in a tight loop.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// The acknowledgement at a share (0 to 1) of all runs, in milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a short list"
)]
fn acknowledged(runs: &[Run], share: f64) -> f64 {
    let all = runs.iter().flat_map(|run| run.acknowledged.iter().copied());
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    let place = (all.len() as f64 * share) as usize;
    let place = place.min(all.len().saturating_sub(1));
    all.get(place).copied().unwrap_or_default()
}

fn report(quiet: &[Run], flooded: &[Run], outlived: &[f64], streams: usize) -> String {
    let of = |runs: &[Run], figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let both = |figure: &dyn Fn(&Run) -> f64| (of(quiet, figure), of(flooded, figure));
    let kills = |share| (acknowledged(quiet, share), acknowledged(flooded, share));
    let rows = [
        ("call p50", both(&|run| run.p50), ""),
        ("call p99", both(&|run| run.p99), "≤ 5"),
        ("`kill set` acknowledged, p50", kills(0.5), "≤ 3"),
        ("`kill set` acknowledged, most", kills(1.0), ""),
    ];
    let mut text = format!(
        "\n{streams} hostile answers at once; medians of {ROUNDS} rounds, milliseconds\n\n\
         | figure | quiet | flooded | ratio | goal |\n|---|---|---|---|---|\n"
    );
    for (name, (quiet, flooded), goal) in rows {
        let ratio = flooded / quiet;
        text += &format!("| {name} | {quiet:.2} | {flooded:.2} | {ratio:.2} | {goal} |\n");
    }
    let calls = |runs: &[Run]| runs.iter().map(|run| run.calls).sum::<u64>();
    let outlived: Vec<String> = outlived.iter().map(|time| format!("{time:.1}")).collect();
    text += &format!(
        "\ncalls: {} quiet, {} flooded; last hostile byte after the acknowledgement of its kill: {} ms (goal ≤ 50)\n",
        calls(quiet),
        calls(flooded),
        outlived.join(", ")
    );
    text
}
