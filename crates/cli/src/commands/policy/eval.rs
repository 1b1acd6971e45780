//! `policy eval`: the decision on an input, or the answer to any question.

use super::recorded::read;
use super::{load, sources};
use crate::arguments::EvalPolicy;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// `policy eval`.
pub(super) fn run(wish: &EvalPolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let policy = load(sources(context, &wish.directories)?)?;
    let input = wish.input.as_deref().map(read).transpose()?;
    let pretty = |value: &serde_json::Value| {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        format!("{text}\n")
    };
    if let Some(query) = &wish.query {
        let answers = policy.query(input.as_deref(), query);
        let answers = answers.map_err(|error| Failure::caused(Exit::Negative, &error))?;
        return Ok(context.output.print(&answers, |answers| {
            if answers.is_empty() {
                return "undefined\n".to_owned();
            }
            answers.iter().map(pretty).collect()
        })?);
    }
    let input = input.ok_or_else(|| {
        Failure::new(Exit::Usage, "there is nothing to judge")
            .hint("name a file with -i, `-` for standard input")
    })?;
    let decision = policy.evaluate(&input);
    let decision = decision.map_err(|error| Failure::caused(Exit::Negative, &error))?;
    context.output.print(&decision, pretty)?;
    let refused = decision.get("effect").and_then(serde_json::Value::as_str) == Some("deny");
    if refused {
        Err(Failure::told(Exit::Negative))
    } else {
        Ok(())
    }
}
