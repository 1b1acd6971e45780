//! A person's part: an agent asks to delete an account, somebody looks and decides, the very call runs, and runs once.

use std::io::{self, IsTerminal};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::stage::Stage;
use super::visit::{self, Asked};
use super::{SceneError, interruptible};
use crate::connect::Target;
use crate::console::{Console, Mark, shortened};

/// The tool that takes a person's yes.
const TOOL: &str = "delete_account";
/// Widest line of an answer.
const WIDTH: usize = 90;
/// Time a visitor has to decide: as long as the request waits.
const PATIENCE: Duration = Duration::from_mins(15);
const LOOK: Duration = Duration::from_secs(1);
/// Time until the gate knows a new key and a new operator.
const RELOAD: Duration = Duration::from_secs(15);

/// The one who decides, and their login to the console.
#[derive(Debug)]
pub(super) struct Approver {
    /// Token of the operator `dana`.
    pub(super) token: String,
}

/// Plays it; `false` when anything was not as it should be. `yes` decides without asking anybody.
pub(super) async fn act(
    console: &Console,
    stage: &Stage,
    gate: &Gate,
    yes: bool,
    stop: &CancellationToken,
) -> Result<(bool, Approver), SceneError> {
    console.heading("An agent asks to delete an account, and a person decides")?;
    let words = ["operators", "add", "sam", "--role", "sre"];
    gate.command(&words).await?;
    let words = [
        "operators",
        "add",
        "dana",
        "--role",
        "approver",
        "--output",
        "json",
    ];
    let added = parsed(&gate.command(&words).await?.text);
    let token = member(&added, "/token");
    let approver = Approver {
        token: token.clone(),
    };
    let words = [
        "keys",
        "create",
        "--subject",
        "senior-agent",
        "--role",
        "senior",
        "--owner",
        "sam",
    ];
    let key = gate.command(&words).await?;
    let key = key.text.lines().next().unwrap_or_default().to_owned();
    let agent = Target::http(format!("{}/crm/mcp", stage.base()), Some(&key))?;

    let first = admitted(&agent).await?;
    let waits = line(console, &first, false)?;
    let Some(id) = first.approval else {
        return Ok((false, approver));
    };
    console.remark(&format!(
        "see it at {}/console/approvals/{id}",
        stage.console()
    ))?;
    let decided = if yes || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let file = stage.secret("dana.token", &token)?.display().to_string();
        decide(console, gate, &id, &file).await?
    } else {
        console.remark(&format!("sign in with dana's token: {token}"))?;
        console.remark("approve it there; with --yes the demo does")?;
        interruptible(stop, visitor(gate, &id)).await??
    };
    let second = ask(&agent).await?;
    let ran = line(console, &second, true)?;
    let third = ask(&agent).await?;
    let is_once = line(console, &third, false)? && third.approval.as_deref() != Some(&*id);
    let recorded = record(console, gate, &id).await?;
    Ok((waits && decided && ran && is_once && recorded, approver))
}

async fn ask(agent: &Target) -> Result<Asked, SceneError> {
    let asked = visit::ask(agent, TOOL, json!({ "id": "A-77" })).await;
    asked.map_err(|error| SceneError::Visit(Box::new(error)))
}

/// The first call: the gate reads keys again by itself, which takes a moment.
async fn admitted(agent: &Target) -> Result<Asked, SceneError> {
    let end = tokio::time::Instant::now() + RELOAD;
    loop {
        match ask(agent).await {
            Err(_unknown_key) if tokio::time::Instant::now() < end => {
                tokio::time::sleep(LOOK).await;
            }
            asked => return asked,
        }
    }
}

/// Shows a call; whether it was let through has to be as `expected`.
fn line(console: &Console, asked: &Asked, expected: bool) -> io::Result<bool> {
    let is_good = asked.through == expected;
    let mark = match (is_good, asked.through) {
        (false, _) => Mark::Wrong,
        (true, true) => Mark::Through,
        (true, false) => Mark::Refused,
    };
    let what = format!("the agent calls {TOOL} A-77");
    console.line(mark, &what, &shortened(&asked.text, WIDTH))?;
    Ok(is_good)
}

/// The demo decides, over what it was shown.
async fn decide(console: &Console, gate: &Gate, id: &str, token: &str) -> Result<bool, SceneError> {
    let shown = gate
        .command(&["approvals", "show", id, "--output", "json"])
        .await?;
    let shown = member(&parsed(&shown.text), "/shown");
    let reason = "the customer asked for it, ticket 4711";
    let words = [
        "approvals",
        "approve",
        id,
        "--shown",
        &shown,
        "--reason",
        reason,
        "--token-file",
        token,
    ];
    let end = tokio::time::Instant::now() + RELOAD;
    let mut decided = gate.command(&words).await?;
    // A new operator is known within moments.
    while !decided.good && tokio::time::Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        decided = gate.command(&words).await?;
    }
    let mark = if decided.good {
        Mark::Fact
    } else {
        Mark::Wrong
    };
    let text = decided.text.lines().next().unwrap_or_default();
    console.line(mark, "keepgate approvals approve", &shortened(text, WIDTH))?;
    Ok(decided.good)
}

/// Waits until a visitor has decided; whether it was a yes.
async fn visitor(gate: &Gate, id: &str) -> Result<bool, SceneError> {
    let end = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < end {
        let shown = gate
            .command(&["approvals", "show", id, "--output", "json"])
            .await?;
        match &*member(&parsed(&shown.text), "/state") {
            "pending" => tokio::time::sleep(LOOK).await,
            state => return Ok(state == "approved"),
        }
    }
    Ok(false)
}

/// Shows what the log has of it: asked for, decided, used.
async fn record(console: &Console, gate: &Gate, id: &str) -> Result<bool, SceneError> {
    let words = ["audit", "tail", "--lines", "200", "--output", "json"];
    let tail = gate.command(&words).await?;
    let mut kinds = Vec::new();
    for record in tail.text.lines().filter(|line| line.contains(id)) {
        let record = parsed(record);
        let kind = member(&record, "/kind");
        if kind.starts_with("approval.") {
            let who = member(&record, "/user_id");
            let by = match &*who {
                "" => "by the call that ran".to_owned(),
                who => format!("by {who}"),
            };
            console.line(Mark::Fact, &kind, &by)?;
            kinds.push(kind);
        }
    }
    let expected = [
        "approval.requested",
        "approval.decided",
        "approval.consumed",
    ];
    Ok(expected
        .iter()
        .all(|kind| kinds.iter().any(|it| it == kind)))
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn member(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
