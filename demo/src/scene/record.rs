//! The record of the demo: verified offline, forged in a copy, and looked into.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::SceneError;
use super::gate::Gate;
use super::stage::Stage;
use crate::console::{Console, Mark, shortened};

/// More records than the demo writes.
const ALL: &str = "100000";

/// Widest line of a record that is shown.
const WIDTH: usize = 180;

/// Why the record could not be looked into.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file could not be copied or changed.
    #[error("failed to copy `{path}`")]
    Copy {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no file with records.
    #[error("no records in `{path}`")]
    Empty {
        /// Where they were looked for.
        path: PathBuf,
    },
    /// A record is not JSON.
    #[error("a record cannot be read")]
    Json(#[from] serde_json::Error),
}

/// Shows that the record is sound, that a forged one is not, and what two of its calls left.
pub(super) async fn show(
    console: &Console,
    stage: &Stage,
    gate: &Gate,
) -> Result<bool, SceneError> {
    console.heading("The record of every call, read without the gateway")?;
    let key = stage.noted_key().to_string_lossy().into_owned();
    let verified = gate.command(&["audit", "verify", "--key", &key]).await?;
    let mark = if verified.good {
        Mark::Through
    } else {
        Mark::Wrong
    };
    let (said, rest) = verified
        .text
        .split_once('\n')
        .unwrap_or((&verified.text, ""));
    console.line(mark, "keepgate audit verify", said)?;
    for line in rest.lines() {
        console.remark(line)?;
    }
    let found = forge(console, stage, gate, &key).await?;
    let shown = look(console, gate).await?;
    Ok(verified.good && found && shown)
}

/// Changes one byte in a copy; verifying that must fail.
async fn forge(
    console: &Console,
    stage: &Stage,
    gate: &Gate,
    key: &str,
) -> Result<bool, SceneError> {
    let forged = stage.directory().join("forged-record");
    copy(&stage.record(), &forged)?;
    flip(&forged)?;
    let log = forged.to_string_lossy().into_owned();
    let arguments = ["audit", "verify", "--log", &log, "--key", key];
    let verified = gate.command(&arguments).await?;
    let mark = if verified.good {
        Mark::Wrong
    } else {
        Mark::Refused
    };
    let said = verified.text.lines().next().unwrap_or_default();
    console.line(
        mark,
        "the same, one byte changed in a copy",
        &shortened(said, WIDTH),
    )?;
    Ok(!verified.good)
}

/// Shows what the allowed and the refused query left.
async fn look(console: &Console, gate: &Gate) -> Result<bool, SceneError> {
    let tail = gate
        .command(&["audit", "tail", "-n", ALL, "--output", "json"])
        .await?;
    let records: Vec<Value> = tail
        .text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(RecordError::from)?;
    let mut good = tail.good;
    for (kind, last, what, meaning) in [
        (
            "call.intent",
            "call.outcome",
            "keepgate audit show, for the SELECT",
            "the intent before the call, the outcome after it",
        ),
        (
            "call.refused",
            "call.refused",
            "keepgate audit show, for the DELETE",
            "the refusal, and nothing that was sent",
        ),
    ] {
        let Some(decision) = decision(&records, kind) else {
            console.line(Mark::Wrong, what, "nothing")?;
            good = false;
            continue;
        };
        let shown = gate.command(&["audit", "show", decision]).await?;
        let mut lines = shown.text.lines();
        let begins = lines.clone().next().is_some_and(|line| line.contains(kind));
        let ends = lines.next_back().is_some_and(|line| line.contains(last));
        let whole = shown.good && begins && ends;
        let mark = if whole { Mark::Fact } else { Mark::Wrong };
        console.line(mark, what, meaning)?;
        for line in shown.text.lines() {
            console.print(&format!("      {}", shortened(line, WIDTH)))?;
        }
        good &= whole;
    }
    Ok(good)
}

/// The decision of the first query among the records of this kind.
fn decision<'a>(records: &'a [Value], kind: &str) -> Option<&'a str> {
    let text = |record: &'a Value, name: &str| record.get(name).and_then(Value::as_str);
    records
        .iter()
        .find(|record| {
            text(record, "kind") == Some(kind)
                && text(record, "tool_name") == Some("query_database")
        })
        .and_then(|record| text(record, "decision_id"))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Copy { path, source }
}

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) -> Result<(), RecordError> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let from = entry.map_err(at(from))?.path();
        let Some(name) = from.file_name() else {
            continue;
        };
        let to = to.join(name);
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(at(&from)).map(drop)?;
        }
    }
    Ok(())
}

/// Flips one bit in the middle of the first file with records.
fn flip(log: &Path) -> Result<(), RecordError> {
    let entries = log.join("tile").join("entries");
    let mut waiting = vec![entries.clone()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(at(&path))? {
                waiting.push(entry.map_err(at(&path))?.path());
            }
            continue;
        }
        let mut bytes = fs::read(&path).map_err(at(&path))?;
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
            return fs::write(&path, &bytes).map_err(at(&path));
        }
    }
    Err(RecordError::Empty { path: entries })
}
