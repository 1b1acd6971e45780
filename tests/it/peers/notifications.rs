//! Notifications of approvals, as a receiver that is not ours gets and verifies them, and as one that is down does not.

use keepgate_tests::FakeServer;
use serde_json::{Value, json};

use super::approvals::{People, agent, decide, keepgate, ran, server, staffed, waits};
use super::gate::{Gate, Home};
use super::process::{Running, command, peer, until};

/// The secret of messages.
const SECRET: &str = "notify-secret-canary-0123456789";
/// An argument of the calls, which no message has.
const ARGUMENT: &str = "argument-canary";

/// Soon over, and with targets that a rule names.
const POLICY: &str = r#"package mcp.authz

allow contains "all"

approve contains {"code": "destructive", "risk": "low"} if {
    input.tool.name == "delete"
    not input.arguments.soon
}

approve contains {"code": "soon", "risk": "low", "ttl": "8s"} if input.arguments.soon

notify contains "second" if input.arguments.only

notify contains "nobody" if input.arguments.wrong
"#;

/// The receiver and its port.
async fn receiver(port: u64) -> (Running, u64) {
    let script = peer("webhook.py").display().to_string();
    let words = [&*script, SECRET, &port.to_string()];
    let mut receiver = Running::start("webhook.py", command("python3", &words));
    let port = |said: &str| {
        let first: Value = serde_json::from_str(said.lines().next()?).ok()?;
        first["port"].as_u64()
    };
    let port = receiver.says("a port", port).await;
    (receiver, port)
}

/// Messages that came to `path`.
fn came(receiver: &Running, path: &str) -> Vec<Value> {
    let said = receiver.stdout();
    let lines = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(|it: &Value| it["path"] == path).collect()
}

/// The types of the messages that came to `path`.
fn types(receiver: &Running, path: &str) -> Vec<String> {
    let came = came(receiver, path).into_iter();
    came.map(|it| it["body"]["type"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn generic(port: u64, path: &str) -> Value {
    json!({
        "kind": "generic",
        "url": format!("http://127.0.0.1:{port}{path}"),
        "secret": "env:NOTIFY_SECRET",
        "timeout": "2s",
    })
}

/// A gateway with these targets; Slack is at `/slack` of this port.
async fn gate(server: &FakeServer, port: u64, targets: Value) -> (Gate, People) {
    let slack = format!("http://127.0.0.1:{port}/slack");
    let home = Home::new().url("up", &server.url()).keys();
    let home = home.env("NOTIFY_SECRET", SECRET).env("SLACK_URL", &slack);
    let home = home.with(|it| {
        it["approvals"] = json!({"hold": "off", "notify": targets});
        it["admin"]["public_url"] = json!("https://console.example");
    });
    staffed(home, POLICY).await
}

/// Contents of the messages about a request, its decision and an end.
fn contents(all: &[Value], id: &str) {
    let (first, decided, ended) = (
        &all[0]["body"]["data"],
        &all[1]["body"]["data"],
        &all[4]["body"],
    );
    assert_eq!(
        first["link"],
        format!("https://console.example/console/approvals/{id}")
    );
    assert_eq!(first["caller"]["subject"], "agent");
    assert_eq!(
        (&first["server"], &first["subject"]),
        (&json!("up"), &json!("delete"))
    );
    assert_eq!(
        (&first["risk"], &first["codes"]),
        (&json!("low"), &json!(["destructive"]))
    );
    assert_eq!(
        (
            &decided["decisions"][0]["operator"],
            &decided["decisions"][0]["verdict"]
        ),
        (&json!("ann"), &json!("approve"))
    );
    assert_eq!(ended["data"]["ended"]["code"], "expired");
}

/// Texts of the messages to Slack.
fn slack_texts(receiver: &Running) {
    let texts: Vec<_> = came(receiver, "/slack")
        .into_iter()
        .map(|it| it["body"]["text"].clone())
        .collect();
    let text = |number: usize| texts[number].as_str().expect("a text").to_owned();
    assert!(text(0).starts_with("*Approval requested*: `delete` on `up`\nCaller `agent` (`machine`), risk low, `destructive`"), "{texts:?}");
    let decided = texts
        .iter()
        .any(|it| it.to_string().contains("Approved by `ann` at "));
    assert!(decided, "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_sent_signed_and_without_arguments() {
    let server = server().await;
    let (receiver, port) = receiver(0).await;
    let mut late = generic(port, "/late");
    late["events"] = json!(["reminder"]);
    let slack = json!({"kind": "slack", "url": "env:SLACK_URL"});
    let targets = json!({"first": generic(port, "/first"), "late": late, "slack": slack});
    let (gate, people) = gate(&server, port, targets).await;
    let client = agent(&gate, &people.key);
    let argument = json!({"id": 1, "text": ARGUMENT});
    let id = waits(&client.call_modern("delete", argument.clone()).await);
    until("the request to come", async || {
        types(&receiver, "/first") == ["approval.requested"]
    })
    .await;
    decide(&gate, &people.ann, "approve", &id).await.good();
    assert!(ran(&client.call_modern("delete", argument).await));
    until("the decision to come", async || {
        types(&receiver, "/first").len() == 2
    })
    .await;
    let _soon = waits(
        &client
            .call_modern("delete", json!({"soon": ARGUMENT}))
            .await,
    );
    until("the end to come", async || {
        types(&receiver, "/first").len() == 5
    })
    .await;
    until("Slack to have all", async || {
        came(&receiver, "/slack").len() == 5
    })
    .await;

    let events = ["requested", "decided", "requested", "reminder", "ended"];
    let events = events.map(|event| format!("approval.{event}"));
    assert_eq!(types(&receiver, "/first"), events);
    assert_eq!(types(&receiver, "/late"), ["approval.reminder"]);
    let all = came(&receiver, "/first");
    for message in &all {
        assert_eq!(
            (&message["genuine"], &message["altered"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(message["id"], message["body"]["id"]);
        assert_eq!(message["type"], "application/json");
    }
    contents(&all, &id);
    slack_texts(&receiver);
    assert!(!receiver.stdout().contains(ARGUMENT));
    assert_eq!(gate.part("notifications").await, "ok");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_delays_nothing_and_nobody_else() {
    let server = server().await;
    let (receiver, port) = receiver(0).await;
    let names = [
        "hangs",
        "down",
        "closes",
        "refuses",
        "redirects",
        "limits",
        "works",
    ];
    let mut targets = json!({});
    for name in names {
        targets[name] = generic(port, &format!("/{name}"));
    }
    targets["hangs"]["timeout"] = json!("1m");
    targets["gone"] = generic(1, "/");
    let (gate, people) = gate(&server, port, targets).await;
    let client = agent(&gate, &people.key);
    let id = waits(&client.call_modern("delete", json!({"id": 1})).await);
    until("all to be tried", async || {
        names
            .iter()
            .all(|name| !came(&receiver, &format!("/{name}")).is_empty())
    })
    .await;
    decide(&gate, &people.ann, "approve", &id).await.good();
    assert!(ran(&client.call_modern("delete", json!({"id": 1})).await));
    until("the others to have the decision", async || {
        types(&receiver, "/works") == ["approval.requested", "approval.decided"]
            && types(&receiver, "/limits")
                .last()
                .is_some_and(|last| last == "approval.decided")
            && came(&receiver, "/down").len() > 1
            && came(&receiver, "/refuses").len() > 1
    })
    .await;
    // The one that was limited got the same message again, or what came after it.
    assert_eq!(came(&receiver, "/hangs").len(), 1);
    assert_eq!(
        came(&receiver, "/stolen").len(),
        0,
        "a redirect was followed"
    );
    let part = gate.part("notifications").await;
    assert!(
        part.starts_with("DEGRADED") && part.contains("`refuses`: ") && part.contains("`gone`"),
        "{part}"
    );
    assert!(
        !part.contains("`works`") && !part.contains("`limits`"),
        "{part}"
    );
    let metrics = gate.metrics().await;
    let dead =
        "keepgate_notifications_total{keepgate_target=\"refuses\",keepgate_outcome=\"dead\"}";
    let dead = metrics.lines().find_map(|line| line.strip_prefix(dead));
    assert!(dead.is_some_and(|count| count.trim() != "0"), "{metrics}");
    assert!(gate.said("a notification was not delivered and is given up") > 0);
    // One still hangs, and the end does not wait for it.
    assert_eq!(gate.part("approvals").await, "ok");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_is_sent_after_a_crash() {
    let server = server().await;
    // Nobody listens there yet, and nobody else is given it meanwhile.
    let port = u64::from(keepgate_machine::free_port());
    let (gate, people) = gate(&server, port, json!({"first": generic(port, "/first")})).await;
    let client = agent(&gate, &people.key);
    let id = waits(&client.call_modern("delete", json!({"id": 1})).await);
    until("an attempt to fail", async || {
        gate.part("notifications").await.starts_with("DEGRADED")
    })
    .await;
    let home = gate.kill().await;
    let (receiver, _) = self::receiver(port).await;
    let gate = home.serve().await;
    until("the request to come", async || {
        !came(&receiver, "/first").is_empty()
    })
    .await;
    assert_eq!(
        came(&receiver, "/first")[0]["id"],
        format!("{id}.requested")
    );
    // It may come again after a crash, with the same id, if its delivery was not noted yet.
    let gate = gate.kill().await.serve().await;
    decide(&gate, &people.ann, "deny", &id).await.good();
    until("the decision to come", async || {
        let types = types(&receiver, "/first");
        types.last().is_some_and(|it| it == "approval.decided")
    })
    .await;
    let all = came(&receiver, "/first");
    assert!(all.iter().all(|it| it["genuine"] == true), "{all:?}");
    let decided = all.last().expect("a message");
    assert_eq!(decided["id"], format!("{id}.decided"));
    assert_eq!(decided["body"]["data"]["state"], "denied");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_name_targets_and_an_unknown_one_refuses() {
    let server = server().await;
    let (receiver, port) = receiver(0).await;
    let targets = json!({"first": generic(port, "/first"), "second": generic(port, "/second")});
    let (gate, people) = gate(&server, port, targets).await;
    let client = agent(&gate, &people.key);
    let call = async |name, arguments| client.call_modern(name, arguments).await;
    let one = waits(&call("delete", json!({"id": 1, "only": true})).await);
    let all = waits(&call("delete", json!({"id": 2})).await);
    until("both to come", async || {
        types(&receiver, "/second").len() == 2
    })
    .await;
    until("one to come", async || {
        types(&receiver, "/first").len() == 1
    })
    .await;
    assert_eq!(
        came(&receiver, "/first")[0]["id"],
        format!("{all}.requested")
    );
    let shown = keepgate(&gate, &people.ann, &["approvals", "show", &one]).await;
    assert_eq!(
        shown.json()["call"]["requirement"]["notify"],
        json!(["second"])
    );
    // A name nobody has, and a call nobody is asked over.
    for (name, arguments) in [
        ("delete", json!({"wrong": true})),
        ("echo", json!({"only": true})),
    ] {
        let answer = call(name, arguments).await;
        assert_eq!(
            answer.code().as_deref(),
            Some("policy_failed"),
            "{answer:?}"
        );
    }
    let records = gate.end().await;
    let refused = records
        .iter()
        .any(|it| it.to_string().contains("obligation_unsupported"));
    assert!(refused, "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_reports_what_the_target_answers() {
    let server = server().await;
    let (receiver, port) = receiver(0).await;
    let slack = json!({"kind": "slack", "url": "env:SLACK_URL"});
    let targets =
        json!({"first": generic(port, "/first"), "down": generic(port, "/down"), "slack": slack});
    let (gate, people) = gate(&server, port, targets).await;
    let admin = gate.home.path("state/admin-token");
    let test = async |token: &std::path::Path, target: &str| {
        keepgate(&gate, token, &["approvals", "notify-test", target]).await
    };
    for target in ["first", "slack"] {
        let done = test(&admin, target).await;
        assert_eq!(done.json()["delivered"], true, "{}", done.stderr);
    }
    assert_eq!(types(&receiver, "/first"), ["test"]);
    assert_eq!(came(&receiver, "/first")[0]["genuine"], true);
    let failed = test(&admin, "down").await;
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("HTTP 500"), "{}", failed.stderr);
    let unknown = test(&admin, "others").await;
    assert_eq!(unknown.code, Some(1), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("there are down, first, slack"),
        "{}",
        unknown.stderr
    );
    assert_eq!(test(&people.ann, "first").await.code, Some(12));
    gate.end().await;
}
