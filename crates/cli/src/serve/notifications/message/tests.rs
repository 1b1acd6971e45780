//! Messages about hostile calls.

use keepgate_approval::{FrozenCaller, Notice, NoticeEvent, Requirement};
use proptest::prelude::*;

use super::*;

fn call(text: &str) -> FrozenCall {
    FrozenCall {
        server: text.into(),
        method: "tools/call".into(),
        subject: Some(text.into()),
        arguments: None,
        others: None,
        sent: None,
        fingerprint: None,
        destination: Default::default(),
        caller: FrozenCaller {
            kind: "machine".into(),
            subject: text.into(),
            issuer: None,
            client: None,
            grant: None,
            key: None,
            owner: None,
        },
        session: None,
        credentials: Vec::new(),
        client: None,
        requirement: Requirement {
            reasons: vec![(text.into(), text.into())],
            duties: Vec::new(),
            uses: 1,
            ttl_s: 60,
            valid_for_s: 60,
            is_session_bound: false,
            window: None,
            risk: Risk::High,
            policy: "r".into(),
            notify: Vec::new(),
        },
        decision_id: "d".into(),
    }
}

fn view(text: &str) -> View {
    View {
        id: "ap_1".into(),
        tenant: text.to_owned(),
        state: "pending",
        created_at: "2026-12-01T00:00:00Z".to_owned(),
        expires_at: "2026-12-01T00:15:00Z".to_owned(),
        decided_at: None,
        usable_from: None,
        usable_until: None,
        uses_left: 1,
        call: Some(call(text)),
        shown: None,
        decisions: Vec::new(),
        created_ms: 0,
    }
}

fn requested(text: &str) -> (serde_json::Value, serde_json::Value) {
    let notice = Notice::new(
        (NoticeEvent::Requested, 0),
        view(text),
        None,
        Some("https://c.example/console/approvals/ap_1".to_owned()),
    );
    let read = |kind| {
        let message = Message::of(&notice, kind);
        serde_json::from_slice(&message.body).expect("JSON")
    };
    (read(NotifyKind::Generic), read(NotifyKind::Slack))
}

#[test]
fn a_message_reads_well() {
    let (generic, slack) = requested("crm");
    assert_eq!(
        slack["text"],
        "*Approval requested*: `crm` on `crm`\nCaller `crm` (`machine`), risk high, `crm`\nTenant `crm`\n\
         Waits until 2026-12-01T00:15:00Z\n<https://c.example/console/approvals/ap_1|Open ap_1>"
    );
    assert_eq!(generic["type"], "approval.requested");
    assert_eq!(generic["id"], "ap_1.requested");
    assert_eq!(generic["data"]["subject"], "crm");
    assert_eq!(generic["data"]["codes"][0], "crm");
    assert_eq!(generic["timestamp"], "1970-01-01T00:00:00Z");
}

#[test]
fn what_is_cut_is_reported() {
    let (generic, slack) = requested(&"x".repeat(1000));
    let subject = generic["data"]["subject"].as_str().expect("a text");
    assert_eq!(
        subject,
        format!("{} … (800 characters more)", "x".repeat(200))
    );
    let text = slack["text"].as_str().expect("a text");
    assert!(text.contains("x` … (800 characters more)"), "{text}");
}

#[test]
fn markup_of_others_stays_text() {
    let hostile = "`<!channel> <https://evil.example|ok> @here *x*\u{202e}\n&";
    let (generic, slack) = requested(hostile);
    let text = slack["text"].as_str().expect("a text");
    let escaped =
        r"`\u{60}&lt;!channel&gt; &lt;https://evil.example|ok&gt; @here *x*\u{202e}\u{a}&amp;`";
    assert!(text.contains(escaped), "{text}");
    let subject = generic["data"]["subject"].as_str().expect("a text");
    assert!(subject.contains(r"*x*\u{202e}\u{a}&"), "{subject}");
}

proptest! {
    /// Outside of code there is only text of ours, whatever others write.
    #[test]
    fn nothing_of_others_is_outside_of_code(text in "[\\PC\\pC`<>&*_~|@\n]{0,600}") {
        let (_, slack) = requested(&text);
        let shown = slack["text"].as_str().expect("a text");
        let ours: String = shown.split('`').step_by(2).collect();
        let number = |letter: &char| !letter.is_ascii_digit();
        let ours: String = ours.chars().filter(number).collect();
        let known = "*Approval requested*:  on \nCaller  (), risk high, \nTenant \nWaits until --T::Z\n\
                     <https://c.example/console/approvals/ap_|Open ap_>";
        let ours = ours.replace(" … ( characters more)", "").replace("(empty)", "");
        prop_assert_eq!(ours, known);
        prop_assert!(shown.len() < 3000);
        let hidden = |letter: char| letter != '\n' && is_hidden(letter);
        prop_assert!(!shown.contains(hidden));
    }
}
