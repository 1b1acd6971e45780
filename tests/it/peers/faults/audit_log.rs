//! The audit log while the disk below it fails, or somebody is at its files: no call is served that is not on record, and
//! `/readyz`, metrics and the gateway's log say so.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use keepgate_tests::upstream::said;
use keepgate_tests::{FakeServer, Gate as Release, Say};
use nix::sys::signal::Signal;
use serde_json::json;

use super::super::gate::{Gate, Home, of_kind};
use super::super::process::{PATIENCE, repository, until};
use super::{NEED_ROOM, Shim};

/// One fault: its name, how it comes, how it goes if it can, and the line of the gateway's log that reports it.
struct Fault {
    name: &'static str,
    begin: fn(&Shim, &Path),
    end: Option<fn(&Shim, &Path)>,
    line: &'static str,
}

const WRITE: &str = "failed to write the audit log: calls are refused";

/// The faults of a log that runs.
const FAULTS: [Fault; 10] = [
    Fault {
        name: "the directory is renamed",
        begin: |_, at| fs::rename(at, aside(at)).expect("renamed"),
        end: Some(|_, at| fs::rename(aside(at), at).expect("renamed")),
        line: WRITE,
    },
    Fault {
        name: "the directory is removed",
        begin: |_, at| fs::remove_dir_all(at).expect("removed"),
        end: None,
        line: WRITE,
    },
    Fault {
        name: "the directory is replaced by an empty one",
        begin: |_, at| {
            fs::rename(at, aside(at)).expect("renamed");
            fs::create_dir(at).expect("made");
        },
        end: Some(|_, at| {
            fs::remove_dir_all(at).expect("removed");
            fs::rename(aside(at), at).expect("renamed");
        }),
        line: WRITE,
    },
    Fault {
        name: "the tail is removed",
        begin: |_, at| fs::remove_file(tail(at)).expect("removed"),
        end: None,
        line: WRITE,
    },
    Fault {
        name: "the tail is truncated",
        begin: |_, at| {
            let length = fs::metadata(tail(at)).expect("a tail").len();
            let file = fs::File::options().write(true).open(tail(at));
            file.and_then(|file| file.set_len(length - 1)).expect("cut");
        },
        end: None,
        line: WRITE,
    },
    Fault {
        name: "the tail is changed in place",
        begin: |_, at| fs::write(tail(at), forged(at)).expect("written"),
        end: None,
        line: WRITE,
    },
    Fault {
        name: "the tail is swapped for another file",
        begin: |_, at| {
            keepgate_files::replace(&at.join("forged"), &forged(at)).expect("written");
            fs::rename(at.join("forged"), tail(at)).expect("renamed");
        },
        end: None,
        line: WRITE,
    },
    Fault {
        name: "checkpoints cannot be put in place",
        begin: |shim, _| shim.obey("rename audit/checkpoint 1+ EIO\n"),
        end: Some(|shim, _| shim.obey("")),
        line: "failed to sign the audit log: calls are refused if this lasts",
    },
    Fault {
        name: "writes to the tail fail",
        begin: |shim, _| shim.obey("write audit/tail 1+ EIO\n"),
        end: Some(|shim, _| shim.obey("")),
        line: WRITE,
    },
    Fault {
        name: "the volume is full",
        begin: |shim, _| shim.obey(&format!("{NEED_ROOM} state 1+ ENOSPC\n")),
        end: Some(|shim, _| shim.obey("")),
        line: WRITE,
    },
];

fn aside(audit: &Path) -> std::path::PathBuf {
    audit.with_extension("gone")
}

fn tail(audit: &Path) -> std::path::PathBuf {
    audit.join("tail.0")
}

/// The tail with another last byte.
fn forged(audit: &Path) -> Vec<u8> {
    let mut bytes = fs::read(tail(audit)).expect("a tail");
    let last = bytes.last_mut().expect("records");
    *last ^= 1;
    bytes
}

/// The code a call is refused with, or `answered`.
async fn call(gate: &Gate) -> String {
    let answer = gate.client("up").call_modern("echo", json!({})).await;
    answer.code().unwrap_or_else(|| "answered".to_owned())
}

/// The state of the log at the operators' listener.
async fn readiness(gate: &Gate) -> String {
    let answer = keepgate_tests::Client::new(gate.admin)
        .path("/readyz")
        .send("GET", "")
        .await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let audit = text.lines().find(|line| line.contains("audit"));
    format!("{} {}", answer.status, audit.unwrap_or(&text).trim())
}

/// Whether every record is under a signature.
async fn is_signed(gate: &Gate) -> bool {
    let metrics = gate.metrics().await;
    let value = |name: &str| {
        let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().expect("the metric").trim().to_owned()
    };
    value("keepgate_audit_records ") == value("keepgate_audit_signed_records ")
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await
}

/// Runs one fault; gives its row of the table.
async fn row(fault: &Fault) -> String {
    let server = server().await;
    let home = Home::new().url("up", &server.url());
    let shim = Shim::new(&home);
    let (name, value) = shim.environment();
    let gate = home.serve_with(&[(name, &value)]).await;
    let audit = gate.home.path("state/audit");
    assert_eq!(call(&gate).await, "answered", "{}", fault.name);
    // What is not signed yet may be torn by a crash, and a start cuts it off.
    until("a signature", async || is_signed(&gate).await).await;
    (fault.begin)(&shim, &audit);
    until("calls to be refused", async || {
        call(&gate).await == "audit_unavailable"
    })
    .await;
    let served = server.heard_of("tools/call").len();
    let refused = call(&gate).await;
    let ready = readiness(&gate).await;
    assert_eq!(
        server.heard_of("tools/call").len(),
        served,
        "{}",
        fault.name
    );
    until(fault.line, async || gate.said(fault.line) > 0).await;
    let reports = reports(&gate).await;
    let healed = match fault.end {
        Some(end) => {
            end(&shim, &audit);
            until("calls to be answered", async || {
                call(&gate).await == "answered"
            })
            .await;
            until("readiness", async || {
                readiness(&gate).await.starts_with("200")
            })
            .await;
            let records = gate.end().await;
            assert!(!records.is_empty());
            "answered; the log verifies"
        }
        None => &format!("refused; {}", restarted(gate).await),
    };
    format!(
        "{} | {refused} | {ready} | {reports} | {} | {healed}\n",
        fault.name, fault.line
    )
}

/// The metric of readiness, and the codes of `health --ready` and `kill set`.
async fn reports(gate: &Gate) -> String {
    let metrics = gate.metrics().await;
    let metric = metrics
        .lines()
        .find_map(|line| line.strip_prefix("keepgate_ready "))
        .expect("the metric");
    let code = async |words: &[&str]| {
        let ended = gate.home.keepgate(words).await;
        ended.code.expect("a code")
    };
    let health = code(&["health", "--ready"]).await;
    let kill = code(&["kill", "set", "server", "other", "--reason", "drill"]).await;
    let list = gate.home.keepgate(&["kill", "list"]).await.good();
    assert!(list.contains("\"other\""), "{list}");
    format!("{metric} | {health} | {kill}")
}

/// The end of a gateway whose log does not come back, and the start of the next one.
async fn restarted(mut gate: Gate) -> String {
    gate.process.signal(Signal::SIGTERM);
    let ended = gate.process.ended(PATIENCE).await.code();
    let ended = ended.expect("a code");
    let mut next = gate.home.start(&[]);
    let ready = |text: &str| text.contains("\"message\":\"ready\"").then_some(());
    match next.says_or_ends("its end", ready).await {
        Ok(()) => {
            next.signal(Signal::SIGTERM);
            next.ended(PATIENCE).await;
            format!("ends with {ended}, the next start serves")
        }
        Err(status) => {
            let code = status.code().expect("a code");
            format!("ends with {ended}, the next start with {code}")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_served_while_the_audit_log_is_in_doubt() {
    let mut table = "fault | calls | /readyz | keepgate_ready | health --ready | kill set | the gateway's log | afterwards\n".to_owned();
    let rows = FAULTS.iter().map(|fault| async { row(fault).await });
    for row in futures_util::future::join_all(rows).await {
        write!(table, "{row}").expect("memory");
    }
    let path = repository().join("tests/it/peers/faults/audit_log.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &table).expect("written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, golden, "run with UPDATE=1 and read what changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_serves_operators_and_heals() {
    let server = server().await;
    let home = Home::new().url("up", &server.url());
    let home = home.serve().await.end_keeping().await.home;
    let shim = Shim::new(&home);
    shim.obey(&format!("{NEED_ROOM} state 1+ ENOSPC\n"));
    let (name, value) = shim.environment();
    let gate = home.serve_with(&[(name, &value)]).await;
    assert_eq!(call(&gate).await, "audit_unavailable");
    assert_eq!(server.heard_of("tools/call").len(), 0);
    let ready = readiness(&gate).await;
    assert!(ready.starts_with("503"), "{ready}");
    assert_eq!(gate.admin("/healthz").await, 200);
    shim.obey("");
    until("calls to be answered", async || {
        call(&gate).await == "answered"
    })
    .await;
    let records = gate.end().await;
    let opened = records.iter().filter(|it| it["kind"] == "log.opened");
    assert_eq!(opened.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_is_reported_for_as_long_as_calls_are_refused() {
    let server = server().await;
    let home = Home::new().url("up", &server.url());
    let shim = Shim::new(&home);
    let (name, value) = shim.environment();
    let gate = home.serve_with(&[(name, &value)]).await;
    assert_eq!(call(&gate).await, "answered");
    shim.obey("write audit/tail 1+ delay=1500\n");
    until("a call to be refused", async || {
        call(&gate).await == "audit_unavailable"
    })
    .await;
    // Between two slow writes nothing waits; who looks just then must not read that all is well.
    let length = || fs::metadata(tail(&gate.home.path("state/audit"))).map(|it| it.len());
    for look in 0..3 {
        let before = length().expect("a tail");
        let refused = call(&gate).await;
        let expected = ["audit_unavailable", "outcome_unrecorded"];
        assert!(expected.contains(&&*refused), "look {look}: {refused}");
        until("the slow write", async || {
            length().expect("a tail") > before
        })
        .await;
        let ready = readiness(&gate).await;
        assert!(ready.starts_with("503"), "look {look}: {ready}");
    }
    shim.obey("");
    until("readiness", async || {
        readiness(&gate).await.starts_with("200")
    })
    .await;
    assert_eq!(call(&gate).await, "answered");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_of_calls_that_ran_are_written_when_the_disk_is_back() {
    const CALLS: usize = 6;
    let released = Release::default();
    let held = released.clone();
    let server = FakeServer::with_tools(move |heard| {
        let mut says = vec![Say::Until(held.clone())];
        says.extend(Say::json(&said(&heard.json()["id"], "done")));
        says
    })
    .await;
    let home = Home::new().url("up", &server.url());
    let shim = Shim::new(&home);
    let (name, value) = shim.environment();
    let gate = home.serve_with(&[(name, &value)]).await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let client = gate.client("up");
        running.spawn(async move { client.call_modern("echo", json!({})).await });
    }
    until("calls at the server", async || {
        server.heard_of("tools/call").len() == CALLS
    })
    .await;
    shim.obey(&format!("{NEED_ROOM} state 1+ ENOSPC\n"));
    released.open();
    while let Some(answer) = running.join_next().await {
        let answer = answer.expect("an answer");
        assert_eq!(answer.code().as_deref(), Some("outcome_unrecorded"));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("the call may have had its effect"), "{text}");
    }
    // What was not sent had no effect, and its refusal does not say otherwise.
    let refused = gate.client("up").call_modern("echo", json!({})).await;
    assert_eq!(refused.code().as_deref(), Some("audit_unavailable"));
    assert!(!String::from_utf8_lossy(&refused.body).contains("effect"));
    assert_eq!(server.heard_of("tools/call").len(), CALLS);
    shim.obey("");
    until("calls to be answered", async || {
        call(&gate).await == "answered"
    })
    .await;
    // Every intent has its outcome, once.
    let records = gate.end().await;
    let outcomes = of_kind(&records, "call.outcome").into_iter();
    let calls = outcomes.filter(|outcome| outcome["tool_name"] == "echo");
    assert_eq!(calls.count(), CALLS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_finds_no_log_where_there_was_one_reports_it() {
    let gate = Home::new()
        .url("up", "http://127.0.0.1:9/mcp")
        .serve()
        .await;
    let home = gate.end_keeping().await.home;
    for (gone, line) in [
        ("state/audit", "the audit log is gone although"),
        (
            "state/audit/checkpoint",
            "the audit log has keys but no records",
        ),
    ] {
        let path = home.path(gone);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("removed");
        } else {
            fs::remove_file(path).expect("removed");
            fs::remove_dir_all(home.path("state/audit/tile")).expect("removed");
            fs::remove_file(home.path("state/audit/tail.0")).expect("removed");
        }
        let mut gate = home.start(&[]);
        gate.says(line, |said| said.contains(line).then_some(()))
            .await;
        gate.says("readiness", |text| text.contains("\"ready\"").then_some(()))
            .await;
        gate.signal(Signal::SIGTERM);
        gate.ended(PATIENCE).await;
    }
}
