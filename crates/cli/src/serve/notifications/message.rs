//! Messages of notifications. Texts of agents and servers in them are hostile: they are bounded, what was cut is reported, characters
//! that are not seen are spelled out, and nothing of them is markup.

use std::fmt::Write as _;

use bytes::Bytes;
use keepgate_approval::{FrozenCall, Notice, NoticeEvent, Risk, View};
use keepgate_mcp::visible::is_hidden;
use serde_json::{Value, json};

use crate::config::NotifyKind;

/// Longest text of others in a message, in bytes as it is sent.
const MAX_TEXT: usize = 200;
/// Most entries of a list.
const MAX_LIST: usize = 16;

/// A message, as it is posted.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Id, which is the same in every attempt.
    pub(super) id: String,
    /// JSON.
    pub(super) body: Bytes,
}

impl Message {
    /// The message of a notification.
    pub(super) fn of(notice: &Notice, kind: NotifyKind) -> Self {
        let json = match kind {
            NotifyKind::Generic => generic(notice),
            NotifyKind::Slack => slack(&slack_text(notice)),
        };
        Self {
            id: notice.id.clone(),
            body: json.to_string().into(),
        }
    }

    /// A message that reports nothing.
    pub(super) fn test(id: String, by: &str, at: &str, kind: NotifyKind) -> Self {
        let json = match kind {
            NotifyKind::Generic => json!({
                "id": id,
                "type": "test",
                "timestamp": at,
                "data": {"by": plain(by)},
            }),
            NotifyKind::Slack => slack(&format!(
                "*Keepgate: test message* by {}\nNothing waits for a decision.",
                code(by)
            )),
        };
        let body = json.to_string().into();
        Self { id, body }
    }
}

/// A text of others, escaped by `escape` and cut to [`MAX_TEXT`] bytes, and the number of characters that were cut.
fn bounded(text: &str, escape: impl Fn(char, &mut String)) -> (String, usize) {
    let mut shown = String::new();
    let mut left = text.chars();
    while let Some(character) = left.next() {
        let before = shown.len();
        escape(character, &mut shown);
        if shown.len() > MAX_TEXT {
            shown.truncate(before);
            return (shown, left.count() + 1);
        }
    }
    (shown, 0)
}

/// A text of others for a program, or for people behind one.
fn plain(text: &str) -> String {
    let (mut shown, cut) = bounded(text, |character, out| {
        if is_hidden(character) {
            let _infallible = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    });
    note_cut(&mut shown, cut);
    shown
}

/// A text of others for Slack and those like it: code, in which neither names of people and channels nor links nor formats are read.
fn code(text: &str) -> String {
    let (shown, cut) = bounded(text, |character, out| {
        // Slack's own three (`&`, `<`, `>`), and what would end the code.
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' => out.push_str("\\u{60}"),
            _ if is_hidden(character) => {
                let _infallible = write!(out, "{}", character.escape_unicode());
            }
            _ => out.push(character),
        }
    });
    if shown.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let mut shown = format!("`{shown}`");
    note_cut(&mut shown, cut);
    shown
}

fn note_cut(shown: &mut String, cut: usize) {
    if cut > 0 {
        let _infallible = write!(shown, " … ({cut} characters more)");
    }
}

const fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::Low => "low",
        Risk::High => "high",
    }
}

/// The operators who have decided.
fn decisions(view: &View) -> impl Iterator<Item = Value> {
    view.decisions.iter().take(MAX_LIST).map(|decision| {
        json!({
            "operator": plain(&decision.operator),
            "verdict": decision.verdict,
            "at": decision.at,
        })
    })
}

/// JSON in the form of Standard Webhooks: type, time and data.
fn generic(notice: &Notice) -> Value {
    let view = &notice.view;
    let mut data = json!({
        "approval": view.id,
        "tenant": plain(&view.tenant),
        "state": view.state,
        "created_at": view.created_at,
        "expires_at": view.expires_at,
        "usable_until": view.usable_until,
        "link": notice.link,
        "decisions": decisions(view).collect::<Vec<_>>(),
        "ended": notice.end.as_ref().map(|end| json!({
            "code": plain(&end.code),
            "by": end.by.as_deref().map(plain),
        })),
    });
    if let (Some(data), Some(call)) = (data.as_object_mut(), &view.call) {
        let reasons = call.requirement.reasons.iter().take(MAX_LIST);
        let codes: Vec<_> = reasons.map(|(code, _message)| plain(code)).collect();
        data.insert("server".into(), json!(plain(&call.server)));
        data.insert("method".into(), json!(plain(&call.method)));
        data.insert("subject".into(), json!(call.subject.as_deref().map(plain)));
        data.insert(
            "caller".into(),
            json!({
                "kind": call.caller.kind,
                "subject": plain(&call.caller.subject),
                "issuer": call.caller.issuer.as_deref().map(plain),
            }),
        );
        data.insert("risk".into(), json!(risk(call.requirement.risk)));
        data.insert("codes".into(), json!(codes));
    }
    json!({
        "id": notice.id,
        "type": format!("approval.{}", notice.event.as_str()),
        "timestamp": keepgate_store::kill::text(
            std::time::UNIX_EPOCH + std::time::Duration::from_millis(notice.at_ms)
        ),
        "data": data,
    })
}

/// The payload of an incoming webhook. Those that know no blocks show the text.
fn slack(text: &str) -> Value {
    json!({
        "text": text,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [{
            "type": "section",
            // Verbatim: nothing in it becomes a link by itself.
            "text": {"type": "mrkdwn", "text": text, "verbatim": true},
        }],
    })
}

fn slack_text(notice: &Notice) -> String {
    let view = &notice.view;
    let title = match (notice.event, view.state) {
        (NoticeEvent::Requested, _) => "Approval requested".to_owned(),
        (NoticeEvent::Reminder, _) => "Still waits for a decision".to_owned(),
        (NoticeEvent::Decided, "denied") => "Denied".to_owned(),
        (NoticeEvent::Decided, _) => "Approved".to_owned(),
        (NoticeEvent::Ended, state) => format!("Ended: {state}"),
    };
    let mut text = format!("*{title}*");
    match &view.call {
        Some(call) => call_lines(&mut text, call),
        None => text.push_str("\nThe call cannot be read: its key is lost."),
    }
    if view.tenant != "default" {
        let _infallible = write!(text, "\nTenant {}", code(&view.tenant));
    }
    for decision in view.decisions.iter().take(MAX_LIST) {
        let verb = if decision.verdict == "deny" {
            "Denied"
        } else {
            "Approved"
        };
        let (by, at) = (code(&decision.operator), &decision.at);
        let _infallible = write!(text, "\n{verb} by {by} at {at}");
    }
    let until = match (notice.event, &view.usable_until, &notice.end) {
        (NoticeEvent::Requested | NoticeEvent::Reminder, _, _) => {
            format!("\nWaits until {}", view.expires_at)
        }
        (NoticeEvent::Decided, Some(until), _) => format!("\nMay be used until {until}"),
        (NoticeEvent::Ended, _, Some(end)) => {
            let by = end.by.as_deref().map(|by| format!(" by {}", code(by)));
            format!("\nReason {}{}", code(&end.code), by.unwrap_or_default())
        }
        (NoticeEvent::Decided | NoticeEvent::Ended, _, _) => String::new(),
    };
    text.push_str(&until);
    if let Some(link) = &notice.link {
        let _infallible = write!(text, "\n<{link}|Open {}>", view.id);
    }
    text
}

fn call_lines(text: &mut String, call: &FrozenCall) {
    let about = call.subject.as_deref().unwrap_or(&call.method);
    let (about, server) = (code(about), code(&call.server));
    let caller = code(&call.caller.subject);
    let kind = code(&call.caller.kind);
    let risk = risk(call.requirement.risk);
    let _infallible = write!(
        text,
        ": {about} on {server}\nCaller {caller} ({kind}), risk {risk}"
    );
    for (reason, _message) in call.requirement.reasons.iter().take(MAX_LIST) {
        let _infallible = write!(text, ", {}", code(reason));
    }
}

#[cfg(test)]
mod tests;
