//! Clients of the official SDKs over HTTP+SSE, the transport of 2024-11-05, through the gateway: all their steps, and call by call
//! the same as with a server that speaks that transport itself.

use serde_json::{Value, json};

use super::drivers::passed;
use super::gate::{Home, of_kind};
use super::process::{run, serve};
use super::tokens::{machine_token, world};

/// Steps that no client of this transport can do, or that count what goes over the other.
const SKIPPED: [&str; 4] = [
    "--skip",
    "resume: clients over HTTP+SSE have nothing to resume with",
    "--skip",
    "end_session: the session is the stream",
];

const CLIENTS: [&str; 2] = ["ts-sdk1.mjs", "py_mcp.py"];

/// The endpoint for clients over HTTP+SSE.
fn events(url: &str) -> String {
    format!("{}/sse", url.strip_suffix("/mcp").expect("an endpoint"))
}

fn listening(server: &mut Value) {
    server["listen_sse"] = json!(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_over_http_and_sse_do_all_their_steps() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let home = Home::new()
        .keys()
        .url("up", &upstream)
        .child("child", &["fixture-stdio"])
        .with(|it| {
            listening(&mut it["servers"]["up"]);
            listening(&mut it["servers"]["child"]);
        });
    let (_, key) = home.key("alice").await;
    let gate = home.serve().await;
    let header = format!("Authorization: Bearer {key}");
    for server in ["up", "child"] {
        for client in CLIENTS {
            let url = events(&gate.url(server));
            let words = [url.as_str(), "--sse", "--header", &header];
            let report = run(client, &[&words[..], &SKIPPED[..]].concat(), &[]).await;
            passed(&format!("{client} {server}"), &report.stdout);
        }
    }
    // What another client would resume by itself is resumed here.
    for client in CLIENTS {
        let url = events(&gate.url("up"));
        let call = ["--list-and-call", "test_reconnection", "{}"];
        let words = [url.as_str(), "--sse", "--header", &header];
        let report = run(client, &[&words[..], &call[..]].concat(), &[]).await;
        let report = report.json();
        assert_eq!(
            report["calls"][0]["result"]["content"][0]["text"], "Answered after the stream was cut",
            "{client}: {report}"
        );
    }
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    assert!(intents.len() > 100, "{} intents", intents.len());
    let outcomes = of_kind(&records, "call.outcome");
    assert_eq!(outcomes.len(), intents.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_over_http_and_sse_work_as_with_the_server_itself() {
    for (server, calls) in [
        (
            "everything-sse",
            &[
                ("echo", r#"{"message":"hi"}"#),
                ("get-sum", r#"{"a":2,"b":40}"#),
                ("get-tiny-image", "{}"),
                ("none", "{}"),
            ][..],
        ),
        (
            "py-sse",
            &[
                ("echo", r#"{"message":"hi"}"#),
                ("count", r#"{"to":3}"#),
                ("count", r#"{"to":"x"}"#),
            ][..],
        ),
    ] {
        let (_server, upstream) = serve(server, &[]).await;
        let home = Home::new().sse("up", &upstream);
        let gate = home
            .with(|it| listening(&mut it["servers"]["up"]))
            .serve()
            .await;
        for client in CLIENTS {
            let mut reports = Vec::new();
            for url in [upstream.clone(), events(&gate.url("up"))] {
                let calls = calls.iter().flat_map(|(tool, with)| [*tool, *with]);
                let words = [url.as_str(), "--sse", "--list-and-call"].into_iter();
                let words: Vec<&str> = words.chain(calls).collect();
                reports.push(run(client, &words, &[]).await.json());
            }
            assert_eq!(reports[0]["failed"], false, "{}", reports[0]);
            let tools = reports[0]["tools"].as_array().expect("tools");
            assert!(tools.len() > 1, "{}", reports[0]);
            for report in &mut reports {
                let tools = report["tools"].as_array_mut().expect("tools");
                // It can only be called as a task, so it is hidden.
                tools.retain(|tool| tool != "simulate-research-query");
            }
            for member in ["revision", "tools"] {
                assert_eq!(reports[1][member], reports[0][member], "{client} {server}");
            }
            let [direct, through] = [0, 1].map(|at: usize| &reports[at]["calls"]);
            for (at, (tool, _)) in calls.iter().enumerate() {
                let (direct, through) = (&direct[at], &through[at]);
                // An unknown tool has words of ours.
                if *tool != "none" {
                    assert_eq!(through, direct, "{client} {server}");
                }
            }
        }
        gate.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_the_event_stream_and_what_is_posted_for_it() {
    let (_issuer, issuer, server, gate) = world(|it| listening(&mut it["servers"]["up"])).await;
    let base = format!("http://{}", gate.addr);
    let stream = gate.client("up").path("/up/sse").without("authorization");
    let stranger = stream.send("GET", "").await;
    let metadata = "/.well-known/oauth-protected-resource/up/sse";
    let challenge = stranger
        .header("www-authenticate")
        .expect("a challenge")
        .to_owned();
    let named = format!("resource_metadata=\"{base}{metadata}\"");
    assert!(challenge.contains(&named), "{challenge}");
    let document = stream.clone().path(metadata).send("GET", "").await.json();
    assert_eq!(document["resource"], format!("{base}/up/sse"));
    let with = |token: &str| {
        stream
            .clone()
            .header("authorization", &format!("Bearer {token}"))
    };
    let other = machine_token(&issuer, &format!("{base}/up/mcp"), "tools:read").await;
    assert_eq!(with(&other).send("GET", "").await.status, 401);
    let token = machine_token(&issuer, &format!("{base}/up/sse"), "tools:read").await;
    let opened = with(&token).open("GET", "").await;
    assert_eq!(opened.status(), 200);
    let mut events = keepgate_tests::Events::of(opened);
    let block = events.block().await.expect("an event");
    let address = keepgate_tests::client::field(&block, "data").expect("an address");
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let refused = with(&other).path(address).post(opening.to_string()).await;
    let challenge = refused.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains(&named), "{challenge}");
    assert!(!challenge.contains(address), "{challenge}");
    let accepted = with(&token).path(address).post(opening.to_string()).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert!(events.message().await.expect("an answer")["result"].is_object());
    assert_eq!(server.heard_of("initialize").len(), 1);
    gate.end().await;
}
