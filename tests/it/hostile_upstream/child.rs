//! Servers that are child processes: what they inherit, what splits their lines, whose they are, and what their end means.

use std::{collections::HashSet, time::Duration};

use keepgate_tests::{Answer, Client, TestGateway};
use serde_json::json;

const CHILD: &str = env!("CARGO_BIN_EXE_keepgate-fake-child");

async fn gate(shared: bool) -> TestGateway {
    TestGateway::child(CHILD, &[], shared).start().await
}

async fn session(gateway: &TestGateway) -> Client {
    Client::new(gateway.addr).initialize("2025-11-25").await
}

fn text(answer: &Answer) -> String {
    let messages = answer.messages();
    let last = messages.last().unwrap();
    last["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

async fn is_gone(pid: &str) {
    let gone = async {
        while std::path::Path::new("/proc").join(pid).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, gone)
        .await
        .expect("the process goes on");
}

#[tokio::test]
async fn trap_32_a_child_inherits_no_secret() {
    let known = [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "TMPDIR",
        "USER",
        "LOGNAME",
        "GIVEN",
        "KEEPGATE_CHILD",
    ];
    // Whatever runs this test has variables no child needs; they stand for any secret of ours.
    let mut ours = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    assert!(ours.any(|name| !known.contains(&name.as_str())));
    let gateway = TestGateway::child(CHILD, &[], false)
        .with(|settings| {
            for server in settings.servers.values_mut() {
                if let keepgate_gateway::settings::Upstream::Child { environment, .. } =
                    &mut server.upstream
                {
                    environment.insert("GIVEN".to_owned(), "1".to_owned());
                }
            }
        })
        .start()
        .await;
    let client = session(&gateway).await;
    let variables = text(&client.call("variables", json!({})).await);
    assert!(
        variables.split(' ').all(|name| known.contains(&name)),
        "{variables}"
    );
    assert!(variables.contains("GIVEN"));
}

#[tokio::test]
async fn trap_32_a_line_break_in_a_message_splits_no_frame() {
    let gateway = gate(false).await;
    let client = session(&gateway).await;
    let smuggled = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"die"}}"#;
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\r\n\"id\":7,\n\"method\":\"tools/call\",\r\"params\":{{\"name\":\"line\",\n\n\"arguments\":{{\"n\":1.0,\"text\":{}\n}}}}}}\n",
        serde_json::Value::from(format!("a\n{smuggled}\n"))
    );
    let line = text(&client.post(body).await);
    let heard: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        heard["params"]["arguments"]["text"],
        format!("a\n{smuggled}\n")
    );
    assert!(line.contains("1.0"), "{line}");
    // Nothing else reached the process, which still lives.
    assert_eq!(client.call("pid", json!({})).await.status, 200);
}

#[tokio::test]
async fn trap_32_each_session_has_a_process_of_its_own() {
    let gateway = gate(false).await;
    let mut pids = HashSet::new();
    for _ in 0..3 {
        let client = session(&gateway).await;
        let pid = text(&client.call("pid", json!({})).await);
        assert_eq!(text(&client.call("pid", json!({})).await), pid);
        pids.insert(pid);
    }
    assert_eq!(pids.len(), 3);
}

#[tokio::test]
async fn trap_32_each_caller_without_sessions_has_a_process_of_its_own() {
    let gateway = TestGateway::child(CHILD, &[], false).keys().start().await;
    let of = |subject: &str| {
        let key = gateway.key(subject, &[]);
        Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
    };
    let (alice, bob) = (of("alice"), of("bob"));
    let pid = text(&alice.call_modern("pid", json!({})).await);
    assert_eq!(text(&alice.call_modern("pid", json!({})).await), pid);
    assert_ne!(text(&bob.call_modern("pid", json!({})).await), pid);
    // A process that has shaken hands is in a session, and serves nobody outside it.
    let stateful = alice.initialize("2025-11-25").await;
    assert_ne!(text(&stateful.call("pid", json!({})).await), pid);
}

#[tokio::test]
async fn a_shared_process_serves_all_and_keeps_their_ids_apart() {
    let gateway = gate(true).await;
    let one = session(&gateway).await;
    let two = session(&gateway).await;
    let pid = text(&one.call("pid", json!({})).await);
    assert_eq!(text(&two.call("pid", json!({})).await), pid);
    let mut running = Vec::new();
    for (at, client) in [one, two].into_iter().cycle().take(20).enumerate() {
        running.push(tokio::spawn(async move {
            let marker = format!("marker {at}");
            let answer = client.call("line", json!({"text": marker})).await;
            assert_eq!(answer.messages().last().unwrap()["id"], 7);
            assert!(text(&answer).contains(&format!("{marker}\"")), "{answer:?}");
        }));
    }
    for running in running {
        running.await.unwrap();
    }
}

#[tokio::test]
async fn the_end_of_a_process_is_the_end_of_its_session() {
    let gateway = gate(false).await;
    let client = session(&gateway).await;
    let other = session(&gateway).await;
    let lost = client.call("die", json!({})).await;
    assert_eq!(
        lost.code().as_deref(),
        Some("upstream_unreachable"),
        "{lost:?}"
    );
    let after = client.call("pid", json!({})).await;
    assert_eq!(
        (after.status, after.code().as_deref()),
        (404, Some("session_unknown"))
    );
    // Nobody else's session ends with it, and a new one can begin.
    text(&other.call("pid", json!({})).await);
    text(&session(&gateway).await.call("pid", json!({})).await);
}

#[tokio::test]
async fn the_end_of_a_session_is_the_end_of_its_process() {
    let gateway = gate(false).await;
    let client = session(&gateway).await;
    let pid = text(&client.call("pid", json!({})).await);
    assert_eq!(client.send("DELETE", "").await.status, 200);
    is_gone(&pid).await;
    assert_eq!(client.call("pid", json!({})).await.status, 404);
}

#[tokio::test]
async fn trap_32_standard_error_and_noise_are_no_protocol() {
    let gateway = gate(false).await;
    let client = session(&gateway).await;
    assert_eq!(text(&client.call("noise", json!({})).await), "quiet");
    for _ in 0..3 {
        // The second answer to one request reaches nobody, also not who asks next under the same id.
        assert_eq!(text(&client.call("twice", json!({})).await), "once");
    }
}

#[tokio::test]
async fn trap_11_questions_of_a_child_are_judged() {
    let gateway = TestGateway::child(CHILD, &[], false)
        .policy("package mcp.authz\nallow contains \"tools\" if input.tool\n")
        .start()
        .await;
    let client = session(&gateway).await;
    let answer = client.call("ask", json!({})).await;
    assert_eq!(answer.messages().len(), 1, "{answer:?}");
    assert_eq!(text(&answer), "asked");
    let records = gateway.records().await;
    assert!(
        records
            .iter()
            .any(|record| record["kind"] == "server_request" && record["decision"] == "deny")
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_refusal() {
    let gateway = TestGateway::child("/nowhere/secret-program", &[], false)
        .start()
        .await;
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let answer = Client::new(gateway.addr).post(opening.to_string()).await;
    assert_eq!(answer.code().as_deref(), Some("upstream_unreachable"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret-program"));
}
