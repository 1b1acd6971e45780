//! An approval as people decide over it: every text complete, with what hides in it made visible.

use std::fmt::Write as _;

use keepgate_mcp::visible::visible;
use serde_json::Value;

use super::{at, text};

/// Lines with a name before each.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{name:<12} {value}");
    }

    /// The text at this pointer.
    fn of(&mut self, name: &str, value: &Value, pointer: &str) {
        self.add(name, &text(at(value, pointer)));
    }
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    at(value, pointer).as_array().into_iter().flatten()
}

/// The whole approval.
pub(super) fn whole(approval: &Value) -> String {
    let mut lines = Lines::default();
    lines.of("approval", approval, "/id");
    lines.of("state", approval, "/state");
    let call = at(approval, "/call");
    if call.is_null() {
        lines.add("call", "cannot be read: the key it was sealed with is gone");
        return lines.0;
    }
    lines.of("server", call, "/server");
    lines.of("method", call, "/method");
    lines.of("about", call, "/subject");
    destination(&mut lines, call);
    lines.add("caller", &caller(at(call, "/caller")));
    terms(&mut lines, at(call, "/requirement"));
    if is_incomparable(call) {
        let note = "the caller has no owner to compare an approver with: nobody may approve it, except with `approvals.unrelated: allow`";
        lines.add("note", note);
    }
    for credential in items(call, "/credentials") {
        lines.add("credential", &text(credential));
    }
    lines.add("uses", &format!("{} left", at(approval, "/uses_left")));
    lines.of("asked", approval, "/created_at");
    lines.of("expires", approval, "/expires_at");
    if at(approval, "/usable_from").is_string() {
        lines.of("usable from", approval, "/usable_from");
    }
    if at(approval, "/usable_until").is_string() {
        lines.of("usable until", approval, "/usable_until");
    }
    for decision in items(approval, "/decisions") {
        let part = |pointer| text(at(decision, pointer));
        let (verdict, by) = (part("/verdict"), part("/operator"));
        let decision = format!("{verdict} by {by} at {}: {}", part("/at"), part("/reason"));
        lines.add("decision", &decision);
    }
    let parts = [
        ("/arguments", "arguments"),
        ("/others", "parameters"),
        ("/sent", "sent instead"),
    ];
    for (pointer, name) in parts {
        if let Some(arguments) = at(call, pointer).as_str() {
            lines.add(name, "");
            indented(arguments, &mut |row| lines.add("", row));
        }
    }
    lines.of("shown", approval, "/shown");
    if at(approval, "/state") == "pending" {
        let (id, shown) = (text(at(approval, "/id")), text(at(approval, "/shown")));
        let short = shown.get(..16).unwrap_or(&shown);
        let command = format!("keepgate approvals approve {id} --shown {short} --reason WHY");
        lines.add("", &command);
    }
    lines.0
}

fn destination(lines: &mut Lines, call: &Value) {
    lines.of("sent to", call, "/destination/address");
    for name in items(call, "/destination/environment") {
        lines.add("variable", &text(name));
    }
    if at(call, "/fingerprint").is_string() {
        lines.of("definition", call, "/fingerprint");
    }
}

fn caller(caller: &Value) -> String {
    let mut who = format!(
        "{} ({})",
        text(at(caller, "/subject")),
        text(at(caller, "/kind"))
    );
    let parts = [
        ("/issuer", "from"),
        ("/client", "client"),
        ("/key", "key"),
        ("/owner", "owner"),
    ];
    for (pointer, before) in parts {
        if at(caller, pointer).is_string() {
            let _infallible = write!(who, ", {before} {}", text(at(caller, pointer)));
        }
    }
    who
}

/// Whether no approver can be compared with the caller, where the risk needs that.
fn is_incomparable(call: &Value) -> bool {
    at(call, "/requirement/risk") == "high"
        && at(call, "/caller/kind") != "anonymous"
        && !at(call, "/caller/owner").is_string()
}

fn terms(lines: &mut Lines, requirement: &Value) {
    for reason in items(requirement, "/reasons") {
        let (code, message) = (text(at(reason, "/0")), text(at(reason, "/1")));
        lines.add("because", &format!("{message} ({code})"));
    }
    for duty in items(requirement, "/duties") {
        let approvers: Vec<_> = items(duty, "/approvers").map(text).collect();
        let who = match approvers.as_slice() {
            [] => "any operator who may approve".to_owned(),
            named => named.join(", "),
        };
        // The first step is not written.
        let step = match at(duty, "/step").as_u64() {
            None => String::new(),
            Some(step) => format!(", in step {step}"),
        };
        lines.add(
            "approvers",
            &format!("{} of {who}{step}", at(duty, "/quorum")),
        );
    }
    let targets: Vec<_> = items(requirement, "/notify").map(text).collect();
    if !targets.is_empty() {
        lines.add("notifies", &targets.join(", "));
    }
    lines.of("risk", requirement, "/risk");
    let seconds = at(requirement, "/valid_for_s");
    lines.add("valid for", &format!("{seconds} s after the approval"));
    if at(requirement, "/is_session_bound") == true {
        lines.add("session", "for the session alone that it was asked in");
    }
    if at(requirement, "/window").is_object() {
        lines.of("window", requirement, "/window/text");
    }
}

/// Writes a JSON text on lines for people, with numbers and strings as they came.
fn indented(json: &str, line: &mut dyn FnMut(&str)) {
    let (mut depth, mut row) = (0_usize, String::new());
    let (mut is_text, mut is_escaped) = (false, false);
    for letter in json.chars() {
        if is_text {
            row.push(letter);
            is_text = is_escaped || letter != '"';
            is_escaped = !is_escaped && letter == '\\';
            continue;
        }
        match letter {
            '{' | '[' => {
                row.push(letter);
                line(&visible(&row));
                depth += 1;
                row = "  ".repeat(depth);
            }
            '}' | ']' => {
                if !row.trim().is_empty() {
                    line(&visible(&row));
                }
                depth = depth.saturating_sub(1);
                row = "  ".repeat(depth);
                row.push(letter);
            }
            ',' => {
                row.push(letter);
                line(&visible(&row));
                row = "  ".repeat(depth);
            }
            ':' => row.push_str(": "),
            _ => {
                is_text = letter == '"';
                row.push(letter);
            }
        }
    }
    line(&visible(&row));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::whole;

    #[test]
    fn shows_every_argument_and_nothing_hides() {
        let long = "x".repeat(100_000);
        let arguments = json!({
            "account": "\u{202e}7001\u{200b}",
            "note": "a \u{1b}[2J{[,:\\\"]}",
            "long": long,
            "amounts": [1, 2.50, {"deep": null}],
        });
        let approval = json!({
            "id": "ap_1", "state": "pending", "shown": "0123456789abcdef0123", "uses_left": 1,
            "call": {
                "server": "crm", "method": "tools/call", "subject": "pay\u{202e}", "destination": {"address": "npx pay\u{200b}", "environment": ["A\u{202e}"]},
                "arguments": arguments.to_string(),
                "caller": {"subject": "agent", "kind": "machine", "key": "k1"},
                "requirement": {
                    "reasons": [["payment", "moves money"]],
                    "duties": [{"approvers": ["group:crm"], "quorum": 2}, {"approvers": [], "quorum": 1, "step": 2}], "risk": "high",
                },
            },
        });
        let shown = whole(&approval);
        assert!(shown.contains(&long), "nothing is cut");
        let hidden = |letter: &char| *letter != '\n' && keepgate_mcp::visible::is_hidden(*letter);
        assert_eq!(shown.chars().find(hidden), None);
        expect_test::expect![[r#"
            approval     ap_1
            state        pending
            server       crm
            method       tools/call
            about        pay\u{202e}
            sent to      npx pay\u{200b}
            variable     A\u{202e}
            caller       agent (machine), key k1
            because      moves money (payment)
            approvers    2 of group:crm
            approvers    1 of any operator who may approve, in step 2
            risk         high
            valid for    null s after the approval
            note         the caller has no owner to compare an approver with: nobody may approve it, except with `approvals.unrelated: allow`
            uses         1 left
            asked        -
            expires      -
            arguments    
                         {
                           "account": "\u{202e}7001\u{200b}",
                           "amounts": [
                             1,
                             2.5,
                             {
                               "deep": null
                             }
                           ],
                           "long": "<long>",
                           "note": "a \u001b[2J{[,:\\\"]}"
                         }
            shown        0123456789abcdef0123
                         keepgate approvals approve ap_1 --shown 0123456789abcdef --reason WHY
        "#]]
        .assert_eq(&shown.replace(&long, "<long>"));
    }
}
