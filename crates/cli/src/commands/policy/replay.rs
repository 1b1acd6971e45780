//! `policy replay`: what other policies would have decided.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use keepgate_policy::replay::{Changes, Example, Replay, Verdict, replay};
use serde::Serialize;

use super::recorded::lines;
use super::{load, sources};
use crate::arguments::ReplayPolicy;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::table;

/// How many tools or callers are named.
const NAMED: usize = 5;

/// What is told.
#[derive(Serialize)]
struct Told {
    verdict: Verdict,
    #[serde(flatten)]
    replay: Replay,
}

/// `policy replay`.
pub(super) fn run(wish: &ReplayPolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let lines = lines(context, &wish.from)?;
    let candidate = load(sources(context, &wish.candidate)?)?;
    let replay = replay(&candidate, lines.iter().map(String::as_str));
    let told = Told {
        verdict: replay.verdict(),
        replay,
    };
    context.output.print(&told, text)?;
    let exit = match told.verdict {
        Verdict::Same => return Ok(()),
        Verdict::Widened => Exit::Widened,
        Verdict::Narrowed => Exit::Narrowed,
        Verdict::Incomplete => Exit::Unreplayed,
    };
    Err(Failure::told(exit))
}

fn text(told: &Told) -> String {
    let replay = &told.replay;
    let mut text = match told.verdict {
        Verdict::Same => "SAME: every recorded decision stays as it is\n",
        Verdict::Widened => "WIDENED: the candidate allows something that was refused\n",
        Verdict::Narrowed => "NARROWED: the candidate allows less, and nothing more\n",
        Verdict::Incomplete => {
            "INCOMPLETE: nothing was seen to widen, but some records say nothing\n"
        }
    }
    .to_owned();
    let counts = format!(
        "{} decisions: {} the same, {} wider, {} narrower, {} not replayed; candidate revision {}\n",
        replay.total,
        replay.same,
        replay.widened,
        replay.narrowed,
        replay.not_replayed,
        replay.revision
    );
    text.push_str(&counts);
    if !replay.changes.is_empty() {
        let rows: Vec<[String; 4]> = replay
            .changes
            .iter()
            .map(|(kind, changes)| {
                let numbers = [changes.count, changes.widened, changes.narrowed];
                let [count, wider, narrower] = numbers.map(|number| number.to_string());
                [kind.clone(), count, wider, narrower]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(["CHANGE", "COUNT", "WIDER", "NARROWER"], &rows));
    }
    for (kind, changes) in &replay.changes {
        told_changes(&mut text, kind, changes);
    }
    for (why, examples) in &replay.reasons {
        let ids = examples.ids.join(", ");
        line(
            &mut text,
            format_args!("\nnot replayed: {}, {why}", examples.count),
        );
        if !ids.is_empty() {
            line(&mut text, format_args!("  {ids}"));
        }
    }
    text
}

fn told_changes(text: &mut String, kind: &str, changes: &Changes) {
    line(text, format_args!("\n{kind}"));
    line(
        text,
        format_args!("  by tool    {}", most(&changes.by_tool)),
    );
    line(
        text,
        format_args!("  by caller  {}", most(&changes.by_caller)),
    );
    for example in &changes.examples {
        let Example {
            id,
            caller,
            tool,
            before,
            after,
            details,
        } = example;
        let (before, after) = (before.join(" "), after.join(" "));
        line(
            text,
            format_args!("  {id}  {caller}  {tool}  {before} -> {after}"),
        );
        for detail in details {
            line(text, format_args!("      {detail}"));
        }
    }
}

/// Those with the highest counts.
fn most(counts: &BTreeMap<String, usize>) -> String {
    let mut counts: Vec<(&String, &usize)> = counts.iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let named: Vec<String> = counts
        .iter()
        .take(NAMED)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let more = counts.len().saturating_sub(NAMED);
    let rest = match more {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}{rest}", named.join(", "))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "{line}");
}
