//! Sessions over restarts: clients go on where their server still knows them, whether the gateway ended in order or was
//! killed, and what had ended stays so.

use std::{fs, path::Path, time::Duration};

use keepgate_tests::{Answer, Client, Events, FakeServer, Say, free_port, upstream::said};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::gate::{Gate, Home};
use super::process::{PATIENCE, begin, serve, until};

const REDACTS: &str = "package mcp.authz\n\nallow contains \"all\"\n\nredact contains {\"field\": \"SSN\"} if input.tool.name == \"account\"\n";

/// The end of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    InOrder,
    Killed,
}

const ENDS: [End; 2] = [End::InOrder, End::Killed];

/// A gateway whose clients find it again.
fn home() -> Home {
    let port = free_port();
    Home::new().with(|it| it["listen"] = json!(format!("127.0.0.1:{port}")))
}

async fn end(gate: Gate, end: End) -> Home {
    match end {
        End::InOrder => gate.end_keeping().await.home,
        End::Killed => gate.kill().await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_sdks_go_on_after_a_restart() {
    let (_server, url) = serve("store", &[]).await;
    for way in ENDS {
        let home = home().url("up", &url);
        home.policy(REDACTS);
        let gate = home.serve().await;
        let file = gate.home.path("restarted");
        let words = [&gate.url("up"), file.to_str().expect("a path")].map(str::to_owned);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut clients = Vec::new();
        for script in ["ts-restart.mjs", "py_restart.py"] {
            let mut client = begin(script, &words, &[]);
            let ready = |said: &str| said.lines().any(|line| line == "ready").then_some(());
            client.says("that it is ready", ready).await;
            clients.push(client);
        }
        let gate = end(gate, way).await.serve().await;
        fs::write(&file, "").expect("a file");
        let mut lines = String::new();
        for client in clients {
            lines += &client.finished(PATIENCE).await.stdout;
        }
        let expected = "1.x before: [redacted]\n2.x before: [redacted]\nready\n1.x after: [redacted]\n1.x stream: heard\n2.x after: [redacted]\n2.x stream: heard\npy before: [redacted]\nready\npy after: [redacted]\n";
        assert_eq!(lines, expected, "{way:?}");
        // Calls that a killed gateway had open are not finished in its log.
        gate.end_keeping().await;
    }
}

/// A server that forgets its session when `gone` is called, and streams what the tool `leak` holds on a `GET`.
async fn server() -> FakeServer {
    FakeServer::start(|heard| {
        let message = heard.json();
        if heard.verb == "GET" {
            let leak = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": {"SSN": "078-05-1120"}}});
            return vec![Say::sse(), Say::event(&leak), Say::Hang];
        }
        if message["params"]["name"] == "gone" {
            return Say::http("404 Not Found", "text/plain", "");
        }
        if message["method"] == "tools/list" {
            let tools = ["echo", "account", "gone"].map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
            return Say::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}}));
        }
        keepgate_tests::upstream::behave(heard)
            .unwrap_or_else(|| Say::json(&said(&message["id"], "done")))
    })
    .await
}

/// A session, whoever holds it, as a later process finds it.
async fn answers(gate: &Gate, client: &Client) -> bool {
    let client = client.moved(gate.addr);
    let answer = client.call("echo", json!({})).await;
    let known = answer.status == 200;
    assert!(
        known || is_unknown(&answer) || answer.status == 401,
        "{answer:?}"
    );
    known
}

fn is_unknown(answer: &Answer) -> bool {
    answer.status == 404 && answer.code().as_deref() == Some("session_unknown")
}

fn admin_token(home: &Home) -> String {
    let path = home.path("state/admin-token");
    path.to_str().expect("a path").to_owned()
}

/// `keepgate kill ..` against the running gateway.
async fn kill(gate: &Gate, words: &[&str]) -> Value {
    let (url, token) = (format!("http://{}", gate.admin), admin_token(&gate.home));
    let words = [&["kill"], words, &["--url", &url, "--token-file", &token]].concat();
    gate.home.keepgate(&words).await.json()
}

/// The public id of the session `client` is in.
fn public(client: &Client) -> String {
    let id = client.sent("mcp-session-id").expect("a session");
    blake3::hash(id.as_bytes()).to_hex()[..32].to_owned()
}

/// Sessions of which all but the first have ended.
struct Ended {
    alive: Client,
    others: Vec<(&'static str, Client)>,
}

impl Ended {
    /// Opens sessions and ends them, each in another way.
    async fn new(gate: &Gate, ada: &str, eve: &str) -> Self {
        let with = async |key: &str| {
            let client = gate.client("up");
            let client = client.header("authorization", &format!("Bearer {key}"));
            client.initialize("2025-11-25").await
        };
        let alive = with(ada).await;
        let mut others = Vec::new();
        for what in [
            "deleted",
            "forgotten by the server",
            "killed",
            "killed, the kill cleared",
        ] {
            others.push((what, with(ada).await));
        }
        for client in others.iter().map(|(_, client)| client).chain([&alive]) {
            assert!(answers(gate, client).await);
        }
        for (what, client) in &others {
            match *what {
                "deleted" => assert_eq!(client.send("DELETE", "").await.status, 200),
                "forgotten by the server" => {
                    assert!(is_unknown(&client.call("gone", json!({})).await));
                }
                killed => kill_session(gate, client, killed != "killed").await,
            }
        }
        others.push(("of a key that is revoked later", with(eve).await));
        Self { alive, others }
    }
}

/// Kills a session, and clears the kill again.
async fn kill_session(gate: &Gate, client: &Client, clears: bool) {
    let set = ["set", "session", &public(client), "--reason", "a test"];
    let set = kill(gate, &set).await;
    until("the session to end", async || {
        let answer = client.call("echo", json!({})).await;
        answer.code().as_deref() == Some("killed")
    })
    .await;
    if clears {
        let id = set["kill"]["id"].as_str().expect("an id");
        kill(gate, &["clear", id, "--reason", "over"]).await;
    }
}

/// Fails if the database shows who calls whom.
fn shows_nothing(home: &Home, client: &Client) {
    let read = |name: &str| fs::read(home.path(name)).unwrap_or_default();
    let bytes = [read("state/sessions.db"), read("state/sessions.db-wal")].concat();
    assert!(bytes.len() > 4096);
    let id = client.sent("mcp-session-id").expect("a session");
    for secret in [id, "upstream-secret-session", "ada"] {
        let mut windows = bytes.windows(secret.len());
        let found = windows.any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} is in the database");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_a_session_holds_over_a_restart() {
    let server = server().await;
    for way in ENDS {
        let home = home().url("up", &server.url()).keys();
        let (_, ada) = home.key("ada").await;
        let (_, bob) = home.key("bob").await;
        let (eve_id, eve) = home.key("eve").await;
        let gate = home.serve().await;
        let Ended { alive, others } = Ended::new(&gate, &ada, &eve).await;
        shows_nothing(&gate.home, &alive);
        let home = end(gate, way).await;
        home.keepgate(&["keys", "revoke", &eve_id]).await.good();
        let gate = home.serve().await;
        assert_eq!(gate.said("sessions resumed"), 1);
        for (what, client) in &others {
            assert!(!answers(&gate, client).await, "{way:?}: {what}");
        }
        // Of another caller it is as unknown as one that never was.
        let stolen = alive.clone();
        let stolen = stolen.header("authorization", &format!("Bearer {bob}"));
        assert!(!answers(&gate, &stolen).await, "{way:?}");
        assert!(answers(&gate, &alive).await, "{way:?}");
        let heard = server.heard_of("tools/call");
        let last = heard.last().expect("a call");
        let id = last.header("mcp-session-id");
        assert_eq!(id, Some("upstream-secret-session"));
        // A delete of a resumed session holds as well.
        assert_eq!(alive.send("DELETE", "").await.status, 200);
        let gate = end(gate, way).await.serve().await;
        assert!(!answers(&gate, &alive).await, "{way:?}");
        gate.end_keeping().await;
    }
}

/// A change while no gateway runs.
type Change = fn(Home) -> Home;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_without_a_gateway_ends_sessions_also_when_it_is_over() {
    let server = server().await;
    for lasts in ["1h", "1s"] {
        let gate = home().url("up", &server.url()).serve().await;
        let client = gate.client("up").initialize("2025-11-25").await;
        let other = gate.client("up").initialize("2025-11-25").await;
        assert!(answers(&gate, &client).await && answers(&gate, &other).await);
        let home = end(gate, End::InOrder).await;
        let public = public(&client);
        let words = [
            "kill",
            "set",
            "session",
            &public,
            "--reason",
            "a test",
            "--expires",
            lasts,
        ];
        let set = home.keepgate(&words).await;
        let is_over = lasts == "1s";
        assert!(set.stdout.contains(&public), "{set:?}");
        if is_over {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let gate = home.serve().await;
        let answer = client.call("echo", json!({})).await;
        let expected = if is_over { "session_unknown" } else { "killed" };
        assert_eq!(answer.code().as_deref(), Some(expected), "{answer:?}");
        assert!(answers(&gate, &other).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_what_is_another_one_now_are_not_resumed() {
    let server = server().await;
    let changes: [(&str, &str, Change); 7] = [
        ("nothing", "resumed", |home| home),
        ("server_changed", "server_changed", |home| {
            home.with(|it| {
                let url = it["servers"]["up"]["url"]
                    .as_str()
                    .expect("a URL")
                    .to_owned();
                it["servers"]["up"]["url"] = json!(format!("{url}?tenant=2"));
            })
        }),
        ("another credential", "server_changed", |home| {
            let path = home.path("secret");
            fs::write(&path, "secret-secret-secret").expect("a file");
            close(&path);
            home.with(|it| {
                it["servers"]["up"]["credential"] =
                    json!({"ref": format!("file:{}", path.display()), "as": "bearer"});
            })
        }),
        ("a child", "server_changed", |home| {
            home.child("up", &["fixture-stdio"])
        }),
        ("other callers", "caller_not_admitted", Home::keys),
        ("no place", "limit", |home| {
            home.with(|it| it["limits"] = json!({"sessions_per_caller": 1}))
        }),
        ("history", "policy_reads_history", |home| {
            home.policy("package mcp.authz\n\nallow contains \"few\" if input.history.calls < 9\n");
            home
        }),
    ];
    for (what, cause, change) in changes {
        let gate = home().url("up", &server.url()).serve().await;
        let first = gate.client("up").initialize("2025-11-25").await;
        let client = gate.client("up").initialize("2025-11-25").await;
        assert!(answers(&gate, &first).await && answers(&gate, &client).await);
        let home = gate.kill().await;
        let gate = change(home).serve().await;
        let resumed = match cause {
            "resumed" => 2,
            "limit" => 1,
            _ => 0,
        };
        let log = gate.process.stderr();
        assert!(log.contains(cause), "{what}: {log}");
        let mut known = 0;
        for client in [&first, &client] {
            known += usize::from(answers(&gate, client).await);
        }
        assert_eq!(known, resumed, "{what}");
    }
}

/// Closes a file to others.
fn close(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_has_the_rules_of_its_calls() {
    let server = server().await;
    for way in ENDS {
        let home = home().url("up", &server.url());
        home.policy(REDACTS);
        let gate = home.serve().await;
        let client = gate.client("up").initialize("2025-11-25").await;
        let fresh = gate.client("up").initialize("2025-11-25").await;
        assert_eq!(client.call("account", json!({})).await.status, 200);
        let gate = end(gate, way).await.serve().await;
        for (client, is_redacted) in [(&client, true), (&fresh, false)] {
            let client = client.moved(gate.addr);
            let mut events = Events::of(client.open("GET", "").await);
            // Lists may have changed while there was no gateway, which is announced first.
            let mut message = json!({"method": "notifications/tools/list_changed"});
            while message["method"] == "notifications/tools/list_changed" {
                message = events.message().await.expect("a message");
            }
            let leaked = message.to_string();
            assert_eq!(
                !leaked.contains("078-05-1120"),
                is_redacted,
                "{way:?}: {leaked}"
            );
        }
        drop(gate);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_cannot_be_read_are_not_resumed() {
    let server = server().await;
    type Breaks = fn(&Path);
    let broken: [(&str, Breaks); 3] = [
        ("garbage", |path| {
            fs::write(path, "no database".repeat(100)).expect("a file");
            close(path);
        }),
        ("removed", |path| fs::remove_file(path).expect("a file")),
        ("another key", |path| {
            let key = path.with_file_name("private").join("events.key");
            fs::remove_file(key).expect("a file");
        }),
    ];
    for (what, breaks) in broken {
        let gate = home().url("up", &server.url()).serve().await;
        let client = gate.client("up").initialize("2025-11-25").await;
        let home = end(gate, End::InOrder).await;
        breaks(&home.path("state/sessions.db"));
        let gate = home.serve().await;
        assert!(!answers(&gate, &client).await, "{what}");
        let reported = ["sessions.db cannot be read", "sessions not resumed"];
        let reported: usize = reported.iter().map(|line| gate.said(line)).sum();
        assert_eq!(reported, usize::from(what != "removed"), "{what}");
        // From now on sessions are kept again.
        let client = gate.client("up").initialize("2025-11-25").await;
        let gate = gate.kill().await.serve().await;
        assert!(answers(&gate, &client).await, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_keep_sessions_serves_and_reports_it() {
    let server = server().await;
    let home = home().url("up", &server.url());
    fs::create_dir_all(home.path("state/sessions.db")).expect("a folder");
    for folder in ["state", "state/sessions.db"] {
        use std::os::unix::fs::PermissionsExt;
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(home.path(folder), closed).expect("a folder");
    }
    let gate = home.serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    assert!(answers(&gate, &client).await);
    assert!(gate.part("sessions").await.starts_with("NOT KEPT"));
    assert_eq!(gate.admin("/readyz").await, 200);
    let home = gate.kill().await;
    fs::remove_dir(home.path("state/sessions.db")).expect("a folder");
    let gate = home.serve().await;
    assert!(!answers(&gate, &client).await);
    assert!(gate.part("sessions").await.starts_with("no part"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_answers_until_load_balancers_know() {
    let server = server().await;
    let home = home().url("up", &server.url());
    let home = home.with(|it| it["limits"] = json!({"drain_delay": "1h"}));
    let mut gate = home.serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    assert_eq!(gate.admin("/readyz").await, 200);
    gate.process.signal(Signal::SIGTERM);
    gate.says("draining", 1).await;
    assert_eq!(gate.admin("/readyz").await, 503);
    assert_eq!(gate.admin("/livez").await, 200);
    // New connections, calls and sessions are taken as before: who sends them does not know yet.
    assert!(answers(&gate, &client).await);
    let late = gate.client("up").initialize("2025-11-25").await;
    // Another signal ends the window.
    let gate = gate.end_keeping().await.home.serve().await;
    assert!(answers(&gate, &client).await && answers(&gate, &late).await);
    gate.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_newer_version_is_refused() {
    let server = server().await;
    let gate = home().url("up", &server.url()).serve().await;
    let home = gate.end_keeping().await.home;
    let format = home.path("state/format");
    assert_eq!(fs::read_to_string(&format).expect("a file"), "1\n");
    let database = fs::read(home.path("state/keepgate.db")).expect("a file");
    fs::write(&format, "2\n").expect("a file");
    let refused = home.start(&[]).finished(PATIENCE).await;
    assert_eq!(refused.code, Some(10), "{}", refused.stderr);
    assert!(refused.stderr.contains("format 2"), "{}", refused.stderr);
    for words in [
        &["keys", "create", "--subject", "ada"][..],
        &["operators", "add", "ada", "--role", "sre"][..],
    ] {
        let refused = home.keepgate(words).await;
        assert_eq!(refused.code, Some(10), "{words:?} {}", refused.stderr);
    }
    assert_eq!(
        fs::read(home.path("state/keepgate.db")).expect("a file"),
        database
    );
    // One without the file is as old as can be.
    fs::remove_file(&format).expect("a file");
    let gate = home.serve().await;
    assert_eq!(fs::read_to_string(&format).expect("a file"), "1\n");
    gate.end().await;
}
