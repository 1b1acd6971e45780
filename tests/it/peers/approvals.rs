//! Approvals as people work them: an agent asks, an operator looks and decides from the command line, the very call runs once.

use std::{fs, path::PathBuf};

use keepgate_tests::{Answer, Client, FakeServer, Say, upstream::said};
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::process::{Finished, until};

/// Allows all, and wants a person for `delete`; two for a table, one of them of the group `dba`.
const POLICY: &str = r#"package mcp.authz

allow contains "all"

approve contains {"code": "destructive", "message": "deletes an account", "risk": "low"} if {
    input.tool.name == "delete"
    not input.arguments.of
}

approve contains {"code": "schema", "approvers": ["group:dba"], "risk": "low"} if input.arguments.of == "table"

approve contains {"code": "two_people", "quorum": 2, "risk": "low"} if input.arguments.of == "table"

approve contains {"code": "payment"} if input.arguments.of == "payment"
"#;

/// A server whose tools say what they did.
pub(super) async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| {
        let call = heard.json();
        let done = format!(
            "did {}",
            call["params"]["name"].as_str().unwrap_or_default()
        );
        Say::json(&said(&call["id"], &done))
    })
    .await
}

/// A gateway before the server, with an approver and one of the group `dba`.
async fn gate(server: &FakeServer) -> (Gate, People) {
    holding(server, json!("off")).await
}

/// As [`gate`], with calls held so long.
async fn holding(server: &FakeServer, hold: Value) -> (Gate, People) {
    holding_with(server, hold, |_| {}).await
}

/// As [`holding`], with any other change of the configuration.
pub(super) async fn holding_with(
    server: &FakeServer,
    hold: Value,
    change: impl FnOnce(&mut Value),
) -> (Gate, People) {
    let home = Home::new().url("up", &server.url()).keys();
    let home = home.with(|it| it["approvals"] = json!({"hold": hold}));
    staffed(home.with(change), POLICY).await
}

/// As [`holding_with`], in a home that is configured, with this policy.
pub(super) async fn staffed(home: Home, policy: &str) -> (Gate, People) {
    home.policy(policy);
    let key = home.key("agent").await.1;
    let ann = operator(&home, "ann", &["--role", "approver"]).await;
    let owned = home
        .keepgate(&["keys", "create", "--subject", "robot", "--owner", "ann"])
        .await;
    let owned = owned.json()["key"].as_str().expect("a key").to_owned();
    let people = People {
        key,
        owned,
        ann,
        dba: operator(&home, "dora", &["--role", "approver", "--group", "dba"]).await,
        auditor: operator(&home, "olga", &["--role", "auditor"]).await,
    };
    (home.serve().await, people)
}

/// Keys of agents, and tokens of operators.
pub(super) struct People {
    pub(super) key: String,
    pub(super) owned: String,
    pub(super) ann: PathBuf,
    dba: PathBuf,
    auditor: PathBuf,
}

async fn operator(home: &Home, name: &str, words: &[&str]) -> PathBuf {
    let added = home
        .keepgate(&[&["operators", "add", name], words].concat())
        .await;
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let path = home.path(&format!("{name}.token"));
    fs::write(&path, added.json()["token"].as_str().expect("a token")).expect("a file");
    path
}

pub(super) fn agent(gate: &Gate, key: &str) -> Client {
    let client = gate.client("up");
    client.header("authorization", &format!("Bearer {key}"))
}

/// `keepgate approvals ..` or `grants ..` by whoever holds the token.
pub(super) async fn keepgate(gate: &Gate, token: &std::path::Path, words: &[&str]) -> Finished {
    let url = format!("http://{}", gate.admin);
    let token = token.to_str().expect("a path");
    let words = [words, &["--url", &url, "--token-file", token]].concat();
    gate.home.keepgate(&words).await
}

/// The id of the approval a call waits for.
pub(super) fn waits(answer: &Answer) -> String {
    let result = &answer.json()["result"];
    assert_eq!(result["isError"], true, "{answer:?}");
    let refusal = &result["_meta"]["dev.keepgate/refusal"];
    assert_eq!(refusal["code"], "approval_pending", "{answer:?}");
    let id = refusal["approval"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let text = result["content"][0]["text"].as_str().expect("a text");
    assert!(
        text.contains("not executed") && text.contains(&id),
        "{text}"
    );
    id
}

pub(super) fn ran(answer: &Answer) -> bool {
    answer.json()["result"]["content"][0]["text"]
        .as_str()
        .is_some_and(|text| text.starts_with("did "))
}

/// Decides over an approval as it is shown now.
pub(super) async fn decide(
    gate: &Gate,
    token: &std::path::Path,
    verdict: &str,
    id: &str,
) -> Finished {
    let shown = keepgate(gate, token, &["approvals", "show", id])
        .await
        .json();
    let shown = shown["shown"].as_str().expect("a digest").to_owned();
    let words = [
        "approvals",
        verdict,
        id,
        "--shown",
        &shown,
        "--reason",
        "looked at it",
    ];
    keepgate(gate, token, &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_says_yes_and_the_very_call_runs_once() {
    let server = server().await;
    let (gate, people) = gate(&server).await;
    let agent = agent(&gate, &people.key);
    let id = waits(
        &agent
            .call_modern("delete", json!({"id": 7, "why": "\u{202e}gone"}))
            .await,
    );
    // Asked again, with members in another order: the same request.
    let again = agent
        .call_modern("delete", json!({"why": "\u{202e}gone", "id": 7}))
        .await;
    assert_eq!(waits(&again), id);
    let list = keepgate(&gate, &people.auditor, &["approvals", "list"])
        .await
        .json();
    assert_eq!(
        list["approvals"].as_array().expect("a list").len(),
        1,
        "{list}"
    );
    assert_eq!(list["approvals"][0]["call"]["subject"], "delete", "{list}");

    // Who may look may not decide; and nobody decides over what they were not shown.
    let forbidden = decide(&gate, &people.auditor, "approve", &id).await;
    assert_eq!(forbidden.code, Some(12), "{}", forbidden.stderr);
    let words = [
        "approvals",
        "approve",
        &id,
        "--shown",
        "0123456789abcdef",
        "--reason",
        "x",
    ];
    let unseen = keepgate(&gate, &people.ann, &words).await;
    assert_eq!(unseen.code, Some(1), "{}", unseen.stderr);

    let approved = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(approved.json()["state"], "approved", "{}", approved.stderr);
    // Another call than the one that was shown waits on its own.
    assert_ne!(
        waits(&agent.call_modern("delete", json!({"id": 8})).await),
        id
    );
    let args = json!({"id": 7, "why": "\u{202e}gone"});
    assert!(ran(&agent.call_modern("delete", args.clone()).await));
    assert_ne!(waits(&agent.call_modern("delete", args).await), id, "once");

    let calls = server.heard().into_iter();
    let calls = calls
        .filter(|heard| heard.json()["method"] == "tools/call")
        .count();
    assert_eq!(calls, 1, "what was not approved never reached the server");
    let records = gate.end().await;
    let requested = of_kind(&records, "approval.requested");
    assert_eq!(requested.len(), 3, "{requested:?}");
    let decided = of_kind(&records, "approval.decided");
    assert_eq!(decided.len(), 1, "{decided:?}");
    assert_eq!(decided[0]["user_id"], "ann");
    let intents = of_kind(&records, "call.intent");
    let with_approval = intents.iter().filter(|it| it["approval"] == *id).count();
    assert_eq!(with_approval, 1, "the call that ran names its approval");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_has_its_people_and_nobody_approves_their_own_call() {
    let server = server().await;
    let (gate, people) = gate(&server).await;
    let robot = agent(&gate, &people.owned);
    let id = waits(&robot.call_modern("delete", json!({"id": 1})).await);
    let own = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(own.code, Some(12), "{}", own.stderr);
    assert!(
        own.stderr.contains("nobody approves their own request"),
        "{}",
        own.stderr
    );
    let other = decide(&gate, &people.dba, "approve", &id).await;
    assert_eq!(other.json()["state"], "approved", "{}", other.stderr);

    let agent = agent(&gate, &people.key);
    let id = waits(&agent.call_modern("delete", json!({"of": "table"})).await);
    let first = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(first.json()["state"], "pending", "{}", first.stderr);
    let twice = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(twice.code, Some(1), "{}", twice.stderr);
    assert_eq!(
        waits(&agent.call_modern("delete", json!({"of": "table"})).await),
        id
    );
    let second = decide(&gate, &people.dba, "approve", &id).await;
    assert_eq!(second.json()["state"], "approved", "{}", second.stderr);
    assert!(ran(&agent
        .call_modern("delete", json!({"of": "table"}))
        .await));

    // High risk, and nothing shows that the approver is not the caller.
    let id = waits(&agent.call_modern("delete", json!({"of": "payment"})).await);
    let unknown = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(unknown.code, Some(12), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("--owner"), "{}", unknown.stderr);
    let id = waits(&robot.call_modern("delete", json!({"of": "payment"})).await);
    let known = decide(&gate, &people.dba, "approve", &id).await;
    assert_eq!(known.json()["state"], "approved", "{}", known.stderr);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_a_kill_and_a_revocation_end_it() {
    let server = server().await;
    let (gate, people) = gate(&server).await;
    let agent = agent(&gate, &people.key);
    let denied = waits(&agent.call_modern("delete", json!({"id": 1})).await);
    let done = decide(&gate, &people.ann, "deny", &denied).await;
    assert_eq!(done.json()["state"], "denied", "{}", done.stderr);
    let answer = agent.call_modern("delete", json!({"id": 1})).await;
    assert_eq!(
        answer.code().as_deref(),
        Some("approval_denied"),
        "{answer:?}"
    );

    let state = async |id: &str| {
        let shown = keepgate(&gate, &people.auditor, &["approvals", "show", id]).await;
        shown.json()["state"].as_str().expect("a state").to_owned()
    };
    let approved = async |number: u32| {
        let id = waits(&agent.call_modern("delete", json!({"id": number})).await);
        let done = decide(&gate, &people.ann, "approve", &id).await;
        assert_eq!(done.json()["state"], "approved", "{}", done.stderr);
        id
    };
    let revoked = approved(2).await;
    let grants = keepgate(&gate, &people.auditor, &["grants", "list"])
        .await
        .json();
    assert_eq!(grants["approvals"][0]["id"], *revoked, "{grants}");
    let words = ["grants", "revoke", &revoked, "--reason", "too early"];
    let done = keepgate(&gate, &people.ann, &words).await;
    assert_eq!(done.json()["state"], "revoked", "{}", done.stderr);
    assert_ne!(
        waits(&agent.call_modern("delete", json!({"id": 2})).await),
        revoked
    );

    // A kill that is cleared again brings nothing back.
    let killed = approved(3).await;
    let admin = gate.home.path("state/admin-token");
    let set = keepgate(
        &gate,
        &admin,
        &["kill", "set", "server", "up", "--reason", "odd"],
    )
    .await;
    let kill = set.json()["kill"]["id"].as_str().expect("an id").to_owned();
    keepgate(&gate, &admin, &["kill", "clear", &kill, "--reason", "fine"]).await;
    assert_ne!(
        waits(&agent.call_modern("delete", json!({"id": 3})).await),
        killed
    );
    until("the kill to void what waits", async || {
        state(&killed).await == "revoked"
    })
    .await;
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_was_approved_outlive_a_crash() {
    let server = server().await;
    let (gate, people) = gate(&server).await;
    let (first, second) = {
        let agent = agent(&gate, &people.key);
        let first = waits(&agent.call_modern("delete", json!({"id": 1})).await);
        let second = waits(&agent.call_modern("delete", json!({"id": 2})).await);
        let done = decide(&gate, &people.ann, "approve", &first).await;
        assert_eq!(done.json()["state"], "approved", "{}", done.stderr);
        (first, second)
    };
    let gate = gate.kill().await.serve().await;
    let agent = agent(&gate, &people.key);
    assert_eq!(
        waits(&agent.call_modern("delete", json!({"id": 2})).await),
        second
    );
    assert!(ran(&agent.call_modern("delete", json!({"id": 1})).await));
    assert_ne!(
        waits(&agent.call_modern("delete", json!({"id": 1})).await),
        first
    );
    let metrics = gate.metrics().await;
    assert!(
        metrics.contains("keepgate_approvals{keepgate_state=\"pending\"}"),
        "{metrics}"
    );
    let records: Vec<Value> = gate.end().await;
    assert!(
        of_kind(&records, "approval.ended").is_empty(),
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_used_refuses_only_what_needs_it() {
    let server = server().await;
    let (gate, people) = gate(&server).await;
    let client = agent(&gate, &people.key);
    let waiting = waits(&client.call_modern("delete", json!({"id": 1})).await);
    fs::rename(gate.home.path("state/approvals.db"), gate.home.path("away")).expect("moved");
    let answer = client.call_modern("delete", json!({"id": 2})).await;
    assert_eq!(
        answer.code().as_deref(),
        Some("approval_unavailable"),
        "{answer:?}"
    );
    assert!(ran(&client.call_modern("echo", json!({})).await));
    until("readiness to report it", async || {
        gate.part("approvals").await.starts_with("FAILING")
    })
    .await;
    let decided = decide(&gate, &people.ann, "deny", &waiting).await;
    assert_eq!(decided.code, Some(6), "{}", decided.stderr);
    assert!(
        decided.stderr.contains("nothing was decided"),
        "{}",
        decided.stderr
    );
    // The next process begins a new store: what waited is asked for again.
    let gate = gate.kill().await.serve().await;
    let client = agent(&gate, &people.key);
    assert_ne!(
        waits(&client.call_modern("delete", json!({"id": 1})).await),
        waiting
    );
    assert_eq!(gate.part("approvals").await, "ok");
    gate.end().await;
}

/// The id of the one approval that waits, once there is one.
pub(super) async fn waiting(gate: &Gate, token: &std::path::Path) -> String {
    let mut id = None;
    until("a call to wait", async || {
        let list = keepgate(gate, token, &["approvals", "list"]).await.json();
        id = list["approvals"][0]["id"].as_str().map(str::to_owned);
        id.is_some()
    })
    .await;
    id.expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_runs_once_somebody_says_yes() {
    let server = server().await;
    let (gate, people) = holding(&server, json!({"round": "50s"})).await;
    for (number, verdict) in [(1, "approve"), (2, "deny")] {
        let client = agent(&gate, &people.key);
        let call =
            tokio::spawn(async move { client.call_modern("delete", json!({"id": number})).await });
        let id = waiting(&gate, &people.ann).await;
        let done = decide(&gate, &people.ann, verdict, &id).await;
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let answer = call.await.expect("a task");
        if verdict == "approve" {
            assert!(ran(&answer), "{answer:?}");
        } else {
            assert_eq!(
                answer.code().as_deref(),
                Some("approval_denied"),
                "{answer:?}"
            );
        }
    }
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_ends_with_a_kill_its_client_and_the_gateway() {
    let server = server().await;
    let (gate, people) = holding(&server, json!({"round": "50s"})).await;
    let call = |number: u32| {
        let client = agent(&gate, &people.key);
        tokio::spawn(async move { client.call_modern("delete", json!({"id": number})).await })
    };
    let killed = call(1);
    waiting(&gate, &people.ann).await;
    let admin = gate.home.path("state/admin-token");
    let set = keepgate(
        &gate,
        &admin,
        &["kill", "set", "server", "up", "--reason", "odd"],
    )
    .await;
    assert_eq!(
        killed.await.expect("a task").code().as_deref(),
        Some("killed")
    );
    let kill = set.json()["kill"]["id"].as_str().expect("an id").to_owned();
    keepgate(&gate, &admin, &["kill", "clear", &kill, "--reason", "fine"]).await;
    until("the kill to void what waits", async || {
        let list = keepgate(&gate, &people.ann, &["approvals", "list"])
            .await
            .json();
        list["approvals"].as_array().is_some_and(Vec::is_empty)
    })
    .await;

    // Its client goes: a yes that comes after runs nothing.
    let left = call(2);
    let id = waiting(&gate, &people.ann).await;
    left.abort();
    let done = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(done.json()["state"], "approved", "{}", done.stderr);
    let again = agent(&gate, &people.key)
        .call_modern("delete", json!({"id": 2}))
        .await;
    assert!(ran(&again), "the approval was not used up: {again:?}");

    let held = call(3);
    waiting(&gate, &people.ann).await;
    let records = gate.end().await;
    // Another replica, or the next process, goes on with its state.
    let ended = held.await.expect("a task").json();
    assert_eq!(ended["result"]["resultType"], "input_required", "{ended}");
    let deletes = server.heard_of("tools/call").len();
    assert_eq!(deletes, 1, "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_are_applied_without_a_restart() {
    let server = server().await;
    let (mut gate, people) = gate(&server).await;
    let client = agent(&gate, &people.key);
    gate.home = gate
        .home
        .with(|it| it["approvals"] = json!({"hold": "off", "pending_per_caller": 1}));
    gate.says("configuration reloaded", 1).await;
    waits(&client.call_modern("delete", json!({"id": 1})).await);
    let full = client.call_modern("delete", json!({"id": 2})).await;
    assert_eq!(full.code().as_deref(), Some("rate_limited"), "{full:?}");
    let data = &full.json()["result"]["_meta"]["dev.keepgate/refusal"];
    assert_eq!(data["limit"], "approvals.pending_per_caller", "{full:?}");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_is_nobody_and_its_yes_ends_with_it() {
    let server = server().await;
    let (mut gate, people) = gate(&server).await;
    let admin = gate.home.path("state/admin-token");
    // High risk: whoever holds it may be the owner of the key.
    let robot = agent(&gate, &people.owned);
    let id = waits(&robot.call_modern("delete", json!({"of": "payment"})).await);
    let unnamed = decide(&gate, &admin, "approve", &id).await;
    assert_eq!(unnamed.code, Some(12), "{}", unnamed.stderr);
    let way_out = unnamed.stderr.contains("keepgate operators add");
    assert!(way_out, "{}", unnamed.stderr);

    let client = agent(&gate, &people.key);
    let args = json!({"id": 1});
    let id = waits(&client.call_modern("delete", args.clone()).await);
    let done = decide(&gate, &admin, "approve", &id).await;
    assert_eq!(done.json()["state"], "approved", "{}", done.stderr);
    fs::write(&admin, "c".repeat(43)).expect("another token");
    gate.says("admin token reloaded", 1).await;
    let next = waits(&client.call_modern("delete", args).await);
    assert_ne!(next, id, "the yes of a token that is gone");
    let shown = keepgate(&gate, &people.auditor, &["approvals", "show", &id]).await;
    assert_eq!(shown.json()["state"], "revoked", "{}", shown.stderr);
    let records = gate.end().await;
    let ended = of_kind(&records, "approval.ended");
    assert_eq!(ended[0]["reasons"][0]["code"], "approver_ineligible");
}
