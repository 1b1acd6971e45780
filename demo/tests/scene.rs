//! The whole demo, as `make demo` plays it. Needs the `keepgate` program beside this package's own;
//! `make test` builds it first. Without it there is nothing to play and these tests say so.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keepgate-demo");

const PATIENCE: Duration = Duration::from_secs(120);

/// A directory that is removed with everything in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("keepgate-demo-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a failed test never made cannot be removed either.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn is_possible() -> bool {
    let there = Path::new(PROGRAM).with_file_name("keepgate").is_file();
    if !there {
        eprintln!("skipped: no keepgate program beside {PROGRAM}");
    }
    there
}

fn demo(place: &Place) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["--port", "0", "--admin-port", "0", "--state"])
        .arg(&place.0)
        .env_remove("KEEPGATE_BIN")
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_demo_plays_to_its_end() {
    if !is_possible() {
        return;
    }
    let place = Place::new("plays");
    let played = tokio::time::timeout(PATIENCE, demo(&place).output());
    let output = played.await.unwrap().unwrap();
    let story = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{story}{complaints}");
    for told in [
        "refused by policy: only SELECT is allowed",
        "[redacted]",
        "Denied: only SELECT is allowed (sql_not_select), at ",
        "Unknown tool: delete_account",
        "rate limit exceeded",
        "KILLED tool crm/search_cases",
        "an operator has cut this off",
        "approval.consumed",
        "1 call of delete_account",
        "12 calls, 0 of them refused ones",
        "└─ client tools/call query_database",
        "All as it should be.",
    ] {
        assert!(story.contains(told), "{told} is missing from:\n{story}");
    }
    assert!(!story.contains('\x1b'), "colour without a terminal");
}

/// Starts the demo to stay, and waits until it invites; gives where agents connect.
#[expect(clippy::unwrap_used, reason = "part of a test")]
async fn staying(place: &Place) -> (Child, Lines<BufReader<ChildStdout>>, String) {
    let mut demo = demo(place)
        .arg("--stay")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut story = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut base = String::new();
    while let Some(line) = story.next_line().await.unwrap() {
        if let Some((_, url)) = line.split_once("agents connect to") {
            url.trim()
                .trim_start_matches("http://")
                .clone_into(&mut base);
        }
        if line.contains("Ctrl-C ends it") {
            break;
        }
    }
    (demo, story, base)
}

#[tokio::test]
async fn a_killed_demo_leaves_nothing_behind() {
    if !is_possible() {
        return;
    }
    let place = Place::new("killed");
    let staying = tokio::time::timeout(PATIENCE, staying(&place));
    let (mut demo, _story, base) = staying.await.unwrap();
    assert!(TcpStream::connect(&base).await.is_ok(), "nobody at {base}");
    demo.kill().await.unwrap();
    for _ in 0..200 {
        if TcpStream::connect(&base).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("still somebody at {base}");
}
