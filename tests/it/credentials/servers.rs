//! What servers get: the credential in each form, never the client's own, never twice, and nothing without it.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use keepgate_credential::{Form, User, VaultSettings};
use keepgate_gateway::settings::Settings;
use keepgate_tests::{
    Client, FakeServer, FakeVault, Say, SseServer, TestGateway, upstream::said, vault::Mood,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SECRET, private, up, vault, wanted};

/// Gives the server `up` a credential.
pub(super) fn armed(
    text: &str,
    form: Form,
    vault: Option<VaultSettings>,
) -> impl FnOnce(&mut Settings) + use<> {
    let wanted = wanted(text, form);
    move |settings| {
        settings.credentials.vault = vault;
        for server in settings.servers.values_mut() {
            server.credentials = vec![wanted.clone()];
        }
    }
}

/// A gateway in front of `server`, which gets [`SECRET`] as a bearer token, and the directory of the secret.
pub(super) async fn guarded(server: &FakeServer) -> (TestGateway, TempDir) {
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    let gateway = TestGateway::http(&server.url())
        .with(armed(&text, Form::Bearer, None))
        .start()
        .await;
    (gateway, directory)
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

#[tokio::test]
async fn a_server_gets_the_credential_in_the_form_it_wants() {
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    let forms = [
        (Form::Bearer, "authorization", format!("Bearer {SECRET}")),
        (
            Form::Header("x-api-key".parse().unwrap()),
            "x-api-key",
            SECRET.to_owned(),
        ),
        (
            Form::Basic(User::Named("svc".to_owned())),
            "authorization",
            "Basic c3ZjOng3UXAtMkxkVjltWl9rVGE4MStjUmVXLzQ1PQ==".to_owned(),
        ),
    ];
    for (form, name, expected) in forms {
        let server = server().await;
        let gateway = TestGateway::http(&server.url())
            .keys()
            .with(armed(&text, form.clone(), None))
            .start()
            .await;
        let key = gateway.key("alice", &[]);
        let client = Client::new(gateway.addr)
            .header("authorization", &format!("Bearer {key}"))
            .header("x-api-key", "the-client's-own")
            .header("cookie", "session=the-client's");
        let session = client.initialize("2025-11-25").await;
        let answer = session.call("echo", json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let modern = client.call_modern("echo", json!({})).await;
        assert_eq!(modern.status, 200, "{modern:?}");
        session.send("DELETE", "").await;
        server.hears(|heard| heard.verb == "DELETE").await;
        for heard in server.heard() {
            assert_eq!(
                heard.header(name),
                Some(expected.as_str()),
                "{form:?}: {}",
                heard.head
            );
            assert!(
                !heard.head.contains(&key) && !heard.head.contains("the-client's"),
                "{}",
                heard.head
            );
            let lines = heard.head.to_ascii_lowercase();
            assert_eq!(lines.matches(&format!("\r\n{name}:")).count(), 1);
        }
        // What the agent sees and what is on record names the reference, never the value.
        let outcome = gateway
            .record(|record| record["kind"] == "call.outcome")
            .await;
        assert_eq!(outcome["cred"], json!({"ref": text}));
    }
}

#[tokio::test]
async fn each_message_over_http_and_sse_has_the_credential() {
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    let query = "k=x7Qp-2LdV9mZ_kTa81%2BcReW%2F45%3D";
    for (form, line) in [
        (Form::Bearer, format!("authorization: Bearer {SECRET}\r\n")),
        (Form::Query("k".to_owned()), format!("{query} HTTP/1.1\r\n")),
    ] {
        let server = SseServer::start(|heard, _| {
            let is_refused = heard.json()["params"]["name"] == "delete";
            is_refused.then(|| Say::http("401 Unauthorized", "text/plain", "no"))
        })
        .await;
        let gateway = TestGateway::sse(&format!("{}?a=b", server.url()))
            .with(armed(&text, form, None))
            .start()
            .await;
        let client = Client::new(gateway.addr)
            .header("authorization", "the-client's-own")
            .initialize("2024-11-05")
            .await;
        assert_eq!(client.call("echo", json!({})).await.code(), None);
        for heard in server.heard() {
            assert_eq!(heard.head.matches(&line).count(), 1, "{}", heard.head);
            assert!(!heard.head.contains("the-client's"), "{}", heard.head);
            assert_eq!(heard.head.contains("a=b"), heard.verb == "GET");
        }
        assert_eq!(server.heard().len(), 5, "a list besides, for the catalog");
        let answer = client.call("delete", json!({})).await;
        assert_eq!(answer.code().as_deref(), Some("credential_rejected"));
    }
}

/// A server that names its address with the query it was asked with gets it once.
#[tokio::test]
async fn a_query_that_the_server_repeats_is_not_doubled() {
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    let server = SseServer::start(|heard, streams| {
        (heard.verb == "GET").then(|| {
            let mut opened = streams.open("");
            let target = heard.head.split(' ').nth(1).unwrap_or_default();
            let query = target.split('?').nth(1).unwrap_or_default();
            let begin = format!("event: endpoint\ndata: /messages?sessionId=0&{query}\n\n");
            opened[1] = Say::text(&begin);
            opened
        })
    })
    .await;
    let gateway = TestGateway::sse(&server.url())
        .with(armed(&text, Form::Query("k".to_owned()), None))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2024-11-05").await;
    assert_eq!(client.call("echo", json!({})).await.code(), None);
    for heard in server.heard() {
        assert_eq!(heard.head.matches("k=x7Qp").count(), 1, "{}", heard.head);
    }
}

#[tokio::test]
async fn a_server_that_insists_gets_it_in_the_query() {
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(armed(&text, Form::Query("key".to_owned()), None))
        .start()
        .await;
    let answer = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    assert_eq!(answer.status, 200);
    let heard = server.heard_of("tools/call");
    assert!(
        heard[0]
            .head
            .starts_with("POST /mcp?key=x7Qp-2LdV9mZ_kTa81%2BcReW%2F45%3D HTTP/1.1\r\n"),
        "{}",
        heard[0].head
    );
}

#[tokio::test]
async fn without_its_credential_a_server_is_not_called() {
    let server = server().await;
    let fake = FakeVault::start().await;
    fake.put("secret/crm", json!({"token": SECRET}));
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        max_age: Duration::from_millis(200),
        ..vault(&fake, directory.path())
    };
    let reference = "vault:secret/crm#token";
    let gateway = TestGateway::http(&server.url())
        .with(armed(reference, Form::Bearer, Some(settings)))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    assert_eq!(client.call_modern("echo", json!({})).await.status, 200);
    fake.content().mood = Mood::Broken;
    // What is held is used to its end; then nothing is.
    let refused = loop {
        let answer = client.call_modern("echo", json!({})).await;
        if answer.code().is_some() {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused.code().as_deref(), Some("credential_unavailable"));
    let shown = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(
        !shown.contains("canary-vault-internal-words") && !shown.contains("secret/crm"),
        "{shown}"
    );
    let before = server.heard().len();
    assert!(client.call_modern("echo", json!({})).await.code().is_some());
    assert_eq!(server.heard().len(), before);
    let record = gateway
        .record(|record| record["refusal"] == "credential_unavailable")
        .await;
    assert_eq!(
        record["cred"],
        json!({"ref": reference, "fault": "vault_failing"})
    );
    // Listing what is there needs it just the same.
    fake.content().mood = Mood::Fine;
    while client.call_modern("echo", json!({})).await.code().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_refused_credential_is_fetched_anew_for_the_next_call_and_this_one_is_not_repeated() {
    let fake = FakeVault::start().await;
    let server = FakeServer::with_tools(|heard| {
        if heard.header("authorization") == Some("Bearer leased-password-3-Zx9") {
            return Say::json(&said(&heard.json()["id"], "welcome"));
        }
        let head = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=\"canary-challenge\", resource_metadata=\"https://evil.example\"\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        vec![Say::text(head)]
    })
    .await;
    let directory = TempDir::new().unwrap();
    let gateway = TestGateway::http(&server.url())
        .with(armed(
            "vault:database/creds/crm#password",
            Form::Bearer,
            Some(vault(&fake, directory.path())),
        ))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let first = client.call_modern("echo", json!({})).await;
    assert_eq!(
        first.code().as_deref(),
        Some("credential_rejected"),
        "{first:?}"
    );
    assert_ne!(first.status, 401);
    assert!(first.header("www-authenticate").is_none());
    assert!(!String::from_utf8_lossy(&first.body).contains("canary-challenge"));
    assert_eq!(
        server.heard_of("tools/call").len(),
        1,
        "a call is not repeated"
    );
    let second = client.call_modern("echo", json!({})).await;
    assert_eq!(second.code(), None, "{second:?}");
    // The lease the server refused is given back.
    while fake.content().leases.len() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let outcome = gateway
        .record(|record| {
            record["kind"] == "call.outcome"
                && record["tool_name"] == "echo"
                && record["refusal"].is_null()
        })
        .await;
    assert!(outcome["cred"]["lease_id"].is_string(), "{outcome}");
    gateway.gateway.close(Duration::from_secs(10)).await;
    assert!(fake.content().leases.is_empty(), "ended: revoked");
}

#[tokio::test]
async fn a_redirect_does_not_take_the_credential_along() {
    let elsewhere = server().await;
    let target = elsewhere.url();
    let server = FakeServer::with_tools(move |_| {
        vec![Say::text(&format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n"
        ))]
    })
    .await;
    let (gateway, _directory) = guarded(&server).await;
    let answer = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    assert_eq!(answer.code().as_deref(), Some("upstream_refused"));
    assert!(elsewhere.heard().is_empty());
}

#[tokio::test]
async fn what_the_gateway_says_by_itself_carries_the_credential_too() {
    let server = FakeServer::with_tools(|heard| {
        let id = heard.json()["id"].clone();
        vec![
            Say::sse(),
            Say::event(&json!({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})),
            Say::event(&said(&id, "done")),
            Say::Close,
        ]
    })
    .await;
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    let deny = "package mcp.authz\n\nallow contains \"all\" if input.phase != \"server_request\"\n";
    let gateway = TestGateway::http(&server.url())
        .policy(deny)
        .with(armed(&text, Form::Bearer, None))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    client.call("echo", json!({})).await;
    let declined = server.hears(|heard| heard.json()["id"] == "q").await;
    let expected = format!("Bearer {SECRET}");
    assert_eq!(declined.header("authorization"), Some(expected.as_str()));
    gateway.gateway.close(Duration::from_secs(10)).await;
    let ended = server.hears(|heard| heard.verb == "DELETE").await;
    assert_eq!(ended.header("authorization"), Some(expected.as_str()));
}

#[tokio::test]
async fn a_reload_ends_what_is_no_longer_wanted() {
    let fake = FakeVault::start().await;
    let server = server().await;
    let directory = TempDir::new().unwrap();
    let settings = vault(&fake, directory.path());
    let arm = armed(
        "vault:database/creds/crm#password",
        Form::Bearer,
        Some(settings),
    );
    let mut kept = None;
    let gateway = TestGateway::http(&server.url())
        .with(arm)
        .with(|settings| kept = Some(settings.clone()))
        .start()
        .await;
    let mut settings = kept.unwrap();
    let client = Client::new(gateway.addr);
    client.call_modern("echo", json!({})).await;
    assert_eq!(fake.content().leases.len(), 1);
    // The same again changes nothing.
    gateway.gateway.reload(&settings).unwrap();
    client.call_modern("echo", json!({})).await;
    assert_eq!(fake.asked("GET database/creds"), 1);
    for server in settings.servers.values_mut() {
        server.credentials.clear();
    }
    gateway.gateway.reload(&settings).unwrap();
    while !fake.content().leases.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.call_modern("echo", json!({})).await;
    let heard = server.heard_of("tools/call");
    assert_eq!(heard.last().unwrap().header("authorization"), None);
}

/// A stateless or stateful stdio server in Python that says what its environment holds.
const CHILD: &str = r#"
import json, os, sys
sys.stderr.write("starting with " + os.environ.get("TOKEN", "nothing") + "\n")
sys.stderr.flush()
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    method = message["method"]
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "child", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "who", "inputSchema": {"type": "object"}}]}
        if "_meta" in message.get("params", {}): result.update({"resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
    elif method == "tools/call":
        text = "%d %s %d" % (os.getpid(), os.environ.get("WHO", "-"), len(os.environ.get("TOKEN", "")))
        if message["params"]["arguments"].get("echo"): text = "token " + os.environ.get("TOKEN", "-")
        result = {"content": [{"type": "text", "text": text}]}
        if "_meta" in message.get("params", {}): result["resultType"] = "complete"
    else: result = {}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
"#;

fn text_of(answer: &keepgate_tests::Answer) -> String {
    let message: Value = answer.messages().pop().unwrap();
    message["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{message}"))
        .to_owned()
}

#[tokio::test]
async fn a_child_process_gets_it_in_its_environment_and_a_fresh_one_when_it_changes() {
    for shared in [false, true] {
        let directory = TempDir::new().unwrap();
        let reference = private(directory.path(), "token", "first-child-secret");
        let form = Form::Environment {
            name: "TOKEN".to_owned(),
            user: Some(("WHO".to_owned(), User::Named("svc".to_owned()))),
        };
        let gateway = TestGateway::child("python3", &["-c", CHILD], shared)
            .with(armed(&reference, form, None))
            .start()
            .await;
        let client = Client::new(gateway.addr);
        let session = client.initialize("2025-11-25").await;
        let of_session = text_of(&session.call("who", json!({})).await);
        let first = text_of(&client.call_modern("who", json!({})).await);
        assert!(first.ends_with(" svc 18"), "{first}");
        assert!(of_session.ends_with(" svc 18"), "{of_session}");
        assert_eq!(
            text_of(&client.call_modern("who", json!({})).await),
            first,
            "the same process"
        );
        let echoed = text_of(&client.call_modern("who", json!({"echo": true})).await);
        assert_eq!(echoed, "token [masked by keepgate]");

        private(directory.path(), "token", "the-second-child-secret");
        let source = gateway.gateway.shared().credentials.of(&up()).unwrap();
        source.reject(&source.acquire().await.unwrap());
        let second = text_of(&client.call_modern("who", json!({})).await);
        assert!(second.ends_with(" svc 23"), "{second}");
        assert_ne!(
            second.split(' ').next(),
            first.split(' ').next(),
            "another process"
        );
        // A session was the process of before; the client begins anew.
        let past = session.call("who", json!({})).await;
        assert_eq!(
            (past.status, past.code().as_deref()),
            (404, Some("session_unknown"))
        );
        let session = client.initialize("2025-11-25").await;
        assert!(text_of(&session.call("who", json!({})).await).ends_with(" svc 23"));
    }
}

/// Neither the end of the session nor the cancellation of the call carries it.
#[tokio::test]
async fn a_killed_credential_is_not_sent_once_more() {
    use keepgate_store::kill::{Kill, Scope, Wish};

    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    for (word, target, says) in [
        ("credential", Some(text.as_str()), false),
        ("caller", Some("alice"), true),
    ] {
        let server = FakeServer::with_tools(|_| vec![Say::Hang]).await;
        let gateway = TestGateway::http(&server.url())
            .keys()
            .with(armed(&text, Form::Bearer, None))
            .start()
            .await;
        let key = gateway.key("alice", &[]);
        let client = Client::new(gateway.addr)
            .header("authorization", &format!("Bearer {key}"))
            .initialize("2025-11-25")
            .await;
        let switch = &gateway.gateway.shared().kill;
        let set = async {
            server
                .hears(|heard| heard.body.contains("tools/call"))
                .await;
            let wish = Wish {
                scope: Scope::parse(word, target).unwrap(),
                tenant: None,
                reason: "leaked".to_owned(),
                by: "alice".to_owned(),
                lasts: None,
            };
            switch.set(Kill::new(wish, std::time::SystemTime::now()).unwrap())
        };
        let (answer, applied) = tokio::join!(client.call("echo", json!({})), set);
        assert_eq!(answer.code().as_deref(), Some("killed"));
        assert_eq!(applied.cut, 1);
        while gateway.gateway.shared().sessions.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gateway.gateway.close(Duration::from_secs(10)).await;
        let heard = server.heard();
        let farewells = heard.iter().filter(|heard| {
            heard.verb == "DELETE" || heard.body.contains("notifications/cancelled")
        });
        assert_eq!(farewells.count() > 0, says, "{word}");
    }
}

#[tokio::test]
async fn lines_and_parameters_of_the_configuration_go_with_every_request() {
    use keepgate_gateway::settings::Upstream;
    let server = server().await;
    for (own, agent) in [(false, "keepgate/"), (true, "acme/1")] {
        let url = format!("{}?project_ref=abc", server.url());
        let directory = TempDir::new().unwrap();
        let text = private(directory.path(), "crm", SECRET);
        let gateway = TestGateway::http(&url)
            .with(|settings| {
                for server in settings.servers.values_mut() {
                    server.credentials = vec![wanted(&text, Form::Query("k".to_owned()))];
                    let Upstream::Http { headers, .. } = &mut server.upstream else {
                        panic!("a server on the network")
                    };
                    headers.push((
                        HeaderName::from_static("x-region"),
                        HeaderValue::from_static("eu"),
                    ));
                    // The protocol's own lines win, whoever wrote the settings.
                    headers.push((header::ACCEPT, HeaderValue::from_static("text/plain")));
                    if own {
                        headers.push((header::USER_AGENT, HeaderValue::from_static("acme/1")));
                    }
                }
            })
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        assert_eq!(client.call("echo", json!({})).await.code(), None);
        client.send("GET", "").await;
        client.send("DELETE", "").await;
        let mut verbs: Vec<String> = Vec::new();
        for heard in server.heard() {
            let target = heard.head.lines().next().unwrap().to_owned();
            let query = "?project_ref=abc&k=x7Qp-2LdV9mZ_kTa81%2BcReW%2F45%3D HTTP/1.1";
            assert!(target.ends_with(query), "{target}");
            assert_eq!(heard.header("x-region"), Some("eu"), "{target}");
            assert!(!heard.head.contains("text/plain"), "{}", heard.head);
            verbs.push(heard.verb.clone());
        }
        let last = server.heard().pop().unwrap();
        assert!(last.header("user-agent").unwrap().starts_with(agent));
        for verb in ["POST", "GET", "DELETE"] {
            assert!(verbs.iter().any(|heard| heard == verb), "{verb}");
        }
    }
}
