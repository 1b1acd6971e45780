//! The kill switch as operators work it: from the command line, with and without a gateway that answers, across restarts
//! and crashes.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use keepgate_tests::{Answer, FakeServer, Say, client::Events, upstream::said};
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::process::{Finished, until};

/// A server whose tool `delete` says one thing on a stream and then nothing; the others answer at once.
async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| {
        let call = heard.json();
        if call["params"]["name"] == "delete" {
            let begun = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}});
            return vec![Say::sse(), Say::event(&begun), Say::Hang];
        }
        Say::json(&said(&call["id"], "done"))
    })
    .await
}

/// An operator's token in a file of the home.
async fn operator(home: &Home, name: &str, role: &str) -> PathBuf {
    let added = home
        .keepgate(&["operators", "add", name, "--role", role])
        .await;
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let path = home.path(&format!("{name}.token"));
    fs::write(&path, added.json()["token"].as_str().expect("a token")).expect("a file");
    path
}

/// `keepgate kill ..` against the running gateway, by whoever holds the token in the file.
async fn kill(gate: &Gate, token: &std::path::Path, words: &[&str]) -> Finished {
    let url = format!("http://{}", gate.admin);
    let token = token.to_str().expect("a path");
    let words = [&["kill"], words, &["--url", &url, "--token-file", token]].concat();
    gate.home.keepgate(&words).await
}

fn admin_token(home: &Home) -> PathBuf {
    home.path("state/admin-token")
}

fn is_killed(answer: &Answer) -> bool {
    answer.code().as_deref() == Some("killed")
}

async fn echo(gate: &Gate) -> Answer {
    gate.client("up").call_modern("echo", json!({})).await
}

/// Two who may cut off, and one who may look.
struct People {
    alice: PathBuf,
    bob: PathBuf,
    carol: PathBuf,
}

/// Names operators, and waits until the gateway knows them.
async fn people(gate: &mut Gate) -> People {
    let alice = operator(&gate.home, "alice", "security_responder").await;
    let bob = operator(&gate.home, "bob", "security_responder").await;
    let carol = operator(&gate.home, "carol", "auditor").await;
    gate.says("operators reloaded", 1).await;
    until("the operators to count", async || {
        kill(gate, &carol, &["list"]).await.code == Some(0)
    })
    .await;
    People { alice, bob, carol }
}

/// Alice drills, and Carol may neither that nor more.
async fn drill(gate: &Gate, people: &People) {
    let drilled = kill(gate, &people.alice, &["drill", "tool", "up/delete"]).await;
    assert_eq!(drilled.code, Some(0), "{}", drilled.stderr);
    let report = drilled.json();
    assert_eq!(
        report["would_cut"]["running_by_tool"]["up/delete"], 1,
        "{report}"
    );
    assert!(fs::exists(report["path"].as_str().expect("a path")).expect("a file"));
    assert_eq!(
        kill(gate, &people.carol, &["drill", "everything"])
            .await
            .code,
        Some(12)
    );
    let refused = kill(
        gate,
        &people.carol,
        &["set", "everything", "--reason", "why"],
    )
    .await;
    assert_eq!(refused.code, Some(12), "{}", refused.stderr);
}

/// Alice's kill is listed for Carol; Bob clears it, once.
async fn clear(gate: &Gate, people: &People, id: &str) {
    let list = kill(gate, &people.carol, &["list"]).await.json();
    assert_eq!(list["kills"][0]["reason"], "deletes too much");
    let clear = ["clear", id, "--reason", "mended"];
    assert_eq!(
        kill(gate, &people.alice, &clear).await.code,
        Some(12),
        "not one's own"
    );
    assert_eq!(kill(gate, &people.bob, &clear).await.code, Some(0));
    assert_eq!(
        kill(gate, &people.bob, &clear).await.code,
        Some(1),
        "it is over"
    );
}

/// What is wrong in a command, or in a token, has an exit status of its own; a token that was revoked is a wrong one.
async fn misuse(gate: &Gate, people: &People) {
    assert_eq!(
        kill(gate, &people.bob, &["set", "server", "--reason", "x"])
            .await
            .code,
        Some(2)
    );
    let wrong = gate.home.path("wrong");
    fs::write(&wrong, "kgo_wrong").expect("a file");
    assert_eq!(kill(gate, &wrong, &["list"]).await.code, Some(12));

    gate.home
        .keepgate(&["operators", "revoke", "bob"])
        .await
        .good();
    until("bob's token to be refused", async || {
        kill(gate, &people.bob, &["list"]).await.code == Some(12)
    })
    .await;
}

/// Who did what, and that the stream was cut.
fn all_is_on_record(records: &[Value]) {
    let by = |kind: &str| -> Vec<Value> {
        let records = of_kind(records, kind).into_iter();
        records.map(|record| record["user_id"].clone()).collect()
    };
    assert_eq!(
        (by("kill.set"), by("kill.cleared")),
        (vec![json!("alice")], vec![json!("bob")])
    );
    assert_eq!(by("kill.drill"), ["alice"]);
    let cut = records
        .iter()
        .any(|record| record["result"]["status"] == "killed_in_flight");
    assert!(cut, "the stream's last record says that it was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_drill_kill_and_revive() {
    let server = server().await;
    let mut gate = Home::new().url("up", &server.url()).serve().await;
    let people = people(&mut gate).await;

    let client = gate.client("up").initialize("2025-11-25").await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "delete", "arguments": {}}});
    let mut stream = Events::of(client.open("POST", call.to_string()).await);
    stream.message().await.expect("a beginning");

    drill(&gate, &people).await;

    let words = [
        "set",
        "tool",
        "up/delete",
        "--reason",
        "deletes too much",
        "--expires",
        "2h",
    ];
    let set = kill(&gate, &people.alice, &words).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let set = set.json();
    assert_eq!(
        (&set["cut"], &set["durable"]),
        (&json!(1), &json!(true)),
        "{set}"
    );
    let rest = stream.messages().await;
    assert!(
        rest.iter()
            .any(|message| message.to_string().contains("killed")),
        "{rest:?}"
    );
    assert!(is_killed(&client.call("delete", json!({})).await));
    assert!(!is_killed(&echo(&gate).await));

    let id = set["kill"]["id"].as_str().expect("an id");
    clear(&gate, &people, id).await;
    misuse(&gate, &people).await;
    all_is_on_record(&gate.end().await);
}

/// A kill by the file is of the local account, a clear with the admin token is of whoever holds it.
fn names(records: &[Value]) {
    let sets = of_kind(records, "kill.set");
    assert_eq!(sets.len(), 2);
    let cleared = of_kind(records, "kill.cleared")[0]["user_id"].clone();
    let account = sets[0]["user_id"]
        .as_str()
        .and_then(|name| name.strip_prefix("local:"));
    assert_eq!(
        cleared,
        format!("bootstrap:{}", account.expect("an account"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_answer_finds_the_kill_in_its_state() {
    let server = server().await;
    // The configuration's own address of operators (port 0) answers nobody: as if the listener hung.
    let home = Home::new().url("up", &server.url());
    let home = home.with(|_| {});
    let set = [
        "kill",
        "set",
        "server",
        "up",
        "--reason",
        "it does not answer",
    ];
    let early = home.keepgate(&set).await;
    assert_eq!(
        (early.code, &early.json()["via"]),
        (Some(0), &json!("file")),
        "{}",
        early.stderr
    );
    let mode = fs::metadata(home.path("state/kill.log"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let unreachable = home.keepgate(&["kill", "list"]).await;
    assert_eq!(unreachable.code, Some(11), "{}", unreachable.stderr);

    let gate = home.serve().await;
    assert!(
        is_killed(&echo(&gate).await),
        "in force before the first call"
    );
    let bootstrap = admin_token(&gate.home);
    let id = early.json()["kill"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let cleared = kill(&gate, &bootstrap, &["clear", &id, "--reason", "over"]).await;
    assert_eq!(cleared.code, Some(0), "{}", cleared.stderr);
    assert!(!is_killed(&echo(&gate).await));

    gate.process.signal(nix::sys::signal::Signal::SIGSTOP);
    let late = gate.home.keepgate(&set).await;
    gate.process.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(late.code, Some(0), "{}", late.stderr);
    until("the gateway to read on", async || {
        is_killed(&echo(&gate).await)
    })
    .await;
    // Active first, on record a moment later.
    until("the record of the kill", async || {
        of_kind(&gate.home.records().await, "kill.set").len() == 2
    })
    .await;

    let records = gate.end().await;
    names(&records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_cuts_everything_off_until_an_operator_clears_it() {
    let server = server().await;
    let gate = Home::new().url("up", &server.url()).serve().await;
    let bootstrap = admin_token(&gate.home);
    let set = kill(
        &gate,
        &bootstrap,
        &["set", "server", "upp", "--reason", "why"],
    )
    .await;
    assert!(
        set.json()["warnings"][0]
            .as_str()
            .expect("a warning")
            .contains("did you mean `up`?"),
        "it is misspelt"
    );
    assert!(!is_killed(&echo(&gate).await));
    let home = gate.kill().await;
    let path = home.path("state/kill.log");
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.replace("why", "who")).expect("a file");

    let gate = home.serve().await;
    assert!(is_killed(&echo(&gate).await));
    // Readiness says so without turning the gateway out of service: waiting does not mend it.
    assert_eq!(gate.admin("/readyz").await, 200);
    let list = kill(&gate, &bootstrap, &["list"]).await.json();
    let everything = list["kills"]
        .as_array()
        .expect("kills")
        .iter()
        .find(|kill| kill["scope"] == "everything");
    let everything = everything.expect("everything is cut off");
    assert_eq!(everything["by"], "keepgate");
    let id = everything["id"].as_str().expect("an id");
    let cleared = kill(
        &gate,
        &bootstrap,
        &["clear", id, "--reason", "looked at it"],
    )
    .await;
    assert_eq!(cleared.code, Some(0), "{}", cleared.stderr);
    assert!(!is_killed(&echo(&gate).await));
    let gate = gate.kill().await.serve().await;
    assert!(
        !is_killed(&echo(&gate).await),
        "the good file that was begun counts"
    );
    gate.end().await;
}

/// A scope, a target, and a part of the warning about it.
type NamedTarget = (&'static str, &'static str, Option<&'static str>);

/// Targets of kills once the list of `up` was read.
const NAMED: [NamedTarget; 8] = [
    (
        "tool",
        "up/ehco",
        Some("has shown a tool called `up/ehco`; did you mean `up/echo`"),
    ),
    ("tool", "up/delete", None),
    (
        "tool",
        "upp/delete",
        Some("no server of the configuration is called `upp`; did you mean `up`?"),
    ),
    ("caller", "alise", Some("`alice`")),
    ("caller", "alice", None),
    ("session", "never", Some("no session is open")),
    ("credential", "key:never", Some("no caller has")),
    (
        "credential",
        "vault:secret/gone#token",
        Some("no server is given"),
    ),
];

/// Sets a kill of each target, checks its warnings, and gives those whose server or credential is not there: id, scope and
/// target.
async fn named_kills(gate: &Gate, token: &std::path::Path) -> Vec<[String; 3]> {
    let mut strays = Vec::new();
    for (scope, target, hint) in NAMED {
        let words = ["set", scope, target, "--reason", "why"];
        let set = kill(gate, token, &words).await;
        assert_eq!(set.code, Some(0), "{scope} {target}: {}", set.stderr);
        let warnings = set.json()["warnings"].to_string();
        match hint {
            Some(hint) => assert!(warnings.contains(hint), "{scope} {target}: {warnings}"),
            None => assert_eq!(warnings, "[]", "{scope} {target}"),
        }
        if target == "upp/delete" || target == "vault:secret/gone#token" {
            let id = set.json()["kill"]["id"].as_str().expect("an id").to_owned();
            strays.push([id, scope.to_owned(), target.to_owned()]);
        }
    }
    strays
}

/// The body of `/readyz`.
async fn ready(gate: &Gate) -> String {
    let answer = keepgate_tests::Client::new(gate.admin).path("/readyz");
    let answer = answer.send("GET", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_what_was_never_seen_warns_and_one_of_what_is_gone_shows() {
    let server = server().await;
    let home = Home::new().keys().url("up", &server.url());
    let (_id, key) = home.key("alice").await;
    let mut gate = home.serve().await;
    let bootstrap = admin_token(&gate.home);
    let unread = ["set", "tool", "up/delete", "--reason", "why"];
    let unread = kill(&gate, &bootstrap, &unread).await.json();
    let warnings = unread["warnings"].to_string();
    assert!(
        warnings.contains("`up/delete` is not known yet: the list of `up` has not been read"),
        "{warnings}"
    );
    let client = gate.client("up");
    let client = client.header("authorization", &format!("Bearer {key}"));
    client.call_modern("echo", json!({})).await;
    let strays = named_kills(&gate, &bootstrap).await;
    // `upp` is not there: to somebody who looks it is as if the kill's server had been renamed.
    let named = ready(&gate).await;
    let listed = kill(&gate, &bootstrap, &["list"]).await.json();
    let warned = listed["warnings"].to_string();
    for [id, scope, target] in &strays {
        let shown = match scope.as_str() {
            "credential" => {
                format!("kill_target: NOT CONFIGURED, {id} (credential) cuts nothing\n")
            }
            scope => format!("kill_target: NOT CONFIGURED, {id} ({scope} {target}) cuts nothing\n"),
        };
        assert!(named.contains(&shown), "{named}");
        assert!(
            warned.contains(&format!("{id} cuts nothing")) && warned.contains(target.as_str()),
            "{warned}"
        );
    }
    assert!(
        !named.contains("secret/gone"),
        "whoever reaches the listener reads this: {named}"
    );
    gate.home = gate.home.with(|it| {
        let server = it["servers"]["up"].clone();
        it["servers"]["upp"] = server;
    });
    gate.says("configuration reloaded", 1).await;
    assert!(!ready(&gate).await.contains("tool upp/delete"));
    gate.home = gate.home.with(|it| {
        let servers = it["servers"].as_object_mut().expect("servers");
        servers.remove("upp");
    });
    gate.says("configuration reloaded", 2).await;
    assert!(
        ready(&gate)
            .await
            .contains("(tool upp/delete) cuts nothing")
    );
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_holds_when_the_database_is_gone() {
    let server = server().await;
    let mut gate = Home::new().url("up", &server.url()).serve().await;
    let bootstrap = admin_token(&gate.home);
    for part in ["", "-wal", "-shm"] {
        drop(fs::remove_file(
            gate.home.path(&format!("state/keepgate.db{part}")),
        ));
    }
    // Not even root opens a folder as a database.
    fs::create_dir(gate.home.path("state/keepgate.db")).expect("a folder");
    let set = kill(&gate, &bootstrap, &["set", "everything", "--reason", "why"]).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let set = set.json();
    assert_eq!(
        set["stored"],
        json!({"file": true, "database": false}),
        "{set}"
    );
    assert_eq!(
        set["warnings"].as_array().expect("warnings").len(),
        1,
        "{set}"
    );
    assert!(is_killed(&echo(&gate).await));
    gate.says("the database cannot be used", 1).await;
    let gate = gate.kill().await.serve().await;
    assert!(is_killed(&echo(&gate).await));
    fs::remove_dir(gate.home.path("state/keepgate.db")).expect("a folder");
    until("the database to be made anew", async || {
        gate.home.path("state/keepgate.db").is_file()
            && gate.said("the database is in order again") > 0
    })
    .await;
    fs::remove_file(gate.home.path("state/kill.log")).expect("a file");
    let gate = gate.kill().await.serve().await;
    assert!(
        is_killed(&echo(&gate).await),
        "the database alone is enough again"
    );
}
