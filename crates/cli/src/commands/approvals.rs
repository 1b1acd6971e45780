//! `approvals list|show|approve|deny|watch` and `grants list|revoke`, by the operators' API.

mod show;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use http::Method;
use keepgate_mcp::visible::visible;
use serde_json::{Value, json};

use super::Context;
use super::api::Gateway;
use crate::arguments::{
    Approvals, Grants, ListApprovals, NotifyTest, OneApproval, RevokeGrant, Verdict,
    WatchApprovals, Where,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::table;

const APPROVALS: &str = "/api/v1/approvals";
/// Letters of a digest that are enough to mean it.
const SHORTEST_DIGEST: usize = 12;
/// Interval in which `watch` asks.
const WATCH: Duration = Duration::from_secs(2);

/// `approvals ..`.
pub(super) fn run(command: Approvals, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Approvals::List(wish) => list(&wish, context),
        Approvals::Show(wish) => show(&wish, context),
        Approvals::Approve(verdict) => decide(&verdict, "approve", context),
        Approvals::Deny(verdict) => decide(&verdict, "deny", context),
        Approvals::Watch(wish) => watch(&wish, context),
        Approvals::NotifyTest(wish) => notify_test(&wish, context),
    }
}

/// `grants ..`.
pub(super) fn grants(command: Grants, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Grants::List(WatchApprovals { place }) => {
            let gateway = Gateway::of(&place.api, context)?;
            let answer = every_page(&gateway, &place, &["approved"])?;
            print(&answer, "no approval may be used\n", context)
        }
        Grants::Revoke(wish) => revoke(&wish, context),
    }
}

/// `approvals list`.
fn list(wish: &ListApprovals, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.place.api, context)?;
    let states: &[&str] = if wish.all { &[] } else { &["pending"] };
    let answer = every_page(&gateway, &wish.place, states)?;
    print(&answer, "no call waits for a decision\n", context)
}

fn print(answer: &Value, none: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    context.output.report(answer, |answer| {
        let approvals = members(answer);
        if approvals.is_empty() {
            return none.to_owned();
        }
        let rows: Vec<_> = approvals.iter().map(row).collect();
        table(
            ["ID", "STATE", "SERVER", "CALL", "CALLER", "RISK", "UNTIL"],
            &rows,
        )
    });
    Ok(())
}

fn members(answer: &Value) -> &[Value] {
    let approvals = at(answer, "/approvals").as_array();
    approvals.map(Vec::as_slice).unwrap_or_default()
}

/// The value at this pointer; null if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The approvals of all pages in one answer.
fn every_page(gateway: &Gateway, place: &Where, states: &[&str]) -> Result<Value, Failure> {
    let mut query = format!("tenant={}", part(&place.tenant)?);
    for state in states {
        let _infallible = write!(query, "&state={state}");
    }
    let (mut approvals, mut after) = (Vec::new(), String::new());
    loop {
        let page = gateway.ask(Method::GET, &format!("{APPROVALS}?{query}{after}"), None)?;
        approvals.extend(members(&page).iter().cloned());
        let Some(next) = at(&page, "/next").as_str() else {
            return Ok(json!({"approvals": approvals}));
        };
        after = format!("&after={}", part(next)?);
    }
}

/// A part of a path or query that needs no escapes.
fn part(text: &str) -> Result<&str, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.~".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return Ok(text);
    }
    let message = format!("not an id or a tenant: `{}`", visible(text));
    Err(Failure::new(Exit::Usage, message))
}

fn path(id: &str, place: &Where) -> Result<String, Failure> {
    let (id, tenant) = (part(id)?, part(&place.tenant)?);
    Ok(format!("{APPROVALS}/{id}?tenant={tenant}"))
}

fn text(value: &Value) -> String {
    visible(value.as_str().unwrap_or("-"))
}

fn row(approval: &Value) -> [String; 7] {
    let text = |pointer| text(at(approval, pointer));
    let until = match at(approval, "/state").as_str() {
        Some("approved") => "/usable_until",
        Some(_) | None => "/expires_at",
    };
    let about = match at(approval, "/call/subject") {
        Value::String(_) => "/call/subject",
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            "/call/method"
        }
    };
    [
        text("/id"),
        text("/state"),
        text("/call/server"),
        text(about),
        text("/call/caller/subject"),
        text("/call/requirement/risk"),
        text(until),
    ]
}

/// `approvals show`.
fn show(wish: &OneApproval, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.place.api, context)?;
    let answer = gateway.ask(Method::GET, &path(&wish.id, &wish.place)?, None)?;
    Ok(context.output.print(&answer, show::whole)?)
}

/// `approvals approve` and `approvals deny`.
fn decide(wish: &Verdict, verdict: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.place.api, context)?;
    let found = gateway.ask(Method::GET, &path(&wish.id, &wish.place)?, None)?;
    let shown = at(&found, "/shown").as_str().unwrap_or_default();
    if wish.shown.len() < SHORTEST_DIGEST || !shown.starts_with(&wish.shown) {
        let message = "what waits is not what --shown names, nothing was decided";
        return Err(Failure::new(Exit::Negative, message).hint(
            "`keepgate approvals show` prints what waits, and its `shown`; 12 letters of it are enough",
        ));
    }
    let (id, tenant) = (part(&wish.id)?, part(&wish.place.tenant)?);
    let path = format!("{APPROVALS}/{id}/decision?tenant={tenant}");
    let body = json!({"verdict": verdict, "reason": wish.reason, "shown": shown});
    let answer = gateway.ask(Method::POST, &path, Some(&body))?;
    context.output.report(&answer, |answer| {
        let state = text(at(answer, "/state"));
        match state.as_str() {
            "pending" => format!(
                "counted; {} still waits for others\n",
                text(at(answer, "/id"))
            ),
            "approved" => format!(
                "approved: the agent may make this very call until {}\n",
                text(at(answer, "/usable_until"))
            ),
            state => format!("{state}\n"),
        }
    });
    Ok(())
}

/// `grants revoke`.
fn revoke(wish: &RevokeGrant, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.place.api, context)?;
    let body = json!({"reason": wish.reason});
    let answer = gateway.ask(Method::DELETE, &path(&wish.id, &wish.place)?, Some(&body))?;
    context.output.report(&answer, |answer| {
        format!("{}\n", text(at(answer, "/state")))
    });
    Ok(())
}

/// `approvals watch`: a line for each call that comes to wait.
fn watch(wish: &WatchApprovals, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.place.api, context)?;
    let mut known = BTreeSet::new();
    loop {
        let answer = every_page(&gateway, &wish.place, &["pending"])?;
        let waiting = members(&answer).iter().rev();
        for approval in waiting.clone() {
            let id = text(at(approval, "/id"));
            if known.insert(id) {
                context.output.print(approval, |approval| {
                    format!("{}\n", row(approval).join("  "))
                })?;
            }
        }
        // Only what waits is remembered.
        let ids: BTreeSet<_> = waiting.map(|approval| text(at(approval, "/id"))).collect();
        known.retain(|id| ids.contains(id));
        std::thread::sleep(WATCH);
    }
}

/// `approvals notify-test`.
fn notify_test(wish: &NotifyTest, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(&wish.api, context)?;
    let path = format!("/api/v1/notifications/{}/test", part(&wish.target)?);
    let answer = gateway.ask(Method::POST, &path, None)?;
    context.output.report(&answer, |answer| {
        let target = text(at(answer, "/target"));
        format!("delivered: `{target}` took the test message\n")
    });
    Ok(())
}
