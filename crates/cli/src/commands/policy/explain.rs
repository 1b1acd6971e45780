//! `policy explain`: why a decision came out as it did.

use std::fmt::Write as _;

use keepgate_mcp::visible::visible;
use keepgate_policy::{Explanation, FailedAt, Outcome, Recorded, RuleReport};
use serde::Serialize;

use super::recorded::{find, lines, read};
use super::{load, sources};
use crate::arguments::ExplainPolicy;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// What is told.
#[derive(Serialize)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<About>,
    #[serde(flatten)]
    explanation: Explanation,
}

/// What is known of the recorded decision.
#[derive(Serialize)]
struct About {
    decision: String,
    timestamp: String,
    caller: String,
    call: String,
    /// What was decided then.
    effect: String,
    /// Under which policies.
    revision: String,
    /// Why what is told may differ from what happened.
    notes: Vec<String>,
}

/// `policy explain`.
pub(super) fn run(wish: &ExplainPolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let recorded = match &wish.decision {
        Some(id) => {
            let lines = lines(context, &wish.from)?;
            let missing = || {
                Failure::new(Exit::Negative, format!("no such decision: `{id}`"))
                    .hint("it may be older than the files kept, or have been dropped")
            };
            Some(find(&lines, id).ok_or_else(missing)?)
        }
        None => None,
    };
    let input = match (&recorded, &wish.input) {
        (Some(recorded), _) => recorded.input().ok_or_else(|| {
            Failure::new(
                Exit::Negative,
                "the decision was recorded without its input",
            )
            .hint("the rules on the decision log failed, or erase it")
        })?,
        (None, Some(path)) => read(path)?,
        (None, None) => return Err(Failure::new(Exit::Usage, "there is nothing to explain")),
    };
    let policy = load(sources(context, &wish.directories)?)?;
    let explanation = policy
        .explain(&input)
        .map_err(|error| Failure::caused(Exit::Negative, &error))?;
    let told = Told {
        recorded: recorded.map(|recorded| about(&recorded, &explanation)),
        explanation,
    };
    Ok(context.output.print(&told, |told| text(told, wish.all))?)
}

fn about(recorded: &Recorded, now: &Explanation) -> About {
    let mut notes = Vec::new();
    if recorded.revision() != now.revision {
        notes.push(format!(
            "decided by revision {}; these policies are revision {}",
            recorded.revision(),
            now.revision
        ));
    }
    if recorded.effect() != now.effect {
        notes.push(format!("it was decided otherwise: {}", recorded.effect()));
    }
    let left_out = recorded.left_out();
    if !left_out.is_empty() {
        let places: Vec<String> = left_out
            .iter()
            .map(|place| place.trim_start_matches('/').replace('/', "."))
            .collect();
        notes.push(format!(
            "left out of the record, and judged as if it had not been there: {}",
            places.join(", ")
        ));
    }
    About {
        decision: recorded.id().to_owned(),
        timestamp: recorded.timestamp().to_owned(),
        caller: recorded.caller().to_owned(),
        call: recorded.tool(),
        effect: recorded.effect().to_owned(),
        revision: recorded.revision().to_owned(),
        notes,
    }
}

fn text(told: &Told, all: bool) -> String {
    let mut text = format!("{}\n", told.explanation.summary);
    if let Some(about) = &told.recorded {
        let lines = [
            ("decision", &about.decision),
            ("made", &about.timestamp),
            ("caller", &about.caller),
            ("call", &about.call),
        ];
        text.push('\n');
        for (name, value) in lines {
            line(&mut text, format_args!("  {name:<9} {}", visible(value)));
        }
        for note in &about.notes {
            line(&mut text, format_args!("  note      {}", visible(note)));
        }
    }
    let layers = &told.explanation.layers;
    for layer in layers {
        if layers.len() > 1 {
            line(&mut text, format_args!("\nlayer {}", layer.layer));
        }
        let mut set = "";
        let mut hidden = 0;
        for rule in &layer.rules {
            // Obligations that do not hold, and rules of other phases, explain nothing.
            let decides = matches!(rule.set.as_str(), "deny" | "approve" | "allow");
            let refused = told.explanation.effect == "deny";
            let is_idle = match rule.outcome {
                // Nothing is obliged to where nothing is let through.
                Outcome::Held { .. } if refused && !decides => true,
                Outcome::NotAsked => true,
                Outcome::Failed { .. } => !decides,
                Outcome::Held { .. } | Outcome::Error { .. } => false,
            };
            if is_idle && !all {
                hidden += 1;
                continue;
            }
            if rule.set != set {
                set = &rule.set;
                line(&mut text, format_args!("\n{set}"));
            }
            told_rule(&mut text, rule);
        }
        let more = match hidden {
            0 => continue,
            1 => "1 more rule says",
            _ => "more rules say",
        };
        let count = if hidden > 1 {
            format!("{hidden} ")
        } else {
            String::new()
        };
        line(
            &mut text,
            format_args!("\n{count}{more} nothing to this; --all shows all"),
        );
    }
    text
}

fn told_rule(text: &mut String, rule: &RuleReport) {
    let word = match rule.outcome {
        Outcome::Held { .. } => "held",
        Outcome::Failed { .. } => "failed",
        Outcome::Error { .. } => "ERROR",
        Outcome::NotAsked => "not asked",
    };
    let title = rule.title.as_deref().unwrap_or_default();
    let place = format!("{}:{}", rule.file.display(), rule.line);
    let head = format!("  {word:<9} {place}  {title}");
    line(text, format_args!("{}", head.trim_end()));
    match &rule.outcome {
        Outcome::Held { entries } => {
            for entry in entries {
                line(text, format_args!("            = {entry}"));
            }
        }
        Outcome::Failed { at } => stopped(text, at.as_ref()),
        Outcome::Error { message, at } => {
            line(text, format_args!("            {message}"));
            stopped(text, at.as_ref());
        }
        Outcome::NotAsked => {}
    }
}

fn stopped(text: &mut String, at: Option<&FailedAt>) {
    let Some(at) = at else { return };
    line(
        text,
        format_args!("            line {}: {}", at.line, at.text),
    );
    for looked in &at.values {
        match &looked.value {
            Some(value) => line(
                text,
                format_args!("              {} is {value}", looked.name),
            ),
            None => line(
                text,
                format_args!("              {} is not there", looked.name),
            ),
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "{line}");
}
