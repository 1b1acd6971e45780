//! The load generator: N connections in a closed loop, each reply checked.
//!
//! It shares a core with the upstream, so it is written to cost little: requests are bytes made
//! beforehand, replies are read into one buffer per connection and searched, not parsed. A slow
//! driver would leave the proxy idle between calls and charge it for the wake-ups.

mod reply;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use self::reply::{Reader, Reply};
use crate::error::{Error, io};
use crate::serve;
use crate::traffic::{self, Destination, FIRST_ID, IDS_PER_CONNECTION, MARKER, Template};
use crate::workload::Workload;

/// The line printed once every connection is open and warm.
pub(crate) const READY: &str = "ready";

/// A reply slower than this is an error: nothing here should take a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the driver is asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Where calls go.
    pub(crate) to: Destination,
    /// Which calls.
    pub(crate) workload: Workload,
    /// How many sessions each connection opens beside the one it uses.
    pub(crate) sessions: usize,
    /// How long to call before measuring.
    pub(crate) warm: Duration,
    /// How long to measure.
    pub(crate) measure: Duration,
}

/// What the driver saw while measuring.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Calls made.
    pub(crate) calls: u64,
    /// Calls that got no reply, another's reply or a refusal.
    pub(crate) errors: u64,
    /// The first error, in words.
    pub(crate) first_error: Option<String>,
    /// Median latency in microseconds.
    pub(crate) p50: f64,
    /// 99th percentile of latency in microseconds.
    pub(crate) p99: f64,
    /// Seconds from the first call to the last reply.
    pub(crate) seconds: f64,
}

/// Opens the connections, warms up, prints [`READY`], measures when a line comes on standard input, prints a [`Report`] as
/// one line of JSON, and ends its sessions when a second line comes, so that ending them is not measured.
pub(crate) fn run(task: &Task) -> Result<(), Error> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("start a runtime"))?;
    let mut connections = runtime.block_on(warm_up(task))?;
    serve::say(READY)?;
    wait_for_line()?;
    let report = runtime.block_on(measure(task, &mut connections));
    serve::say(&serde_json::to_string(&report).map_err(Error::Report)?)?;
    wait_for_line()?;
    runtime.block_on(async {
        for mut connection in connections {
            connection.end(task).await?;
        }
        Ok(())
    })
}

fn wait_for_line() -> Result<(), Error> {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(io("read from standard input"))?;
    Ok(())
}

async fn warm_up(task: &Task) -> Result<Vec<Connection>, Error> {
    let mut opening = JoinSet::new();
    for number in 0..task.workload.connections() {
        let task = task.clone();
        opening.spawn(async move {
            let mut connection = Connection::open(&task, number as u64).await?;
            let mut seen = Seen::default();
            connection
                .call_until(Instant::now() + task.warm, &mut seen)
                .await;
            match seen.first_error {
                Some(error) => Err(Error::Reply(error)),
                None => Ok(connection),
            }
        });
    }
    opening.join_all().await.into_iter().collect()
}

async fn measure(task: &Task, connections: &mut Vec<Connection>) -> Report {
    let start = Instant::now();
    let end = start + task.measure;
    let mut running = JoinSet::new();
    for mut connection in connections.drain(..) {
        running.spawn(async move {
            let mut seen = Seen::default();
            connection.call_until(end, &mut seen).await;
            (connection, seen)
        });
    }
    let done = running.join_all().await;
    let took = start.elapsed();
    let (back, all): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    // A connection on which a call failed may be out of step; nothing more is asked on it.
    connections.extend(back.into_iter().filter(|connection| !connection.failed));
    report(all, took)
}

/// What one connection saw.
#[derive(Debug, Default)]
struct Seen {
    /// The latency of each good call in nanoseconds.
    latencies: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
}

fn report(all: Vec<Seen>, took: Duration) -> Report {
    let mut report = Report {
        seconds: took.as_secs_f64(),
        ..Report::default()
    };
    let mut latencies = Vec::new();
    for seen in all {
        latencies.extend(seen.latencies);
        report.errors += seen.errors;
        report.first_error = report.first_error.or(seen.first_error);
    }
    latencies.sort_unstable();
    report.calls = latencies.len() as u64 + report.errors;
    report.p50 = percentile(&latencies, 50);
    report.p99 = percentile(&latencies, 99);
    report
}

/// The `percent`th percentile of sorted nanoseconds, in microseconds; 0 of nothing.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let at = sorted.len() * percent / 100;
    let at = at.min(sorted.len().saturating_sub(1));
    sorted
        .get(at)
        .map_or(0.0, |nanos| f64::from(*nanos) / 1000.0)
}

/// One connection and the calls it makes.
struct Connection {
    stream: TcpStream,
    reader: Reader,
    call: Template,
    session: Option<String>,
    next_id: u64,
    failed: bool,
}

impl Connection {
    /// Connects and, for a stateful workload, shakes hands: once more for each of `task.sessions`, which are left open.
    async fn open(task: &Task, number: u64) -> Result<Self, Error> {
        let stream = connect(task.to.address).await?;
        let mut connection = Self {
            stream,
            reader: Reader::new(),
            call: traffic::initialize(&task.to),
            session: None,
            next_id: FIRST_ID + number * IDS_PER_CONNECTION,
            failed: false,
        };
        if !task.workload.stateless() {
            for _ in 0..=task.sessions {
                connection.shake_hands(task).await?;
            }
        }
        let session = connection.session.as_deref();
        connection.call = traffic::call(&task.to, task.workload, session);
        Ok(connection)
    }

    async fn shake_hands(&mut self, task: &Task) -> Result<(), Error> {
        self.call = traffic::initialize(&task.to);
        let reply = self.exchange().await?;
        let session = reply.session.map(str::to_owned);
        reply.expect(200, "initialize")?;
        self.call = traffic::initialized(&task.to, session.as_deref());
        self.session = session;
        self.exchange()
            .await?
            .expect(202, "notifications/initialized")
    }

    /// Ends the session, if there is one.
    async fn end(&mut self, task: &Task) -> Result<(), Error> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        self.call = traffic::end(&task.to, session);
        self.exchange().await?.expect(200, "DELETE")
    }

    /// Calls again and again until `end`. An error ends it: the connection may be out of step.
    async fn call_until(&mut self, end: Instant, seen: &mut Seen) {
        let mut now = Instant::now();
        while now < end {
            let checked = tokio::time::timeout(PATIENCE, self.checked_call()).await;
            let outcome = checked.unwrap_or_else(|_| Err(Error::Reply("no reply".into())));
            let done = Instant::now();
            if let Err(error) = outcome {
                seen.errors += 1;
                self.failed = true;
                seen.first_error = Some(error.to_string());
                return;
            }
            let nanos = (done - now).as_nanos();
            seen.latencies
                .push(u32::try_from(nanos).unwrap_or(u32::MAX));
            now = done;
        }
    }

    async fn checked_call(&mut self) -> Result<(), Error> {
        let id = self.next_id;
        let reply = self.exchange().await?;
        let spelled = format!("\"id\":{id}");
        let good = reply.status == 200
            && memmem::find(reply.body, spelled.as_bytes()).is_some()
            && memmem::find(reply.body, MARKER).is_some();
        if good {
            return Ok(());
        }
        let start = reply.body.get(..400).unwrap_or(reply.body);
        let start = String::from_utf8_lossy(start);
        Err(Error::Reply(format!(
            "status {} to {id}: {start}",
            reply.status
        )))
    }

    async fn exchange(&mut self) -> Result<Reply<'_>, Error> {
        let request = self.call.with_id(self.next_id);
        self.next_id += 1;
        self.stream
            .write_all(request)
            .await
            .map_err(io("send a request"))?;
        self.reader.read(&mut self.stream).await
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(io("connect to the proxy"))?;
    stream.set_nodelay(true).map_err(io("set TCP_NODELAY"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
