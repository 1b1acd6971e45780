//! `kill set|clear|list|drill`: the switch, by the operators' API; and without it, by the file beside the database.

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use http::Method;
use keepgate_store::kill::{Entry, Kill as Cut, KillFile, Scope, Set, Tenant, Wish};
use serde_json::{Value, json};

use super::Context;
use super::api::{Gateway, Unanswered, account};
use crate::arguments::{ClearKill, DrillKill, Kill, ListKills, SetKill};
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::output::table;

const KILLS: &str = "/api/v1/kills";

/// `kill ..`.
pub(super) fn run(command: Kill, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Kill::Set(wish) => set(&wish, context),
        Kill::Clear(wish) => clear(&wish, context),
        Kill::List(wish) => list(&wish, context),
        Kill::Drill(wish) => drill(&wish, context),
    }
}

/// Checks what can be known without a gateway, so that a slip of the finger costs no round trip.
fn scope(word: &str, target: Option<&str>) -> Result<Scope, Failure> {
    Scope::parse(word, target).map_err(|error| Failure::caused(Exit::Usage, &error))
}

/// A request's body: the fields that have a value.
fn body<const N: usize>(fields: [(&str, Option<String>); N]) -> Value {
    let given = fields.into_iter();
    let given = given.filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    Value::Object(given.collect())
}

/// `kill set`.
fn set(wish: &SetKill, context: &mut Context<'_>) -> Result<(), Failure> {
    let what = &wish.what;
    let parsed = scope(&what.scope, what.target.as_deref())?;
    let gateway = Gateway::of(&wish.api, context)?;
    let lasts = wish.expires.as_ref();
    let body = body([
        ("scope", Some(what.scope.clone())),
        ("reason", Some(wish.reason.clone())),
        ("target", what.target.clone()),
        ("tenant", what.tenant.clone()),
        (
            "expires_in",
            lasts.map(|lasts| format!("{}s", lasts.as_secs())),
        ),
    ]);
    let answer = match gateway.ask(Method::POST, KILLS, Some(&body)) {
        Ok(answer) => answer,
        Err(Unanswered::Unreachable(why)) => {
            let Some(state) = &gateway.local else {
                return Err(Unanswered::Unreachable(why).into());
            };
            return aside(wish, parsed, state, &why, context);
        }
        Err(Unanswered::Failed(failure)) => return Err(failure),
    };
    say(&answer, context)
}

/// Prints an act; one that would not outlive the gateway's process is no success.
fn say(answer: &Value, context: &mut Context<'_>) -> Result<(), Failure> {
    context.output.print(answer, told)?;
    if answer["durable"] == true {
        Ok(())
    } else {
        Err(Failure::told(Exit::Fleeting))
    }
}

/// Writes the kill where a gateway finds it: one that runs within a second, one that starts before it listens.
fn aside(
    wish: &SetKill,
    scope: Scope,
    state: &Path,
    why: &str,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let kill = Cut::new(
        Wish {
            scope,
            tenant: wish.what.tenant.as_deref().map(Tenant::new),
            reason: wish.reason.clone(),
            by: format!("local:{}", account()),
            lasts: wish.expires,
        },
        SystemTime::now(),
    )
    .map_err(|error| Failure::caused(Exit::Usage, &error))?;
    let mut file = KillFile::new(state);
    let set = Set::of(&kill);
    file.append(&[Entry::Set(set.clone())]).map_err(|error| {
        Failure::new(
            Exit::Unreachable,
            format!(
                "the gateway cannot be reached ({why}), and {}",
                chain(&error)
            ),
        )
        .hint("NOTHING IS CUT OFF; end the gateway's process, or block its address")
    })?;
    let answer = json!({
        "kill": set, "via": "file", "file": file.path(),
        "warnings": [format!("the gateway cannot be reached ({why})")],
    });
    Ok(context.output.print(&answer, |_| {
        format!(
            "The gateway cannot be reached ({why}).\n\
             Written to {}: a gateway that runs there cuts off {} within a second,\n\
             one that starts there does before it takes calls. Id {}.\n\
             Look whether it does: keepgate kill list\n",
            file.path().display(),
            kill.scope,
            kill.id
        )
    })?)
}

/// `kill clear`.
fn clear(wish: &ClearKill, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.api, context)?;
    let path = format!("{KILLS}/{}", segment(&wish.id)?);
    let body = json!({"reason": wish.reason});
    let answer = gateway.ask(Method::DELETE, &path, Some(&body))?;
    say(&answer, context)
}

/// An id as a part of a path.
fn segment(id: &str) -> Result<&str, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !id.is_empty() && id.bytes().all(plain) {
        return Ok(id);
    }
    Err(Failure::new(
        Exit::Usage,
        format!("not the id of a kill: `{id}`"),
    ))
}

/// `kill list`.
fn list(wish: &ListKills, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.api, context)?;
    let query = if wish.all { "?all=true" } else { "" };
    let answer = gateway.ask(Method::GET, &format!("{KILLS}{query}"), None)?;
    Ok(context.output.print(&answer, |answer| {
        let kills = answer["kills"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut said = if kills.is_empty() {
            format!("nothing is cut off at {}\n", gateway.url())
        } else {
            let rows: Vec<[String; 9]> = kills.iter().map(row).collect();
            let headings = [
                "ID", "STATE", "SCOPE", "TARGET", "TENANT", "BY", "SET", "EXPIRES", "REASON",
            ];
            table(headings, &rows)
        };
        said.push_str(&warnings(answer));
        said
    })?)
}

fn row(kill: &Value) -> [String; 9] {
    let text = |name: &str| printable(kill[name].as_str().unwrap_or("-"));
    let moment = |name: &str| {
        let text = text(name);
        text.split_once('.')
            .map_or_else(|| text.clone(), |(whole, _)| format!("{whole}Z"))
    };
    [
        text("id"),
        text("state"),
        text("scope"),
        text("target"),
        text("tenant"),
        text("by"),
        moment("set_at"),
        moment("expires_at"),
        text("reason"),
    ]
}

/// Text of others as it can stand on a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

/// `kill drill`.
fn drill(wish: &DrillKill, context: &mut Context<'_>) -> Result<(), Failure> {
    let what = &wish.what;
    scope(&what.scope, what.target.as_deref())?;
    let gateway = Gateway::of(&wish.api, context)?;
    let body = body([
        ("scope", Some(what.scope.clone())),
        ("target", what.target.clone()),
        ("tenant", what.tenant.clone()),
    ]);
    let answer = gateway.ask(Method::POST, &format!("{KILLS}/drill"), Some(&body))?;
    Ok(context.output.print(&answer, |report| {
        let cut = &report["would_cut"];
        let names = |value: &Value| {
            let names = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let names: Vec<String> = names.iter().filter_map(Value::as_str).map(printable).collect();
            if names.is_empty() { "-".to_owned() } else { names.join(", ") }
        };
        let mut said = format!(
            "Nothing was changed. Cutting off {} now would\n  cut    {} running calls and streams\n  end    {} sessions, {} of them active in the last 5 minutes\n  stop   callers: {}\n  on     servers: {}\n",
            title(report), cut["running"], cut["sessions"], cut["sessions_active"],
            names(&cut["callers"]), names(&cut["servers"]),
        );
        if let Some(path) = report["path"].as_str() {
            // Writing to a String cannot fail.
            let _infallible = writeln!(said, "Report: {path}");
        }
        said.push_str(&warnings(report));
        said
    })?)
}

/// What is cut off, in words.
fn title(kill: &Value) -> String {
    let text = |name: &str| kill[name].as_str().map(printable);
    let mut said = text("scope").unwrap_or_default();
    if let Some(target) = text("target") {
        said = format!("{said} {target}");
    }
    if let Some(tenant) = text("tenant") {
        said = format!("{said} of tenant {tenant}");
    }
    said
}

/// An act, in words.
fn told(answer: &Value) -> String {
    let kill = &answer["kill"];
    let id = kill["id"].as_str().unwrap_or_default();
    let mut said = if kill["state"] == "cleared" {
        format!("CLEARED {id}: {}\n", title(kill))
    } else {
        let end = kill["expires_at"].as_str().map_or_else(
            || format!("until cleared: keepgate kill clear {id} --reason WHY"),
            |end| format!("until {end}"),
        );
        format!(
            "KILLED {}: new calls are refused, {} running were cut\n  id {id}, {end}\n",
            title(kill),
            answer["cut"]
        )
    };
    said.push_str(&warnings(answer));
    said
}

fn warnings(answer: &Value) -> String {
    let warnings = answer["warnings"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let lines = warnings.iter().filter_map(Value::as_str);
    lines
        .map(|line| format!("WARNING: {}\n", printable(line)))
        .collect()
}
