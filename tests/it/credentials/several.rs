//! Servers with several credentials: each call has all of them, or is not made.

use std::{sync::Arc, time::Duration};

use keepgate_credential::{Form, MASK, Use, VaultSettings};
use keepgate_gateway::settings::Settings;
use keepgate_store::kill::{Kill, Scope, Wish};
use keepgate_tests::{
    Client, FakeServer, FakeVault, Say, SseServer, TestGateway, upstream::said, vault::Mood,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{private, up, vault, wanted};

const FIRST: &str = "first-secret-a81f+77/Qx";
const SECOND: &str = "second-secret-9d02+31/Rw";
const LEASED: &str = "vault:database/creds/crm#password";

/// Gives the server `up` these credentials.
fn armed(all: Vec<Use>, vault: Option<VaultSettings>) -> impl FnOnce(&mut Settings) + use<> {
    move |settings| {
        settings.credentials.vault = vault;
        for server in settings.servers.values_mut() {
            server.credentials.clone_from(&all);
        }
    }
}

fn header(name: &str) -> Form {
    Form::Header(name.parse().unwrap())
}

fn query(name: &str) -> Form {
    Form::Query(name.to_owned())
}

fn variable(name: &str) -> Form {
    Form::Environment {
        name: name.to_owned(),
        user: None,
    }
}

/// [`FIRST`] and [`SECOND`] in files of a directory, in these forms.
fn both(directory: &TempDir, first: Form, second: Form) -> Vec<Use> {
    let file = |name, secret| private(directory.path(), name, secret);
    vec![
        wanted(&file("first", FIRST), first),
        wanted(&file("second", SECOND), second),
    ]
}

/// Their references as records have them.
fn text(all: &[Use]) -> String {
    let references: Vec<&str> = all.iter().map(|it| it.reference.as_str()).collect();
    references.join(" ")
}

/// A server that gives back every head it hears.
async fn parrot() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], &heard.head))).await
}

fn kill(reference: &str) -> Kill {
    let wish = Wish {
        scope: Scope::parse("credential", Some(reference)).unwrap(),
        tenant: None,
        reason: "leaked".to_owned(),
        by: "alice".to_owned(),
        lasts: None,
    };
    Kill::new(wish, std::time::SystemTime::now()).unwrap()
}

/// Two forms, and what is in each head that the server hears.
fn forms() -> Vec<(Form, Form, Vec<String>)> {
    let encoded = |secret: &str| secret.replace('+', "%2B").replace('/', "%2F");
    let (first, second) = (encoded(FIRST), encoded(SECOND));
    let line = |name: &str, secret: &str| format!("{name}: {secret}\r\n");
    vec![
        (
            header("dd-api-key"),
            header("dd-application-key"),
            vec![
                line("dd-api-key", FIRST),
                line("dd-application-key", SECOND),
            ],
        ),
        (
            Form::Bearer,
            header("x-subscription"),
            vec![
                line("authorization: Bearer", FIRST).replace("Bearer:", "Bearer"),
                line("x-subscription", SECOND),
            ],
        ),
        (
            query("key"),
            query("app"),
            vec![format!("/mcp?key={first}&app={second}")],
        ),
        (
            header("x-api-key"),
            query("app"),
            vec![line("x-api-key", FIRST), format!("?app={second}")],
        ),
    ]
}

#[tokio::test]
async fn a_server_gets_each_of_its_credentials_and_the_agent_none() {
    for (first, second, lines) in forms() {
        let directory = TempDir::new().unwrap();
        let all = both(&directory, first, second);
        let server = parrot().await;
        let gateway = TestGateway::http(&server.url())
            .with(armed(all.clone(), None))
            .start()
            .await;
        let client = Client::new(gateway.addr)
            .header("dd-application-key", "the-client's-own")
            .header("x-subscription", "the-client's-own");
        let session = client.initialize("2025-11-25").await;
        let answers = [
            session.call("echo", json!({})).await,
            client.call_modern("echo", json!({})).await,
        ];
        for answer in answers {
            assert_eq!(answer.code(), None, "{answer:?}");
            let shown = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(shown.matches(MASK).count(), 2, "{shown}");
            assert!(!shown.contains(FIRST) && !shown.contains(SECOND), "{shown}");
        }
        session.send("GET", "").await;
        session.send("DELETE", "").await;
        server.hears(|heard| heard.verb == "DELETE").await;
        for heard in server.heard() {
            assert!(!heard.head.contains("the-client's-own"), "{}", heard.head);
            for line in &lines {
                assert_eq!(heard.head.matches(line).count(), 1, "{}", heard.head);
            }
        }
        let outcome = gateway
            .record(|record| record["kind"] == "call.outcome" && record["tool_name"] == "echo")
            .await;
        assert_eq!(outcome["cred"], json!({"ref": text(&all), "masked": 2}));
    }
}

/// The server names its address with one of the two parameters it was asked with.
#[tokio::test]
async fn each_message_over_http_and_sse_has_each_credential_once() {
    let directory = TempDir::new().unwrap();
    let server = SseServer::start(|heard, streams| {
        (heard.verb == "GET").then(|| {
            let mut opened = streams.open("");
            let target = heard.head.split(' ').nth(1).unwrap_or_default();
            let parameter = target.split(['?', '&']).nth(1).unwrap_or_default();
            opened[1] = Say::text(&format!(
                "event: endpoint\ndata: /messages?sessionId=0&{parameter}\n\n"
            ));
            opened
        })
    })
    .await;
    let all = both(&directory, query("key"), query("app"));
    let gateway = TestGateway::sse(&server.url())
        .with(armed(all, None))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2024-11-05").await;
    assert_eq!(client.call("echo", json!({})).await.code(), None);
    assert!(server.heard().len() > 2);
    for heard in server.heard() {
        for parameter in ["key=first-secret", "app=second-secret"] {
            assert_eq!(heard.head.matches(parameter).count(), 1, "{}", heard.head);
        }
    }
}

/// A stdio server in Python that answers with its process and the lengths of its two variables, or with these.
const CHILD: &str = r#"
import json, os, sys
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
        names = ["FIRST", "SECOND"]
        text = " ".join([str(os.getpid())] + [str(len(os.environ.get(name, ""))) for name in names])
        if message["params"]["arguments"].get("echo"): text = " ".join(os.environ.get(name, "-") for name in names)
        result = {"content": [{"type": "text", "text": text}]}
        if "_meta" in message.get("params", {}): result["resultType"] = "complete"
    else: result = {}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
"#;

fn text_of(answer: &keepgate_tests::Answer) -> String {
    let message: Value = answer.messages().pop().unwrap();
    let text = message["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("{message}")).to_owned()
}

#[tokio::test]
async fn a_child_process_gets_each_variable_and_a_fresh_process_when_one_changes() {
    for (shared, changed) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let directory = TempDir::new().unwrap();
        let all = both(&directory, variable("FIRST"), variable("SECOND"));
        let gateway = TestGateway::child("python3", &["-c", CHILD], shared)
            .with(armed(all, None))
            .start()
            .await;
        let client = Client::new(gateway.addr);
        let session = client.initialize("2025-11-25").await;
        let lengths = |second: usize, first: usize| format!(" {first} {second}");
        let before = lengths(SECOND.len(), FIRST.len());
        let first = text_of(&client.call_modern("who", json!({})).await);
        assert!(first.ends_with(&before), "{first}");
        let of_session = text_of(&session.call("who", json!({})).await);
        assert!(of_session.ends_with(&before), "{of_session}");
        let echoed = text_of(&client.call_modern("who", json!({"echo": true})).await);
        assert_eq!(echoed, format!("{MASK} {MASK}"));

        let name = ["first", "second"][changed];
        private(directory.path(), name, "another-secret");
        let sets = gateway.gateway.shared().credentials.sets();
        let source = Arc::clone(sets[&up()].sources().nth(changed).unwrap());
        source.reject(&source.acquire().await.unwrap());
        let second = text_of(&client.call_modern("who", json!({})).await);
        let now = match changed {
            0 => lengths(SECOND.len(), 14),
            _ => lengths(14, FIRST.len()),
        };
        assert!(second.ends_with(&now), "{second}");
        let past = session.call("who", json!({})).await;
        assert_eq!(past.code().as_deref(), Some("session_unknown"));
        let session = client.initialize("2025-11-25").await;
        let of_session = text_of(&session.call("who", json!({})).await);
        assert!(of_session.ends_with(&now), "{of_session}");
    }
}

/// The reference to a secret that cannot be had in this way.
fn unfit(directory: &TempDir, way: &str) -> String {
    let file = |name, secret| private(directory.path(), name, secret);
    match way {
        "missing" => format!("file:{}", directory.path().join("missing").display()),
        "open" => {
            let text = file("open", SECOND);
            let path = text.strip_prefix("file:").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(path, mode).unwrap();
            text
        }
        "short" => file("short", "short"),
        "line" => file("line", "two\nlines-of-it"),
        reference => reference.to_owned(),
    }
}

/// A gateway in front of `server`, or of a process, whose credentials are these.
async fn given(
    server: &FakeServer,
    child: bool,
    references: [&str; 2],
    vault: VaultSettings,
) -> TestGateway {
    let forms = match child {
        true => [variable("FIRST"), variable("SECOND")],
        false => [Form::Bearer, header("x-key")],
    };
    let all = references.into_iter().zip(forms);
    let all = all
        .map(|(reference, form)| wanted(reference, form))
        .collect();
    let gateway = match child {
        true => TestGateway::child("python3", &["-c", CHILD], false),
        false => TestGateway::http(&server.url()),
    };
    gateway.with(armed(all, Some(vault))).start().await
}

#[tokio::test]
async fn without_one_of_its_credentials_a_server_hears_nothing() {
    let fake = FakeVault::start().await;
    fake.put("secret/crm", json!({"token": SECOND}));
    fake.content().mood = Mood::Broken;
    let ways = [
        ("missing", "file_missing"),
        ("open", "file_mode"),
        ("short", "too_short"),
        ("line", "unsendable"),
        ("vault:secret/crm#token", "vault_failing"),
        (LEASED, "vault_failing"),
    ];
    let places = [(true, true), (true, false), (false, true), (false, false)];
    for ((way, fault), (is_first, child)) in ways.iter().flat_map(|way| places.map(|it| (*way, it)))
    {
        // What no header can hold, a variable can.
        if child && fault == "unsendable" {
            continue;
        }
        let directory = TempDir::new().unwrap();
        let good = private(directory.path(), "good", FIRST);
        let bad = unfit(&directory, way);
        let references = match is_first {
            true => [bad.as_str(), &good],
            false => [good.as_str(), &bad],
        };
        let server = parrot().await;
        let gateway = given(&server, child, references, vault(&fake, directory.path())).await;
        let client = Client::new(gateway.addr);
        let answer = client.call_modern("echo", json!({})).await;
        let code = answer.code();
        assert_eq!(
            code.as_deref(),
            Some("credential_unavailable"),
            "{fault} {is_first} {child}"
        );
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!shown.contains(&bad), "{shown}");
        assert!(server.heard().is_empty(), "{fault} {is_first}");
        let shared = gateway.gateway.shared();
        assert_eq!(shared.processes.all().len(), 0);
        let record = gateway
            .record(|record| record["refusal"] == "credential_unavailable")
            .await;
        assert_eq!(record["cred"], json!({"ref": bad, "fault": fault}));
        let metrics = shared.meters.text();
        assert!(
            metrics.contains(&format!("keepgate_credential_reference=\"{bad}\"")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_kill_of_any_of_its_credentials_stops_what_uses_them_all() {
    for killed in [0, 1] {
        let directory = TempDir::new().unwrap();
        let all = both(&directory, header("x-one"), header("x-two"));
        let server = FakeServer::with_tools(|_| vec![Say::Hang]).await;
        let gateway = TestGateway::http(&server.url())
            .with(armed(all.clone(), None))
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let switch = &gateway.gateway.shared().kill;
        let set = async {
            server
                .hears(|heard| heard.body.contains("tools/call"))
                .await;
            switch.set(kill(all[killed].reference.as_str()))
        };
        let (answer, applied) = tokio::join!(client.call("echo", json!({})), set);
        assert_eq!(answer.code().as_deref(), Some("killed"));
        assert_eq!(applied.cut, 1);
        while gateway.gateway.shared().sessions.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let refused = Client::new(gateway.addr)
            .call_modern("echo", json!({}))
            .await;
        assert_eq!(refused.code().as_deref(), Some("killed"));
        gateway.gateway.close(Duration::from_secs(10)).await;
        let heard = server.heard();
        let farewells = heard.iter().filter(|heard| {
            heard.verb == "DELETE" || heard.body.contains("notifications/cancelled")
        });
        assert_eq!(farewells.count(), 0, "not even a farewell");
        assert_eq!(server.heard_of("tools/call").len(), 1);
    }
}

#[tokio::test]
async fn a_kill_of_any_of_its_credentials_ends_the_processes_with_it() {
    for (shared, killed) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let directory = TempDir::new().unwrap();
        let all = both(&directory, variable("FIRST"), variable("SECOND"));
        let gateway = TestGateway::child("python3", &["-c", CHILD], shared)
            .with(armed(all.clone(), None))
            .start()
            .await;
        let client = Client::new(gateway.addr);
        let session = client.initialize("2025-11-25").await;
        text_of(&session.call("who", json!({})).await);
        text_of(&client.call_modern("who", json!({})).await);
        let shared = gateway.gateway.shared();
        assert!(!shared.processes.all().is_empty());
        shared.kill.set(kill(all[killed].reference.as_str()));
        while shared.processes.all().len() + shared.sessions.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let refused = client.call_modern("who", json!({})).await;
        assert_eq!(refused.code().as_deref(), Some("killed"));
    }
}

/// One in a file, one leased: the server that accepts neither shows not which is wrong.
#[tokio::test]
async fn refused_credentials_are_all_fetched_again_and_leases_given_back() {
    let fake = FakeVault::start().await;
    let server = FakeServer::with_tools(|heard| {
        if heard
            .header("x-two")
            .is_some_and(|it| it.starts_with("leased-password-3"))
        {
            return Say::json(&said(&heard.json()["id"], &heard.head));
        }
        Say::http("401 Unauthorized", "text/plain", "no")
    })
    .await;
    let directory = TempDir::new().unwrap();
    let first = private(directory.path(), "first", FIRST);
    let all = vec![
        wanted(&first, header("x-one")),
        wanted(LEASED, header("x-two")),
    ];
    let gateway = TestGateway::http(&server.url())
        .with(armed(all.clone(), Some(vault(&fake, directory.path()))))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let answer = client.call_modern("echo", json!({})).await;
    assert_eq!(answer.code().as_deref(), Some("credential_rejected"));
    private(directory.path(), "first", "the-first-secret-of-now");
    let answer = client.call_modern("echo", json!({})).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let heard = server.heard_of("tools/call").pop().unwrap();
    assert_eq!(heard.header("x-one"), Some("the-first-secret-of-now"));
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(
        shown.matches(MASK).count(),
        2,
        "leased too, on its first use: {shown}"
    );
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
    assert_eq!(outcome["cred"]["ref"], text(&all));
    let leases = outcome["cred"]["lease_id"].as_str().unwrap();
    assert!(
        leases.starts_with("- b3:") && leases.split(' ').count() == 2,
        "{leases}"
    );
    gateway.gateway.close(Duration::from_secs(10)).await;
    assert!(fake.content().leases.is_empty(), "ended: revoked");
}

/// A credential that ends while another is waited for is fetched again, and not used.
#[tokio::test]
async fn one_that_ends_while_another_is_fetched_is_not_used() {
    let fake = FakeVault::start().await;
    fake.put("secret/crm", json!({"token": FIRST}));
    fake.put("secret/other", json!({"token": SECOND}));
    let server = parrot().await;
    let directory = TempDir::new().unwrap();
    let all = vec![
        wanted("vault:secret/crm#token", header("x-one")),
        wanted("vault:secret/other#token", header("x-two")),
    ];
    let settings = VaultSettings {
        max_age: Duration::from_nanos(1),
        ..vault(&fake, directory.path())
    };
    let gateway = TestGateway::http(&server.url())
        .with(armed(all, Some(settings)))
        .start()
        .await;
    let answer = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    assert_eq!(answer.code().as_deref(), Some("credential_unavailable"));
    assert!(server.heard().is_empty());
    let record = gateway
        .record(|record| record["refusal"] == "credential_unavailable")
        .await;
    assert_eq!(record["cred"]["fault"], "ended");
}
