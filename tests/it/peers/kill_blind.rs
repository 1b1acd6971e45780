//! The kill switch while something else is broken: the configuration, the working directory, the gateway itself.

use std::fs;

use keepgate_tests::{Answer, FakeServer, Say, upstream::said};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::process::{Finished, PATIENCE, Running, command, program, until};

/// First words of a kill that did nothing.
const UNCUT: &str = "NOTHING WAS CUT OFF";

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await
}

async fn echo(gate: &Gate) -> Answer {
    gate.client("up").call_modern("echo", json!({})).await
}

async fn is_killed(gate: &Gate) -> bool {
    echo(gate).await.code().as_deref() == Some("killed")
}

/// `keepgate ..` in a directory without a configuration.
async fn keepgate(directory: &std::path::Path, words: &[&str]) -> Finished {
    let mut command = command(program("keepgate"), words);
    command.args(["--output", "json"]).current_dir(directory);
    let name = format!("keepgate {}", words.join(" "));
    Running::start(&name, command).finished(PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_needs_no_valid_configuration() {
    let server = server().await;
    let gate = Home::new().url("up", &server.url()).serve().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let at = |name: &str| gate.home.path(name).display().to_string();
    let (state, file) = (at("state"), at("keepgate.yaml"));
    let run: Value =
        serde_json::from_str(&fs::read_to_string(at("state/run.json")).expect("a file"))
            .expect("JSON");
    assert_eq!(run["admin"], gate.admin.to_string());

    // Broken by a key, and so that it is no YAML.
    let good = fs::read_to_string(&file).expect("a file");
    let unknown = elsewhere.path().join("unknown.yaml");
    fs::write(&unknown, good.replacen('{', "{\"bogus\": 1, ", 1)).expect("a file");
    let torn = elsewhere.path().join("torn.yaml");
    fs::write(
        &torn,
        format!("servers: {{\nstate:\n  dir: {state}\npolicies: [\n"),
    )
    .expect("a file");
    let ways: [&[&str]; 3] = [
        &["--state", &state],
        &["--config", unknown.to_str().expect("a path")],
        &["--config", torn.to_str().expect("a path")],
    ];
    for way in ways {
        let run = async |words: &[&str]| {
            keepgate(elsewhere.path(), &[&["kill"], words, way].concat()).await
        };
        let drilled = run(&["drill", "server", "up"]).await;
        assert_eq!(drilled.code, Some(0), "{way:?} {}", drilled.stderr);
        let set = run(&["set", "server", "up", "--reason", "why"]).await;
        assert_eq!(set.code, Some(0), "{way:?} {}", set.stderr);
        assert!(is_killed(&gate).await, "{way:?}");
        let listed = run(&["list"]).await.json();
        let id = listed["kills"][0]["id"].as_str().expect("an id");
        let cleared = run(&["clear", id, "--reason", "over"]).await;
        assert_eq!(cleared.code, Some(0), "{way:?} {}", cleared.stderr);
        assert!(!is_killed(&gate).await, "{way:?}");
    }
    let home = gate.end_keeping().await.home;
    assert!(!home.path("state/run.json").exists(), "removed at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_cut_off_is_said_aloud() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let missing = elsewhere.path().join("missing").display().to_string();
    let set = ["kill", "set", "server", "up", "--reason", "why"];
    let table: [(&[&str], i32); 7] = [
        (&["--state", &missing], 10),
        (&["--config", &missing], 3),
        (&["--url", "http://127.0.0.1:9"], 11),
        (&["--url", "https://127.0.0.1:9"], 11),
        (&["--url", "ftp://127.0.0.1:9"], 2),
        (&["--expires", "366d", "--state", "/"], 2),
        (&["--nonsense"], 2),
    ];
    for (way, code) in table {
        let ended = keepgate(elsewhere.path(), &[&set, way].concat()).await;
        assert_eq!(ended.code, Some(code), "{way:?} {}", ended.stderr);
        assert!(ended.stderr.contains(UNCUT), "{way:?} {}", ended.stderr);
        assert!(
            !fs::exists(&missing).expect("a look"),
            "no directory was made"
        );
    }

    // A token that is wrong.
    let gate = Home::new()
        .url("up", "http://127.0.0.1:9/mcp")
        .serve()
        .await;
    let wrong = gate.home.path("wrong").display().to_string();
    fs::write(&wrong, "kgo_wrong").expect("a file");
    let state = gate.home.path("state").display().to_string();
    let way = ["--state", &state, "--token-file", &wrong];
    let ended = keepgate(elsewhere.path(), &[&set[..], &way].concat()).await;
    assert_eq!(ended.code, Some(12), "{}", ended.stderr);
    assert!(ended.stderr.contains(UNCUT), "{}", ended.stderr);

    // A directory in which no gateway has run, named by a configuration that was changed since: not the token is wrong.
    let other = elsewhere.path().join("other");
    fs::create_dir(&other).expect("a folder");
    let changed = gate.home.path("changed.yaml");
    let mut configuration = gate.home.configuration();
    configuration["state"]["dir"] = json!(other);
    configuration["admin"]["listen"] = json!(gate.admin);
    fs::write(&changed, configuration.to_string()).expect("a file");
    let changed = changed.display().to_string();
    let ended = keepgate(
        elsewhere.path(),
        &[&set[..], &["--config", &changed]].concat(),
    )
    .await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    for part in [UNCUT, "--state DIR", &other.display().to_string()] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }

    // Killed, its file names a process that has ended: only the file is left, and nobody is given the token.
    let home = gate.kill().await;
    assert!(home.path("state/run.json").exists());
    let listed = keepgate(elsewhere.path(), &["kill", "list", "--state", &state]).await;
    assert_eq!(listed.code, Some(11), "{}", listed.stderr);
    assert!(listed.stderr.contains("has ended"), "{}", listed.stderr);
    let late = keepgate(elsewhere.path(), &[&set[..], &["--state", &state]].concat()).await;
    assert_eq!((late.code, &late.json()["via"]), (Some(0), &json!("file")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_gateway_takes_a_kill_once() {
    let server = server().await;
    let gate = Home::new().url("up", &server.url()).serve().await;
    let state = gate.home.path("state").display().to_string();
    gate.process.signal(Signal::SIGSTOP);
    let set = [
        "kill", "set", "server", "up", "--reason", "hangs", "--state",
    ];
    let set = gate.home.keepgate(&[&set[..], &[&state]].concat()).await;
    assert_eq!(
        (set.code, &set.json()["via"]),
        (Some(0), &json!("file")),
        "{}",
        set.stderr
    );
    gate.process.signal(Signal::SIGCONT);
    until("the kill", async || is_killed(&gate).await).await;
    // The request was sent before, under the same id.
    let listed = gate.home.keepgate(&["kill", "list"]).await.json();
    let kills = listed["kills"].as_array().expect("kills");
    assert_eq!(kills.len(), 1, "{listed}");
    assert_eq!(kills[0]["id"], set.json()["kill"]["id"]);
    let records = gate.end().await;
    assert_eq!(of_kind(&records, "kill.set").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_cleared_without_a_gateway_under_its_id() {
    let server = server().await;
    let gate = Home::new().url("up", &server.url()).serve().await;
    let state = gate.home.path("state").display().to_string();
    let set = async |home: &Home, target: &[&str]| {
        let words = [&["kill", "set"], target, &["--reason", "why"]].concat();
        let words = [&words[..], &["--state", &state]].concat();
        let done = home.keepgate(&words).await.json();
        done["kill"]["id"].as_str().expect("an id").to_owned()
    };
    let clear = async |home: &Home, id: &str| {
        let words = ["kill", "clear", id, "--reason", "over", "--state", &state];
        home.keepgate(&words).await
    };
    let first = set(&gate.home, &["server", "up"]).await;
    let second = set(&gate.home, &["everything"]).await;
    let mut home = gate.end_keeping().await.home;

    let cleared = clear(&home, &first).await;
    assert_eq!(cleared.code, Some(0), "{}", cleared.stderr);
    let answer = cleared.json();
    let found = [
        &answer["via"],
        &answer["kill"]["id"],
        &answer["kill"]["state"],
    ];
    assert_eq!(found, [&json!("file"), &json!(first), &json!("cleared")]);
    let still = answer["warnings"].to_string();
    assert!(
        still.contains(&format!("still cut off by {second}")),
        "{still}"
    );
    // Over already, of nobody, and with a reason that would damage the file.
    for (id, words, code) in [
        (&*first, "cleared already", 1),
        ("k_0000000000000000", "keepgate.db may have it", 1),
    ] {
        let ended = clear(&home, id).await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let words = [
        "kill", "clear", &second, "--reason", "\u{7}", "--state", &state,
    ];
    assert_eq!(home.keepgate(&words).await.code, Some(2));

    // Both are known, and what is left holds; then that is cleared, too, and nothing is cut off any more.
    let gate = home.serve().await;
    let words = ["kill", "list", "--state", &state];
    let listed = gate.home.keepgate(&words).await.json();
    let ids: Vec<_> = listed["kills"].as_array().expect("kills").iter().collect();
    assert_eq!((ids.len(), &ids[0]["id"]), (1, &json!(second)), "{listed}");
    assert!(is_killed(&gate).await);
    home = gate.end_keeping().await.home;
    clear(&home, &second).await.good();
    let gate = home.serve().await;
    assert!(!is_killed(&gate).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_does_not_go_around_a_gateway_that_runs() {
    let gate = Home::new()
        .url("up", "http://127.0.0.1:9/mcp")
        .serve()
        .await;
    let state = gate.home.path("state").display().to_string();
    let set = [
        "kill", "set", "server", "up", "--reason", "why", "--state", &state,
    ];
    let set = gate.home.keepgate(&set).await.json();
    let id = set["kill"]["id"].as_str().expect("an id");
    let length = || {
        let file = fs::metadata(gate.home.path("state/kill.log"));
        file.expect("a file").len()
    };
    let before = length();
    gate.process.signal(Signal::SIGSTOP);
    let clear = ["kill", "clear", id, "--reason", "over", "--state", &state];
    let ended = gate.home.keepgate(&clear).await;
    assert_eq!(ended.code, Some(11), "{}", ended.stderr);
    assert_eq!(length(), before);
    gate.process.signal(Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_does_not_go_around_a_gateway_of_another_namespace() {
    let home = Home::new().url("up", "http://127.0.0.1:9/mcp");
    let gate = home.serve().await;
    let home = gate.end_keeping().await.home;
    let state = home.path("state").display().to_string();
    let set = [
        "kill", "set", "server", "up", "--reason", "why", "--state", &state,
    ];
    let set = home.keepgate(&set).await.json();
    let id = set["kill"]["id"].as_str().expect("an id");
    let file = || fs::read(home.path("state/kill.log")).expect("a file");
    let before = file();
    // A process whose number means nothing here holds the lock, as one in a container does.
    let held = fs::File::open(home.path("state/audit/lock")).expect("a lock");
    held.lock().expect("free");
    let clear = ["kill", "clear", id, "--reason", "over", "--state", &state];
    let ended = home.keepgate(&clear).await;
    assert_eq!(ended.code, Some(11), "{}", ended.stderr);
    for words in ["nothing was cleared", "in its container", "--url"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert_eq!(file(), before);
    drop(held);
    home.keepgate(&clear).await.good();
    assert_ne!(file(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_what_was_never_seen_warns_without_a_gateway_too() {
    let home = Home::new().keys().url("up", "http://127.0.0.1:9/mcp");
    home.key("alice").await;
    let state = home.path("state").display().to_string();
    for (scope, target, hint) in [
        ("server", "up", None),
        ("server", "upp", Some("did you mean `up`?")),
        (
            "tool",
            "upp/echo",
            Some("no server of the configuration is called `upp`; did you mean `up`?"),
        ),
        ("tool", "up/echo", Some("is not known yet")),
        ("caller", "alise", Some("did you mean `alice`?")),
        ("caller", "alice", None),
        ("credential", "key:never", Some("no caller has")),
        ("session", "any", None),
    ] {
        let words = ["kill", "set", scope, target, "--reason", "why"];
        let set = home.keepgate(&words).await;
        assert_eq!(set.code, Some(0), "{scope} {target}: {}", set.stderr);
        let warnings = set.json()["warnings"].clone();
        let warnings = warnings.as_array().expect("warnings");
        let named = warnings.iter().find(|it| {
            let text = it.as_str().unwrap_or_default();
            hint.is_some_and(|hint| text.contains(hint))
        });
        assert_eq!(
            named.is_some(),
            hint.is_some(),
            "{scope} {target}: {warnings:?}"
        );
        // The gateway that is not reached, and the directory in which none has run.
        let others = 2 + usize::from(hint.is_some());
        assert_eq!(warnings.len(), others, "{scope} {target}: {warnings:?}");
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let words = [
        "kill", "set", "server", "upp", "--reason", "why", "--state", &state,
    ];
    let set = keepgate(elsewhere.path(), &words).await.json();
    let warnings = set["warnings"].to_string();
    assert!(warnings.contains("compared with nothing"), "{warnings}");
}
