//! Approvals as policy sees them, and the grants it names.

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
