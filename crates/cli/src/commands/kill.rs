//! `kill set|clear|list|drill`: the switch, by the operators' API; and without it, by the file beside the database.

mod file;
mod writer;

pub(super) use writer::enter;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use http::Method;
use keepgate_mcp::visible::visible;
use keepgate_store::kill::{Kill as Cut, Scope, Set, Tenant, Wish};
use serde_json::{Value, json};

use super::Context;
use super::api::{Gateway, Unanswered, account};
use crate::arguments::{ClearKill, DrillKill, Kill, ListKills, SetKill};
use crate::exit::Exit;
use crate::failure::Failure;
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

/// `kill set`. Whatever keeps it from cutting off is reported as that, first and aloud.
fn set(wish: &SetKill, context: &mut Context<'_>) -> Result<(), Failure> {
    let (gateway, kill, body) = prepared(wish, context).map_err(|failure| failure.before(UNCUT))?;
    let (report, outcome) = mpsc::channel();
    let (asking, answered) = (gateway.clone(), report.clone());
    std::thread::spawn(move || {
        let answer = asking.ask(Method::POST, KILLS, Some(&body));
        // The other way was quicker.
        let _unheard = answered.send(Outcome::Answer(answer));
    });
    let first = outcome.recv_timeout(ANSWERS);
    let why = match first {
        Ok(Outcome::Answer(Ok(answer))) => return say(&answer, context),
        Ok(Outcome::Answer(Err(Unanswered::Failed(failure)))) => return Err(failure.before(UNCUT)),
        Ok(Outcome::Answer(Err(Unanswered::Unreachable(why)))) => Why::Unreachable(why),
        Ok(Outcome::Answer(Err(Unanswered::Silent(why)))) => Why::Silent(why),
        Ok(Outcome::Written(_)) | Err(_) => Why::Silent(format!(
            "no answer for {ANSWERS:?} from `{}`",
            gateway.place()
        )),
    };
    let Some(state) = gateway.local.clone() else {
        return match why {
            Why::Unreachable(why) => Err(Failure::from(Unanswered::Unreachable(why)).before(UNCUT)),
            // Nothing else to try: it may take longer.
            Why::Silent(_) => last(&outcome, context),
        };
    };
    let (entry, may_make) = (Set::of(&kill), gateway.may_make);
    std::thread::spawn(move || {
        let _unheard = report.send(Outcome::Written(writer::write(&state, may_make, &entry)));
    });
    match (why, outcome.recv_timeout(WRITES)) {
        (why, Ok(Outcome::Written(Ok(path)))) => {
            file::written(&kill, &path, &why, &gateway, context)
        }
        (Why::Silent(_), Ok(Outcome::Answer(Ok(answer)))) => say(&answer, context),
        (Why::Silent(why), Ok(Outcome::Written(Err(failure)))) => {
            // It was sent: the gateway may have taken it.
            let asked = last(&outcome, context);
            asked.map_err(|_no_answer| failure.before(&format!("{UNKNOWN} ({why})")))
        }
        (Why::Unreachable(why), Ok(Outcome::Written(Err(failure)))) => Err(failure
            .before(&format!("{UNCUT} ({why})"))
            .hint("end the gateway's process, or block its address")),
        (_, Ok(Outcome::Answer(_)) | Err(_)) => Err(Failure::new(
            Exit::Unreachable,
            "neither the gateway nor the disk has answered",
        )
        .before(UNKNOWN)
        .hint("end the gateway's process, or block its address")),
    }
}

/// First words of a `set` that did nothing.
pub(crate) const UNCUT: &str = "NOTHING WAS CUT OFF";
/// First words when the gateway was asked and has not answered.
const UNKNOWN: &str = "IT IS NOT KNOWN WHETHER ANYTHING WAS CUT OFF";
/// Longest wait for an answer before the kill is written to the file, too.
const ANSWERS: Duration = Duration::from_secs(2);
/// Longest wait for file and gateway after that.
const WRITES: Duration = Duration::from_secs(10);

/// Result of one of the two ways.
enum Outcome {
    Answer(Result<Value, Unanswered>),
    Written(Result<PathBuf, Failure>),
}

/// Reason for the file.
enum Why {
    /// The request was not sent.
    Unreachable(String),
    /// It was sent, and may take effect later: under the same id.
    Silent(String),
}

/// Gateway, kill and request. The kill has its id from here: the gateway's answer that comes late and the file mean one.
fn prepared(wish: &SetKill, context: &Context<'_>) -> Result<(Gateway, Cut, Value), Failure> {
    let what = &wish.what;
    let parsed = scope(&what.scope, what.target.as_deref())?;
    let kill = Cut::new(
        Wish {
            scope: parsed,
            tenant: what.tenant.as_deref().map(Tenant::new),
            reason: wish.reason.clone(),
            by: format!("local:{}", account()),
            lasts: wish.expires,
        },
        SystemTime::now(),
    )
    .map_err(|error| Failure::caused(Exit::Usage, &error))?;
    let gateway = Gateway::of(&wish.api, context)?;
    let lasts = wish.expires.as_ref();
    let body = body([
        ("id", Some(kill.id.to_string())),
        ("scope", Some(what.scope.clone())),
        ("reason", Some(wish.reason.clone())),
        ("target", what.target.clone()),
        ("tenant", what.tenant.clone()),
        (
            "expires_in",
            // In whole seconds: rather longer than shorter.
            lasts.map(|lasts| format!("{}s", lasts.as_millis().div_ceil(1000))),
        ),
    ]);
    Ok((gateway, kill, body))
}

/// Waits for the gateway alone.
fn last(outcome: &mpsc::Receiver<Outcome>, context: &mut Context<'_>) -> Result<(), Failure> {
    match outcome.recv_timeout(WRITES) {
        Ok(Outcome::Answer(Ok(answer))) => say(&answer, context),
        Ok(Outcome::Answer(Err(Unanswered::Failed(failure)))) => Err(failure.before(UNCUT)),
        Ok(Outcome::Answer(Err(Unanswered::Unreachable(why) | Unanswered::Silent(why)))) => {
            Err(Failure::from(Unanswered::Unreachable(why)).before(UNKNOWN))
        }
        Ok(Outcome::Written(_)) | Err(_) => {
            Err(Failure::new(Exit::Unreachable, "the gateway has not answered").before(UNKNOWN))
        }
    }
}

/// Prints an act; one that would not outlive the gateway's process is no success.
fn say(answer: &Value, context: &mut Context<'_>) -> Result<(), Failure> {
    context.output.report(answer, told);
    if answer["durable"] != true {
        return Err(Failure::told(Exit::Fleeting));
    }
    if answer["partial"] == true
        && answer
            .pointer("/kill/state")
            .is_some_and(|state| state == "active")
    {
        return Err(Failure::told(Exit::Partial));
    }
    Ok(())
}

/// `kill clear`. Where no gateway runs it is written to the file, as a kill is.
fn clear(wish: &ClearKill, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.api, context)?;
    let path = format!("{KILLS}/{}", segment(&wish.id)?);
    let body = json!({"reason": wish.reason});
    match (
        gateway.ask(Method::DELETE, &path, Some(&body)),
        &gateway.local,
    ) {
        (Ok(answer), _) => say(&answer, context),
        // One that runs and does not answer may have done it, or do it yet.
        (Err(Unanswered::Unreachable(why)), Some(state)) if !gateway.runs() => {
            file::clear(wish, state, &why, &gateway, context)
        }
        (Err(Unanswered::Silent(why)), _) => Err(Failure::new(Exit::Unreachable, why)
            .before("IT IS NOT KNOWN WHETHER THE KILL WAS CLEARED: the gateway has the request and has not answered")
            .hint("it may be cleared yet: keepgate kill list")),
        (Err(Unanswered::Unreachable(why)), Some(state)) => {
            let state = state.display();
            let runs = format!(
                "nothing was cleared: a gateway runs with the state directory `{state}` and is not reached from here ({why})"
            );
            Err(Failure::new(Exit::Unreachable, runs).hint(
                "run the command where the gateway runs, such as in its container, or name its operators' listener: --url and --token-file",
            ))
        }
        (Err(unanswered), _) => Err(unanswered.into()),
    }
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
    let answer = every_page(&gateway, wish.all)?;
    Ok(context.output.print(&answer, |answer| {
        let kills = answer["kills"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut said = if kills.is_empty() {
            format!("nothing is cut off at {}\n", gateway.place())
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

/// The kills of all pages in one answer.
fn every_page(gateway: &Gateway, all: bool) -> Result<Value, Failure> {
    let all = if all { "all=true&" } else { "" };
    let mut query = all.trim_end_matches('&').to_owned();
    let mut kills = Vec::new();
    loop {
        let joint = if query.is_empty() { "" } else { "?" };
        let mut page = gateway.ask(Method::GET, &format!("{KILLS}{joint}{query}"), None)?;
        let Some(members) = page.as_object_mut() else {
            return Ok(page);
        };
        if let Some(Value::Array(more)) = members.get_mut("kills") {
            kills.append(more);
        }
        match members.remove("next") {
            Some(Value::String(next)) => query = format!("{all}after={}", segment(&next)?),
            Some(_) | None => {
                members.insert("kills".to_owned(), Value::Array(kills));
                return Ok(page);
            }
        }
    }
}

fn row(kill: &Value) -> [String; 9] {
    let text = |name: &str| visible(kill[name].as_str().unwrap_or("-"));
    let moment = |name: &str| {
        let text = text(name);
        text.split_once('.')
            .map_or_else(|| text.clone(), |(whole, _)| format!("{whole}Z"))
    };
    [
        text("id"),
        if kill["remains"].is_object() {
            format!("{}, PARTIAL", text("state"))
        } else {
            text("state")
        },
        text("scope"),
        text("target"),
        text("tenant"),
        text("by"),
        moment("set_at"),
        moment("expires_at"),
        text("reason"),
    ]
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
            let names: Vec<String> = names.iter().filter_map(Value::as_str).map(visible).collect();
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
    let text = |name: &str| kill[name].as_str().map(visible);
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
            "{} {}: new calls are refused, {} running were cut\n  id {id}, {end}\n",
            if answer["partial"] == true {
                "KILLED IN PART"
            } else {
                "KILLED"
            },
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
        .map(|line| format!("WARNING: {}\n", visible(line)))
        .collect()
}
