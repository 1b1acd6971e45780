//! What operators do while calls run: ending the gateway, changing its configuration and policies, and breaking them.

use keepgate_tests::{Answer, Client, FakeServer, Gate as Door, Say, upstream::said};
use nix::sys::signal::Signal;
use serde_json::json;
use sha2::Digest as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::gate::{Gate, Home, of_kind};
use super::process::{PATIENCE, until};

/// Allows `echo` alone.
const ECHO_ONLY: &str =
    "package mcp.authz\n\nallow contains \"echo\" if input.tool.name == \"echo\"\n";
/// Denies everything.
const NOTHING: &str = "package mcp.authz\n\nallow contains \"none\" if false\n";
/// What no policy is.
const BROKEN: &str = "package mcp.authz\n\nallow contains if {{{\n";

/// A server whose tool `delete` answers only when the door is open; the others answer at once.
pub(super) async fn server(door: &Door) -> FakeServer {
    let door = door.clone();
    FakeServer::with_tools(move |heard| {
        let call = heard.json();
        let mut says = Say::json(&said(&call["id"], "done"));
        if call["params"]["name"] == "delete" {
            says.insert(0, Say::Until(door.clone()));
        }
        says
    })
    .await
}

/// Begins a call that stays open until the door does, and waits until the server has it.
async fn slow(client: &Client, server: &FakeServer) -> JoinHandle<Answer> {
    let before = server.heard_of("tools/call").len();
    let client = client.clone();
    let call = tokio::spawn(async move { client.call("delete", json!({})).await });
    until("the slow call", async || {
        server.heard_of("tools/call").len() > before
    })
    .await;
    call
}

/// Asserts that a call was answered by the server.
fn answered(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let message = answer.messages().pop().expect("a message");
    assert_eq!(message["result"]["content"][0]["text"], "done", "{message}");
}

async fn denied(client: &Client) -> bool {
    let answer = client.call_modern("echo", json!({})).await;
    // A tool that no rule shows is as good as absent.
    answer.json()["error"]["code"] == -32602
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_gateway_finishes_what_runs_and_takes_nothing_new() {
    let door = Door::default();
    let server = server(&door).await;
    let gate = Home::new().url("up", &server.url()).serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let running = slow(&client, &server).await;

    gate.process.signal(Signal::SIGTERM);
    let refused = async || TcpStream::connect(gate.addr).await.is_err();
    until("the listener to close", refused).await;
    let heard = server.heard_of("tools/call").len();
    // Operators are told why until the end.
    assert_eq!(gate.admin("/readyz").await, 503);
    assert_eq!(gate.admin("/livez").await, 200);

    door.open();
    answered(&running.await.expect("an answer"));
    let mut process = gate.process;
    let status = process.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    assert_eq!(server.heard_of("tools/call").len(), heard);
    let report = gate.home.verified().await;
    assert_eq!(
        (&report["unfinished"], &report["unsigned"]),
        (&json!(0), &json!(0)),
        "{report}"
    );
    let records = gate.home.records().await;
    assert_eq!(
        of_kind(&records, "call.outcome")[0]["result"]["status"],
        "ok"
    );
    assert_eq!(records.last().expect("a record")["kind"], "log.closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_or_the_deadline_cuts_what_runs() {
    let server = server(&Door::default()).await;
    for deadline in [true, false] {
        let drain = if deadline { "100ms" } else { "10m" };
        let home = Home::new().url("up", &server.url());
        let home = home.with(|it| it["limits"] = json!({"drain": drain}));
        let mut gate = home.serve().await;
        let client = gate.client("up").initialize("2025-11-25").await;
        let running = slow(&client, &server).await;
        gate.process.signal(Signal::SIGTERM);
        gate.says("ending", 1).await;
        if !deadline {
            gate.process.signal(Signal::SIGTERM);
        }
        let status = gate.process.ended(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "{}", gate.process.stderr());
        // The client has no answer, and says so by failing.
        assert!(running.await.is_err());
        gate.home.verified().await;
        let records = gate.home.records().await;
        assert_eq!(
            of_kind(&records, "call.intent")
                .iter()
                .filter(|it| it["tool_name"] == "delete")
                .count(),
            1
        );
    }
}

/// How an operator asks for a reload.
enum Reload {
    /// By changing the file alone.
    Changed,
    /// By SIGHUP as well.
    Signal,
}

impl Reload {
    fn ask(&self, gate: &Gate) {
        match self {
            Self::Changed => {}
            Self::Signal => gate.process.signal(Signal::SIGHUP),
        }
    }
}

async fn policies_reload(reload: Reload) {
    let door = Door::default();
    let server = server(&door).await;
    let mut gate = Home::new().url("up", &server.url()).serve().await;
    let (client, modern) = (
        gate.client("up").initialize("2025-11-25").await,
        gate.client("up"),
    );
    let running = slow(&client, &server).await;
    assert!(!denied(&modern).await);

    gate.home.policy(NOTHING);
    reload.ask(&gate);
    until("the new policy", async || denied(&modern).await).await;
    // In the session that is open, too.
    assert_eq!(
        client.call("echo", json!({})).await.json()["error"]["code"],
        -32602
    );

    gate.home.policy(ECHO_ONLY);
    reload.ask(&gate);
    until("the third policy", async || !denied(&modern).await).await;

    gate.home.policy(BROKEN);
    reload.ask(&gate);
    gate.says("policies not taken", 1).await;
    assert!(!denied(&modern).await);
    answered(&client.call("echo", json!({})).await);

    door.open();
    answered(&running.await.expect("an answer"));
    let records = gate.end().await;
    assert_eq!(of_kind(&records, "policy.activated").len(), 3);
    assert!(!of_kind(&records, "policy.rejected").is_empty());
    let activated = of_kind(&records, "policy.activated")[2]["policy_rev"].clone();
    let last = of_kind(&records, "call.intent").last().expect("an intent")["policy_rev"].clone();
    assert_eq!(last, activated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_takes_effect_and_a_broken_one_does_not() {
    policies_reload(Reload::Changed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reloaded_by_a_signal_takes_effect_and_a_broken_one_does_not() {
    policies_reload(Reload::Signal).await;
}

async fn configuration_reloads(reload: Reload) {
    let door = Door::default();
    let (server, other) = (server(&door).await, server(&door).await);
    let mut gate = Home::new().url("up", &server.url()).serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let running = slow(&client, &server).await;
    let second = gate.client("second");
    assert_eq!(second.call_modern("echo", json!({})).await.status, 404);

    gate.home = gate.home.url("second", &other.url());
    reload.ask(&gate);
    gate.says("configuration reloaded", 1).await;
    answered(&second.call_modern("echo", json!({})).await);

    gate.home.replace(
        "keepgate.yaml",
        "version: 1\nservers: { second: { curl: nowhere } }\n",
    );
    reload.ask(&gate);
    gate.says("configuration not taken", 1).await;
    answered(&second.call_modern("echo", json!({})).await);
    // The session that was open before is open still, and its call runs.
    answered(&client.call("echo", json!({})).await);
    assert!(!running.is_finished());

    door.open();
    answered(&running.await.expect("an answer"));
    // A file that is right again is taken, and what it no longer names is gone.
    gate.home = gate.home.with(|it| {
        it["servers"]
            .as_object_mut()
            .expect("servers")
            .remove("second");
    });
    reload.ask(&gate);
    let gone = async || second.call_modern("echo", json!({})).await.status == 404;
    until("the second server to go", gone).await;
    let file = std::fs::read(gate.home.path("keepgate.yaml")).expect("a file");
    let records = gate.end().await;
    // At the start, with the second server and without it; and the broken one.
    let activated = of_kind(&records, "config.activated");
    assert_eq!(activated.len(), 3, "{activated:?}");
    let digest = format!("{:x}", sha2::Sha256::digest(file));
    let expected = json!([{"code": "sha256", "message": digest}]);
    assert_eq!(activated[2]["reasons"], expected);
    assert!(!of_kind(&records, "config.rejected").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_takes_effect_and_a_broken_one_does_not() {
    configuration_reloads(Reload::Changed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_reloaded_by_a_signal_takes_effect_and_a_broken_one_does_not() {
    configuration_reloads(Reload::Signal).await;
}
