//! Kills without a gateway that answers: written to the file next to the database, where one finds them.

use std::path::Path;
use std::time::{Instant, SystemTime};

use keepgate_admin::Known;
use keepgate_store::kill::{Clear, Entry, FileError, Kill, KillFile, Scope, Set, text};
use serde_json::{Value, json};

use super::{Context, Gateway, Why, warnings};
use crate::arguments::ClearKill;
use crate::commands::api::account;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::known::without_gateway;

/// Writes the kill where a gateway finds it: one that runs within a second, one that starts before it listens.
pub(super) fn write(state: &Path, may_make: bool, entry: Set) -> Result<(), Failure> {
    // Making the directory of a mistyped path would look like success.
    if !may_make {
        exists(state)?;
        is_used(state)?;
    }
    let mut file = KillFile::new(state);
    file.append(&[Entry::Set(entry)])
        .map_err(|error| failed(&error))
}

fn exists(state: &Path) -> Result<(), Failure> {
    if state.is_dir() {
        return Ok(());
    }
    let missing = format!("no state directory: `{}`", state.display());
    Err(Failure::new(Exit::State, missing))
}

/// Fails where no gateway has ever run: a kill in a directory that none starts with cuts nothing off.
fn is_used(state: &Path) -> Result<(), Failure> {
    let files = [keepgate_admin::Token::FILE, KillFile::FILE];
    if files.iter().any(|file| state.join(file).exists()) {
        return Ok(());
    }
    let unused = format!(
        "no gateway has run with the state directory `{}`: is it the right one?",
        state.display()
    );
    Err(Failure::new(Exit::State, unused))
}

fn failed(error: &FileError) -> Failure {
    Failure::caused(Exit::Unreachable, error)
}

/// Prints that the kill is in the file.
pub(super) fn written(
    kill: &Kill,
    path: &Path,
    why: &Why,
    gateway: &Gateway,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let (Why::Unreachable(why) | Why::Silent(why)) = why;
    let state = path.parent().unwrap_or_else(|| Path::new("."));
    let mut notes = notes(why, state, gateway);
    notes.extend(unknown(&kill.scope, state, context));
    let answer = json!({
        "kill": Set::of(kill), "via": "file", "file": path, "warnings": notes,
    });
    context.output.report(&answer, |answer| {
        format!(
            "The gateway cannot be reached ({why}).\n\
             Written to {}: a gateway that runs there cuts off {} within a second,\n\
             one that starts there does before it takes calls. Id {}.\n\
             Look whether it does: keepgate kill list\n{}",
            path.display(),
            kill.scope,
            kill.id,
            after_first(answer),
        )
    });
    Ok(())
}

/// Warnings for an operator whose act is in the file, the reason first.
fn notes(why: &str, state: &Path, gateway: &Gateway) -> Vec<String> {
    let mut notes = vec![format!("the gateway cannot be reached ({why})")];
    if !state.join(keepgate_admin::Token::FILE).exists() {
        notes.push(format!(
            "no gateway has run with the state directory `{}`: is it the right one?",
            state.display()
        ));
    }
    notes.extend(gateway.notes.iter().cloned());
    notes
}

/// The warnings without the first, which the text has.
fn after_first(answer: &Value) -> String {
    warnings(answer).split_inclusive('\n').skip(1).collect()
}

/// Warns of a target that nobody knows, as far as that can be known without a gateway.
fn unknown(scope: &Scope, state: &Path, context: &Context<'_>) -> Option<String> {
    let has_target = scope.target().is_some();
    let configuration = context.configuration().ok().filter(|it| it.state == state);
    let Some(configuration) = configuration else {
        return has_target.then(|| {
            "the target was compared with nothing: no valid configuration of this gateway is at hand".to_owned()
        });
    };
    match (without_gateway(scope, &configuration), scope) {
        (Known::Unread, Scope::Tool { server, .. }) => Some(format!(
            "{scope} is not known yet: a gateway that runs knows the tools of `{server}`"
        )),
        (known, _) => known.warning(scope),
    }
}

/// `kill clear` where no gateway runs.
pub(super) fn clear(
    wish: &ClearKill,
    state: &Path,
    why: &str,
    gateway: &Gateway,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    exists(state)?;
    let mut file = KillFile::new(state);
    let kills = file.kills().map_err(|error| failed(&error))?;
    let kill = active(&kills, &wish.id)?;
    let end = Clear {
        id: wish.id.clone(),
        reason: wish.reason.clone(),
        by: format!("local:{}", account()),
        at: text(SystemTime::now()),
    };
    // A line that makes no sense would cut everything off at the next start.
    end.check()
        .map_err(|what| Failure::new(Exit::Usage, format!("the kill was not cleared: {what}")))?;
    file.append(&[Entry::Clear(end)])
        .map_err(|error| failed(&error))?;
    let mut notes = notes(why, state, gateway);
    let now = Instant::now();
    let others = kills
        .iter()
        .filter(|other| other.id != kill.id && other.is_in_force(now) && other.is_wider(kill));
    notes.extend(others.map(|other| {
        let (target, id, scope) = (&kill.scope, &other.id, &other.scope);
        format!("{target} is still cut off by {id} ({scope})")
    }));
    let mut shown = json!(Set::of(kill));
    if let Some(members) = shown.as_object_mut() {
        members.insert("state".to_owned(), "cleared".into());
    }
    let answer = json!({"kill": shown, "via": "file", "file": file.path(), "warnings": notes});
    context.output.report(&answer, |answer| {
        format!(
            "The gateway cannot be reached ({why}).\n\
             CLEARED {}: {}, in {}:\n\
             a gateway that starts there does not cut it off any more, one that runs there stops within a second.\n{}",
            kill.id,
            kill.scope,
            file.path().display(),
            after_first(answer),
        )
    });
    Ok(())
}

/// The kill of this id, which has to be active.
fn active<'a>(kills: &'a [Kill], id: &str) -> Result<&'a Kill, Failure> {
    let Some(kill) = kills.iter().find(|kill| *kill.id == *id) else {
        let missing = format!("no kill of {} has this id: `{id}`", KillFile::FILE);
        return Err(Failure::new(Exit::Negative, missing)
            .hint("keepgate.db may have it: start the gateway, and clear it then"));
    };
    let now = Instant::now();
    if !kill.is_in_force(now) {
        let state = kill.state(now).as_str();
        return Err(Failure::new(
            Exit::Negative,
            format!("the kill is {state} already: `{id}`"),
        ));
    }
    Ok(kill)
}
