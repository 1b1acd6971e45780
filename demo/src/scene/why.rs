//! A refusal explained: which rule, which line, what it looked at.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::SceneError;
use super::gate::Gate;
use crate::console::{Console, Mark};

/// The refusal that is explained.
const CODE: &str = "sql_not_select";
/// How much of the explanation is shown.
const LINES: usize = 13;

/// Explains the first refused query; `false` when it cannot be.
pub(super) async fn show(
    console: &Console,
    decisions: &Path,
    gate: &Gate,
) -> Result<bool, SceneError> {
    console.heading("Why was the DELETE refused? (keepgate policy explain)")?;
    let text = fs::read_to_string(decisions)?;
    let mut events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused = |event: &Value| {
        let code = event.pointer("/result/reasons/0/code");
        code.and_then(Value::as_str) == Some(CODE)
    };
    let Some(event) = events.find(refused) else {
        console.line(Mark::Wrong, CODE, "no such decision in the decision log")?;
        return Ok(false);
    };
    let id = event.get("decision_id").and_then(Value::as_str);
    let told = gate
        .command(&["policy", "explain", id.unwrap_or_default()])
        .await?;
    for line in told.text.lines().take(LINES) {
        console.print(&format!("      {line}"))?;
    }
    Ok(told.good)
}
