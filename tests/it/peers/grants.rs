//! Approvals as policy sees them, and the grants it names.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::approvals::{agent, decide, holding_with, keepgate, ran, server, waits};

/// Trusts an approval, and has a last word on calls that have one.
const APPROVED: &str = r#"package mcp.authz

approve contains {"code": "ask", "risk": "low"} if {
    input.tool.name == "delete"
    not input.approval.present
}

allow contains "somebody has agreed" if input.approval.present

deny contains {"code": "moved_on"} if {
    input.approval.present
    data.closed
    input.grant.kind == "once"
}
"#;

fn denied_by(answer: &keepgate_tests::Answer) -> String {
    let refusal = &answer.json()["result"]["_meta"]["dev.keepgate/refusal"];
    format!("{} {}", refusal["code"], refusal["reasons"][0]).replace('"', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_sees_the_approval_of_a_call_and_has_the_last_word() {
    let server = server().await;
    let (mut gate, people) = holding_with(&server, json!("off"), |_| {}).await;
    gate.home
        .replace("policies/data.json", r#"{"closed": true}"#);
    gate.home.policy(APPROVED);
    gate.says("policies reloaded", 1).await;
    let agent = agent(&gate, &people.key);
    // Nobody was asked over it: an approval that is not there allows nothing.
    let other = agent.call_modern("create", json!({})).await;
    assert!(!ran(&other), "{other:?}");
    let id = waits(&agent.call_modern("delete", json!({"id": 7})).await);
    let approved = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(approved.json()["state"], "approved", "{}", approved.stderr);
    let late = agent.call_modern("delete", json!({"id": 7})).await;
    assert_eq!(denied_by(&late), "policy_denied moved_on", "{late:?}");
    // The approval is there as it was.
    let grants = keepgate(&gate, &people.ann, &["grants", "list"]).await;
    assert_eq!(grants.json()["approvals"][0]["id"], *id, "{grants:?}");
    gate.home
        .replace("policies/data.json", r#"{"closed": false}"#);
    gate.says("policies reloaded", 2).await;
    assert!(ran(&agent.call_modern("delete", json!({"id": 7})).await));
    assert_eq!(
        server
            .heard()
            .iter()
            .filter(|it| it.json()["method"] == "tools/call")
            .count(),
        1
    );
}

/// A time so many hours from now, in RFC 3339; less than none is before.
fn in_hours(hours: i64) -> String {
    let distance = Duration::from_secs(hours.unsigned_abs() * 3600);
    let now = SystemTime::now();
    keepgate_store::kill::text(if hours < 0 {
        now - distance
    } else {
        now + distance
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_is_for_a_session_or_a_window_as_the_rule_names_it() {
    let server = server().await;
    let (mut gate, people) = holding_with(&server, json!("off"), |_| {}).await;
    let window = |from, until| {
        json!({"kind": "window", "not_before": in_hours(from), "until": in_hours(until)})
            .to_string()
    };
    let rule = |of: &str, grant: &str| {
        format!(
            "approve contains {{\"code\": \"ask\", \"risk\": \"low\", \"grant\": {grant}}} if input.arguments.of == \"{of}\"\n\n"
        )
    };
    let rules = [
        rule("session", r#"{"kind": "session"}"#),
        rule("later", &window(2, 3)),
        rule("over", &window(-2, -1)),
    ];
    let seen = "visible contains \"all\"\n\n";
    gate.home
        .policy(&format!("package mcp.authz\n\n{seen}{}", rules.concat()));
    gate.says("policies reloaded", 1).await;
    let client = agent(&gate, &people.key);
    let id = waits(&client.call_modern("delete", json!({"of": "session"})).await);
    decide(&gate, &people.ann, "approve", &id).await;
    for _ in 0..3 {
        assert!(ran(&client
            .call_modern("delete", json!({"of": "session"}))
            .await));
    }
    // Other arguments, another caller: each is asked about.
    waits(
        &client
            .call_modern("delete", json!({"of": "session", "id": 8}))
            .await,
    );
    let robot = agent(&gate, &people.owned);
    assert!(!ran(&robot
        .call_modern("delete", json!({"of": "session"}))
        .await));
    let grants = keepgate(&gate, &people.ann, &["grants", "list"]).await;
    let requirement = &grants.json()["approvals"][0]["call"]["requirement"];
    assert_eq!(requirement["is_session_bound"], true, "{grants:?}");
    let revoked = ["grants", "revoke", &id, "--reason", "done"];
    keepgate(&gate, &people.ann, &revoked).await;
    assert_ne!(
        waits(&client.call_modern("delete", json!({"of": "session"})).await),
        id
    );

    let id = waits(&client.call_modern("delete", json!({"of": "later"})).await);
    decide(&gate, &people.ann, "approve", &id).await;
    let early = client.call_modern("delete", json!({"of": "later"})).await;
    assert_eq!(waits(&early), id);
    let refusal = &early.json()["result"]["_meta"]["dev.keepgate/refusal"];
    let wait_s = refusal["approval"]["retry_after_s"].as_u64();
    assert!(wait_s > Some(3_600), "until the window: {early:?}");
    let shown = keepgate(&gate, &people.ann, &["approvals", "show", &id]).await;
    assert!(shown.json()["usable_from"].is_string(), "{shown:?}");
    let over = client.call_modern("delete", json!({"of": "over"})).await;
    assert_eq!(denied_by(&over), "policy_denied no_window", "{over:?}");
}
