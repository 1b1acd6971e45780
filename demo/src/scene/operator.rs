//! The operator's part: looks what a kill would hit, kills a tool, sees that it is dead, and revives it.

use super::SceneError;
use super::gate::Gate;
use super::visit;
use crate::connect::Target;
use crate::console::{Console, Mark, shortened};

/// What is killed and revived.
const TOOL: &str = "search_cases";

/// Widest line of what a command says.
const WIDTH: usize = 120;

/// Drills, kills, revives; `false` when anything was not as it should be.
pub(super) async fn act(console: &Console, gate: &Gate, base: &str) -> Result<bool, SceneError> {
    console.heading("The operator pulls the plug on one tool, and puts it back")?;
    let agent = Target::http(format!("{base}/crm/mcp"), Some(gate.key()))?;
    let target = format!("crm/{TOOL}");
    let drilled = say(console, gate, &["kill", "drill", "tool", &target]).await?;
    let set = [
        "kill",
        "set",
        "tool",
        &target,
        "--reason",
        "looks like a loop",
    ];
    let killed = say(console, gate, &set).await?;
    let refused = asks(console, &agent, false).await?;
    let listed = gate.command(&["kill", "list", "--output", "json"]).await?;
    let id = serde_json::from_str::<serde_json::Value>(&listed.text)
        .ok()
        .and_then(|list| id(&list));
    let Some(id) = id else {
        console.line(
            Mark::Wrong,
            "keepgate kill list",
            &shortened(&listed.text, WIDTH),
        )?;
        return Ok(false);
    };
    let clear = ["kill", "clear", &id, "--reason", "it was a drill"];
    let cleared = say(console, gate, &clear).await?;
    let answered = asks(console, &agent, true).await?;
    Ok(drilled && killed && refused && cleared && answered)
}

/// Runs a command and shows what it says.
async fn say(console: &Console, gate: &Gate, words: &[&str]) -> Result<bool, SceneError> {
    let said = gate.command(words).await?;
    let mark = if said.good { Mark::Fact } else { Mark::Wrong };
    let mut lines = said.text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let command = format!("keepgate {}", words.get(..4).unwrap_or(words).join(" "));
    console.line(mark, &command, &shortened(first, WIDTH))?;
    for line in lines.take(8) {
        console.remark(&shortened(line, WIDTH))?;
    }
    Ok(said.good)
}

/// The agent asks once; whether it is let through has to be as `expected`.
async fn asks(console: &Console, agent: &Target, expected: bool) -> Result<bool, SceneError> {
    let (through, text) = visit::call(agent, TOOL)
        .await
        .map_err(|error| SceneError::Visit(Box::new(error)))?;
    let mark = match (through == expected, through) {
        (false, _) => Mark::Wrong,
        (true, true) => Mark::Through,
        (true, false) => Mark::Refused,
    };
    console.line(
        mark,
        &format!("the agent calls {TOOL}"),
        &shortened(&text, 70),
    )?;
    Ok(through == expected)
}

/// The id of the first kill in what `kill list` prints.
fn id(list: &serde_json::Value) -> Option<String> {
    let kills = list.get("kills").unwrap_or(list);
    let first = kills
        .as_array()
        .and_then(|kills| kills.first())
        .unwrap_or(kills);
    first.get("id")?.as_str().map(str::to_owned)
}
