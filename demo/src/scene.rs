//! The whole demo: starts the support desk and Keepgate, lets the agent work, reads the record.
//!
//! It is also a test: [`play`] gives `false` when anything was not as it should be. Whatever it
//! started, it ends, however it ends.

mod approval;
pub mod attend;
mod child;
mod gate;
mod operator;
mod probe;
mod record;
mod stage;
mod trace;
mod visit;
mod why;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::connect::{ConnectError, Target};
use crate::console::{Console, Mark};
use crate::crm;
use child::{Child, ChildError};
use gate::{Gate, GateError};
use record::RecordError;
use stage::{Stage, StageError};

/// What may be chosen about the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where configuration, policy, keys and the record go. Emptied first if a demo made it.
    pub directory: PathBuf,
    /// Port agents connect to; `None` for 8080, or any free one if that is taken.
    pub port: Option<u16>,
    /// Port operators connect to; `None` for 9080, or any free one if that is taken.
    pub admin_port: Option<u16>,
    /// Stay up after the agent is done, until told to stop.
    pub stay: bool,
    /// Let the demo decide over the account, also where somebody sits at the terminal.
    pub yes: bool,
    /// The `keepgate` program; `None` for the one beside this program.
    pub keepgate: Option<PathBuf>,
}

/// Why the demo could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The files could not be written, or no port is free.
    #[error("failed to prepare the demo")]
    Stage(#[from] StageError),
    /// A process could not be started or would not end.
    #[error("a process of the demo misbehaves")]
    Child(#[from] ChildError),
    /// Keepgate would not start, or a command of it failed.
    #[error("keepgate did not do its part")]
    Gate(#[from] GateError),
    /// The support desk could not be asked what reached it.
    #[error("failed to read the support desk's ledger")]
    Ledger(#[source] Box<visit::VisitError>),
    /// The gate could not be asked.
    #[error("failed to call a tool through the gate")]
    Visit(#[source] Box<visit::VisitError>),
    /// Someone pressed Ctrl-C before the end.
    #[error("interrupted")]
    Interrupted,
    /// The record could not be read or copied.
    #[error("failed to look into the record")]
    Record(#[from] RecordError),
    /// Standard output is gone, or this program cannot find itself.
    #[error("the system refused")]
    System(#[from] io::Error),
    /// An address of ours is no address.
    #[error("cannot use this address")]
    Address(#[from] ConnectError),
}

/// Plays the demo. `stop` interrupts it, or ends the stay.
///
/// # Errors
///
/// See [`SceneError`]. By then everything that was started has been ended.
pub async fn play(options: &Options, stop: &CancellationToken) -> Result<bool, SceneError> {
    let console = Console::new();
    let own = std::env::current_exe()?;
    let program = gate::program(options.keepgate.as_deref(), &own)?;
    let token = token()?;
    let desk = start_desk(&own, &token).await?;
    let stage = Stage::set(options, &desk.url, &token, &own)?;
    let mut gate = interruptible(stop, Gate::open(&program, &own, &stage)).await??;
    stage.note_key()?;
    introduce(&console, &stage)?;
    let tested = test_policy(&console, &gate).await?;

    let played = async {
        let acted = acts(&console, &stage, &gate, &desk, &own, stop).await?;
        let (decided, approver) = approval::act(&console, &stage, &gate, options.yes, stop).await?;
        let once = deleted_once(&console, &desk).await?;
        Ok::<_, SceneError>((acted && decided && once, approver))
    };
    let played = played.await;
    if let (Ok((_, approver)), true) = (&played, options.stay) {
        visit::invite(&console, &stage, gate.key(), &approver.token)?;
        stop.cancelled().await;
    }
    // Also after a failure: the record of what did happen is then worth most.
    gate.close().await?;
    let (played, _approver) = played?;
    let traced = trace::show(&console, &stage.traces())?;
    let explained = why::show(&console, &stage.decisions(), &gate).await?;
    let recorded = record::show(&console, &stage, &gate).await?;
    let good = tested && played && traced && explained && recorded;
    verdict(&console, &stage, good)?;
    Ok(good)
}

/// The support desk's process and its endpoint.
struct Desk {
    /// Held for its end only.
    _child: Child,
    url: String,
    token: String,
}

/// What the support desk lets in: 128 random bits, made anew for each demo.
fn token() -> io::Result<String> {
    let mut random = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn start_desk(own: &Path, token: &str) -> Result<Desk, SceneError> {
    let mut command = Command::new(own);
    command
        .args(["crm", "--with-parent"])
        .env("DEMO_CRM_TOKEN", token);
    let (child, url) = Child::announced("the support desk", command).await?;
    Ok(Desk {
        _child: child,
        url,
        token: token.to_owned(),
    })
}

async fn interruptible<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, SceneError> {
    tokio::select! {
        () = stop.cancelled() => Err(SceneError::Interrupted),
        done = work => Ok(done),
    }
}

fn introduce(console: &Console, stage: &Stage) -> io::Result<()> {
    console.heading("Keepgate stands between an agent and two MCP servers")?;
    console.line(Mark::Fact, "agents connect to", &stage.base())?;
    console.line(
        Mark::Fact,
        "behind it, over HTTP",
        "crm, a support desk that lets in only who has its token",
    )?;
    console.line(Mark::Fact, "behind it, over stdio", "notes, a notebook")?;
    let policy = stage.policy_file().display().to_string();
    console.line(Mark::Fact, "what is allowed stands in", &policy)
}

/// The policy has tests of its own; they need neither servers nor a running gate.
async fn test_policy(console: &Console, gate: &Gate) -> Result<bool, SceneError> {
    let tested = gate.command(&["policy", "test"]).await?;
    let mark = if tested.good { Mark::Fact } else { Mark::Wrong };
    let what = "its own tests (keepgate policy test)";
    console.line(mark, what, tested.text.lines().next().unwrap_or_default())?;
    Ok(tested.good)
}

/// The agent's part in both eras, and the look behind the gate.
async fn acts(
    console: &Console,
    stage: &Stage,
    gate: &Gate,
    desk: &Desk,
    own: &Path,
    stop: &CancellationToken,
) -> Result<bool, SceneError> {
    let mut command = Command::new(own);
    command
        .args(["agent", "--gate", &stage.base()])
        .env("KEEPGATE_DEMO_KEY", gate.key());
    let agent = Child::quiet("the agent", command)?;
    let worked = interruptible(stop, agent.finish(Duration::from_secs(120))).await??;

    let operated = operator::act(console, gate, &stage.base()).await?;

    let uninvited = Target::http(desk.url.clone(), None)?;
    let turned_away = visit::ledger(&uninvited).await.is_err();
    let target = Target::http(desk.url.clone(), Some(&desk.token))?;
    let ledger = visit::ledger(&target)
        .await
        .map_err(|error| SceneError::Ledger(Box::new(error)))?;
    console.heading("Behind the gate, the support desk's own ledger")?;
    let leaked: Vec<&str> = ledger
        .lines()
        .filter(|line| line.contains("DELETE") || line.starts_with("delete_account"))
        .collect();
    let calls = ledger.lines().count();
    // Four of the agent's calls are let through to the desk in each era, then as many as the limit leaves of a case, and
    // one of a tool that was revived.
    let expected = 8 + crm::CASES_AN_HOUR as usize - 2 + 1;
    let good = leaked.is_empty() && calls == expected;
    let mark = if good { Mark::Through } else { Mark::Wrong };
    let found = format!("{calls} calls, {} of them refused ones", leaked.len());
    console.line(mark, "what reached it", &found)?;
    let mark = if turned_away {
        Mark::Refused
    } else {
        Mark::Wrong
    };
    console.line(mark, "the agent, past the gate, without the token", "401")?;
    Ok(worked && operated && good && turned_away)
}

/// The call somebody agreed to reached the support desk, and no other of its kind.
async fn deleted_once(console: &Console, desk: &Desk) -> Result<bool, SceneError> {
    let target = Target::http(desk.url.clone(), Some(&desk.token))?;
    let ledger = visit::ledger(&target)
        .await
        .map_err(|error| SceneError::Ledger(Box::new(error)))?;
    let calls = ledger.lines();
    let count = calls
        .filter(|line| line.starts_with("delete_account"))
        .count();
    let mark = if count == 1 {
        Mark::Through
    } else {
        Mark::Wrong
    };
    let found = format!("{count} call of delete_account");
    console.line(mark, "what reached the support desk", &found)?;
    Ok(count == 1)
}

fn last(text: &str, count: usize) -> impl Iterator<Item = &str> {
    let lines = text.lines().count();
    text.lines().skip(lines.saturating_sub(count))
}

fn verdict(console: &Console, stage: &Stage, good: bool) -> io::Result<()> {
    console.print("")?;
    let kept = stage.directory().display();
    if good {
        console.print(&format!(
            "All as it should be. Everything is kept in {kept}."
        ))
    } else {
        console.print(&format!("Something is not as it should be. See {kept}."))
    }
}
