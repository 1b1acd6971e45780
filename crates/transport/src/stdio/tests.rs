//! Real child processes: a small server in Python that does as its calls say, and the shell.

use std::{ffi::OsString, path::Path, sync::OnceLock, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use keepgate_mcp::{Body, Limits, Message, Notification, Request, Response, decode};

use super::*;
use crate::fake::soon;

/// Answers calls; `do` says what happens besides.
const SERVER: &str = r#"
import json, os, sys, threading, time, signal
seen = []
def say(message):
    sys.stdout.write(json.dumps(message) + "\n"); sys.stdout.flush()
def answer(id, **result):
    say({"jsonrpc": "2.0", "id": id, "result": result})
def tell(method, **params):
    say({"jsonrpc": "2.0", "method": method, "params": params})
waiting = None
for line in sys.stdin:
    seen.append(line)
    message = json.loads(line)
    if "method" not in message:
        if waiting is not None: answer(waiting, got=message); waiting = None
        continue
    id, params = message.get("id"), message.get("params", {})
    what = params.get("do")
    if id is None: continue
    if what == "hang": continue
    elif what == "seen": answer(id, lines=seen)
    elif what == "env": answer(id, env=dict(os.environ), cwd=os.getcwd(), group=os.getpgrp() == os.getpid())
    elif what == "progress":
        tell("notifications/progress", progressToken=params["_meta"]["progressToken"], progress=1)
        tell("notifications/progress", progressToken="nobody", progress=2)
        answer(id, done=True)
    elif what == "ask":
        waiting = id
        say({"jsonrpc": "2.0", "id": 7, "method": "roots/list"})
    elif what == "twice": answer(id, n=1); answer(id, n=2); answer(999, n=3)
    elif what == "garbage": print("hello, I am a banner", flush=True); print("", flush=True); answer(id, done=True)
    elif what == "listen":
        tell("notifications/tools/list_changed", _meta={"io.modelcontextprotocol/subscriptionId": id})
    elif what == "unlisten":
        open_id = json.loads(seen[0])["id"]
        say({"jsonrpc": "2.0", "id": open_id, "result": {"_meta": {"io.modelcontextprotocol/subscriptionId": open_id}}})
        answer(id, done=True)
    elif what == "tell": tell("notifications/message", level="info", data="x"); answer(id, done=True)
    elif what == "flood":
        for n in range(params["n"]): tell("notifications/message", level="info", data=n)
        answer(id, done=True)
    elif what == "after":
        answer(id, done=True)
        for n in range(params["n"]): tell("notifications/message", level="info", data=n)
    elif what == "long": sys.stdout.write("x" * params["n"]); sys.stdout.flush()
    elif what == "close": os.close(1); time.sleep(60)
    elif what == "exit": sys.stderr.write("last words\n"); os._exit(3)
    elif what == "last": answer(id, done=True); os._exit(0)
    else: answer(id, echo=params)
"#;

fn python(script: &str) -> ChildSettings {
    /// The interpreter itself: a version manager's shim in front of it would take longer than the test.
    static PYTHON: OnceLock<OsString> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "once, before any runtime")]
    let python = PYTHON.get_or_init(|| {
        let output = std::process::Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .into()
    });
    let mut settings = ChildSettings::new("test", python);
    settings.args = vec!["-SEc".into(), script.into()];
    settings.grace = Duration::from_millis(300);
    settings
}

fn shell(script: &str) -> ChildSettings {
    let mut settings = ChildSettings::new("test", "sh");
    settings.args = vec!["-c".into(), script.into()];
    settings.grace = Duration::from_millis(100);
    settings
}

fn server(sharing: Sharing) -> Connection {
    Connection::spawn(python(SERVER), sharing).unwrap()
}

fn message(text: &str) -> Message {
    match decode(Bytes::copy_from_slice(text.as_bytes()), &Limits::request()).unwrap() {
        Body::Single(message) => message,
        Body::Batch(_) => panic!("a batch"),
    }
}

fn request(text: &str) -> Request {
    match message(text) {
        Message::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

fn notification(text: &str) -> Notification {
    match message(text) {
        Message::Notification(notification) => notification,
        other => panic!("{other:?}"),
    }
}

fn response(text: &str) -> Response {
    match message(text) {
        Message::Response(response) => response,
        other => panic!("{other:?}"),
    }
}

/// A call of the test server.
fn tool(id: &str, what: &str) -> Request {
    request(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"do":"{what}"}}}}"#
    ))
}

fn text(message: &Message) -> String {
    String::from_utf8(message.bytes().to_vec()).unwrap()
}

async fn next(replies: &mut Replies) -> String {
    text(&soon(replies.next()).await.unwrap().unwrap())
}

/// Makes a call and waits for its response.
async fn call(connection: &Connection, request: &Request) -> String {
    let mut replies = soon(connection.call(request, CallMode::CancelOnDrop))
        .await
        .unwrap();
    let answer = next(&mut replies).await;
    assert!(soon(replies.next()).await.is_none());
    answer
}

async fn lines_seen(connection: &Connection) -> String {
    call(connection, &tool("\"seen\"", "seen")).await
}

fn is_alive(pid: &str) -> bool {
    // A zombie is no life: its state is Z.
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
    })
}

async fn read_when_there(path: &Path) -> String {
    soon(async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    })
    .await
}

async fn is_gone(pid: &str) {
    soon(async {
        while is_alive(pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn equal_ids_of_two_clients_get_their_own_answers() {
    let connection = server(Sharing::Shared);
    let one = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"who":"one"}}"#);
    let two = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"who":"two"}}"#);
    let mut first = connection.call(&one, CallMode::CancelOnDrop).await.unwrap();
    let mut second = connection.call(&two, CallMode::CancelOnDrop).await.unwrap();
    let (second, first) = (next(&mut second).await, next(&mut first).await);
    assert!(
        first.contains(r#""id": 1,"#) && first.contains("one"),
        "{first}"
    );
    assert!(
        second.contains(r#""id": 1,"#) && second.contains("two"),
        "{second}"
    );
    let answer = call(&connection, &tool(r#""a\u0062""#, "echo")).await;
    assert!(answer.contains(r#""id": "a\u0062","#), "{answer}");
}

#[tokio::test]
async fn only_the_id_differs_on_the_wire() {
    let connection = server(Sharing::Exclusive);
    let sent = r#"{"params":{"x" : 1.0,"y":"\u0041"},  "id":"mine","method":"tools/call","jsonrpc":"2.0"}"#;
    call(&connection, &request(sent)).await;
    let seen = lines_seen(&connection).await;
    let expected = sent
        .replace(r#""mine""#, "1")
        .replace('\\', r"\\")
        .replace('"', r#"\""#);
    assert!(seen.contains(&expected), "{seen}\n{expected}");
}

#[tokio::test]
async fn a_newline_between_tokens_cannot_end_the_frame() {
    let connection = server(Sharing::Exclusive);
    let broken = "{\"jsonrpc\":\"2.0\",\r\n \"id\":5,\n\"method\":\"tools/call\",\"params\":{\"s\":\"a\\nb\",\"n\":1\n}}";
    let answer = call(&connection, &request(broken)).await;
    assert!(
        answer.contains(r#""id": 5"#) && answer.contains(r#""s": "a\nb", "n": 1"#),
        "{answer}"
    );
}

#[tokio::test]
async fn progress_reaches_the_call_that_owns_the_token() {
    for sharing in [Sharing::Exclusive, Sharing::Shared] {
        let connection = server(sharing);
        // The same token from two clients, or from two connections of one.
        let ask = |id: u8| {
            request(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"do":"progress","_meta":{{"progressToken":"t"}}}}}}"#
            ))
        };
        let mut one = connection
            .call(&ask(1), CallMode::CancelOnDrop)
            .await
            .unwrap();
        let mut two = connection
            .call(&ask(2), CallMode::CancelOnDrop)
            .await
            .unwrap();
        let (first, second) = (next(&mut one).await, next(&mut two).await);
        assert!(first.contains(r#""progressToken": "t""#), "{first}");
        assert!(second.contains(r#""progressToken": "t""#), "{second}");
        assert!(next(&mut one).await.contains("done") && next(&mut two).await.contains("done"));
    }
}

#[tokio::test]
async fn a_request_of_the_server_reaches_the_only_call_and_is_answered_once() {
    let connection = server(Sharing::Exclusive);
    let mut replies = connection
        .call(&tool("1", "ask"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    assert!(next(&mut replies).await.contains("roots/list"));
    let foreign = response(r#"{"jsonrpc":"2.0","id":8,"result":{}}"#);
    let error = connection.respond(&foreign).await.unwrap_err();
    assert!(
        matches!(&error, StdioError::Foreign { id } if id == "8"),
        "{error}"
    );
    let answer = response(r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#);
    connection.respond(&answer).await.unwrap();
    assert!(next(&mut replies).await.contains(r#""roots": []"#));
    let error = connection.respond(&answer).await.unwrap_err();
    assert!(matches!(error, StdioError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn with_two_calls_running_nobody_gets_the_servers_request() {
    let connection = server(Sharing::Exclusive);
    let mut unsolicited = connection.unsolicited();
    let hanging = connection
        .call(&tool("1", "hang"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    let asking = connection
        .call(&tool("2", "ask"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    let asked = soon(unsolicited.next()).await.unwrap().unwrap();
    assert!(text(&asked).contains("roots/list"));
    drop((hanging, asking));
}

#[tokio::test]
async fn a_notification_reaches_the_only_call_else_the_common_stream() {
    let connection = server(Sharing::Exclusive);
    let mut replies = connection
        .call(&tool("1", "tell"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    assert!(next(&mut replies).await.contains("notifications/message"));
    assert!(next(&mut replies).await.contains("done"));
    let after =
        request(r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"do":"after","n":1}}"#);
    call(&connection, &after).await;
    let told = soon(connection.unsolicited().next())
        .await
        .unwrap()
        .unwrap();
    assert!(text(&told).contains("notifications/message"));
}

#[tokio::test]
async fn second_and_foreign_responses_and_lines_that_are_none_are_dropped() {
    let connection = server(Sharing::Exclusive);
    let answer = call(&connection, &tool("1", "twice")).await;
    assert!(answer.contains(r#""n": 1"#), "{answer}");
    let answer = call(&connection, &tool("2", "garbage")).await;
    assert!(answer.contains("done"), "{answer}");
}

#[tokio::test]
async fn the_oldest_of_too_many_messages_goes_and_the_response_never() {
    let connection = server(Sharing::Exclusive);
    let flood = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"do":"flood","n":1000}}"#,
    );
    let mut replies = connection.call(&flood, CallMode::KeepOnDrop).await.unwrap();
    // What comes next comes after the flood, which nobody has read by then.
    let listen =
        r#"{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen","params":{"do":"listen"}}"#;
    let mut events = connection
        .call(&request(listen), CallMode::KeepOnDrop)
        .await
        .unwrap();
    next(&mut events).await;
    let mut all = Vec::new();
    while let Some(message) = soon(replies.next()).await {
        all.push(text(&message.unwrap()));
    }
    assert_eq!(all.len(), 257);
    assert!(
        all[255].contains("999") && all[256].contains("done"),
        "{}",
        all[255]
    );
    let after = request(
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"do":"after","n":300}}"#,
    );
    call(&connection, &after).await;
    call(&connection, &tool("3", "echo")).await;
    let first = soon(connection.unsolicited().next())
        .await
        .unwrap()
        .unwrap();
    assert!(text(&first).contains(r#""data": 44"#), "{}", text(&first));
}

#[tokio::test]
async fn dropping_the_replies_cancels_only_where_it_means_cancel() {
    let connection = server(Sharing::Shared);
    let kept = connection
        .call(&tool("1", "hang"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    drop(kept);
    let seen = lines_seen(&connection).await;
    assert!(!seen.contains("notifications/cancelled"), "{seen}");
    let cancelled = connection
        .call(&tool("1", "hang"), CallMode::CancelOnDrop)
        .await
        .unwrap();
    drop(cancelled);
    let seen = lines_seen(&connection).await;
    assert!(
        seen.contains(r#"\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":3}"#),
        "{seen}"
    );
    // A call that is done is not cancelled.
    call(&connection, &tool("5", "echo")).await;
    assert_eq!(
        lines_seen(&connection)
            .await
            .matches("notifications/cancelled")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_clients_cancel_names_the_wire_id() {
    let connection = server(Sharing::Exclusive);
    let cancel = notification(
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"mine","reason":"x"}}"#,
    );
    // Of no open request: left out.
    connection.notify(&cancel).await.unwrap();
    let running = connection
        .call(&tool("\"mine\"", "hang"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    connection.notify(&cancel).await.unwrap();
    connection
        .notify(&notification(
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        ))
        .await
        .unwrap();
    let seen = lines_seen(&connection).await;
    assert_eq!(seen.matches("notifications/cancelled").count(), 1, "{seen}");
    assert!(
        seen.contains(r#"{\"requestId\":1,\"reason\":\"x\"}"#),
        "{seen}"
    );
    assert!(seen.contains("notifications/initialized"), "{seen}");
    drop(running);
}

#[tokio::test]
async fn a_subscription_keeps_the_clients_id_and_other_calls_their_messages() {
    let connection = server(Sharing::Shared);
    let listen = request(
        r#"{"jsonrpc":"2.0","id":"sub","method":"subscriptions/listen","params":{"do":"listen"}}"#,
    );
    let mut events = connection
        .call(&listen, CallMode::CancelOnDrop)
        .await
        .unwrap();
    let changed = next(&mut events).await;
    assert!(changed.contains(r#"subscriptionId": "sub""#), "{changed}");
    let mut other = connection
        .call(&tool("1", "tell"), CallMode::CancelOnDrop)
        .await
        .unwrap();
    assert!(next(&mut other).await.contains("notifications/message"));
    drop(other);
    call(&connection, &tool("2", "unlisten")).await;
    let end = next(&mut events).await;
    assert!(
        end.contains(r#""id": "sub""#) && end.contains(r#"subscriptionId": "sub""#),
        "{end}"
    );
}

#[tokio::test]
async fn the_child_starts_clean_in_a_group_and_place_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = python(SERVER);
    settings.env = vec![("GIVEN".into(), "1".into())];
    settings.inherit = vec!["PATH".into(), "HOME".into()];
    settings.directory = Some(folder.path().to_owned());
    let connection = Connection::spawn(settings, Sharing::Exclusive).unwrap();
    let answer = call(&connection, &tool("1", "env")).await;
    let folder = folder.path().canonicalize().unwrap();
    assert!(
        answer.contains(folder.to_str().unwrap()) && answer.contains(r#""group": true"#),
        "{answer}"
    );
    assert!(
        answer.contains(r#""GIVEN": "1""#) && answer.contains(r#""PATH""#),
        "{answer}"
    );
    // Cargo sets this for tests: it is in our environment and must not be in the child's.
    assert!(
        std::env::var_os("CARGO_PKG_NAME").is_some() && !answer.contains("CARGO"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_exit_fails_every_pending_call_with_its_status() {
    let connection = server(Sharing::Exclusive);
    let mut hanging = connection
        .call(&tool("1", "hang"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    let mut exiting = connection
        .call(&tool("2", "exit"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    for replies in [&mut hanging, &mut exiting] {
        let error = soon(replies.next()).await.unwrap().unwrap_err();
        assert!(
            matches!(&error, StdioError::Exited { status } if status.contains('3')),
            "{error}"
        );
        assert!(soon(replies.next()).await.is_none());
    }
    let error = connection
        .call(&tool("3", "echo"), CallMode::KeepOnDrop)
        .await
        .unwrap_err();
    assert!(
        matches!(error, StdioError::Exited { .. }) && !error.is_before_sending(),
        "{error}"
    );
}

#[tokio::test]
async fn the_last_words_of_a_process_are_heard() {
    for _ in 0..5 {
        let connection = server(Sharing::Exclusive);
        let answer = call(&connection, &tool("1", "last")).await;
        assert!(answer.contains("done"), "{answer}");
    }
}

#[tokio::test]
async fn a_process_that_closes_its_output_is_ended() {
    let connection = server(Sharing::Exclusive);
    let mut replies = connection
        .call(&tool("1", "close"), CallMode::KeepOnDrop)
        .await
        .unwrap();
    let error = soon(replies.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, StdioError::Silent), "{error}");
    soon(connection.wait()).await;
}

#[tokio::test]
async fn a_line_over_the_cap_ends_the_process() {
    let mut settings = python(SERVER);
    settings.max_line = 1000;
    let connection = Connection::spawn(settings, Sharing::Exclusive).unwrap();
    let long = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"do":"long","n":100000}}"#,
    );
    let mut replies = connection.call(&long, CallMode::KeepOnDrop).await.unwrap();
    let error = soon(replies.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, StdioError::LineTooLong { cap: 1000 }),
        "{error}"
    );
    soon(connection.wait()).await;
    let big = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"x":"{}"}}}}"#,
        "x".repeat(1000)
    );
    let connection = server(Sharing::Exclusive);
    call(&connection, &request(&big)).await;
    let mut settings = python(SERVER);
    settings.max_line = 1000;
    let connection = Connection::spawn(settings, Sharing::Exclusive).unwrap();
    let error = connection
        .call(&request(&big), CallMode::KeepOnDrop)
        .await
        .unwrap_err();
    assert!(
        matches!(error, StdioError::TooLarge { cap: 1000 }) && error.is_before_sending(),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let settings = ChildSettings::new("test", "/no/such/program");
    let error = Connection::spawn(settings, Sharing::Exclusive).unwrap_err();
    assert_eq!(error.to_string(), "could not start `/no/such/program`");
    assert!(error.is_before_sending());
}

#[tokio::test]
async fn closing_ends_the_process_by_its_stdin_first() {
    let folder = tempfile::tempdir().unwrap();
    let (pid, how) = (folder.path().join("pid"), folder.path().join("how"));
    let script = format!(
        "echo $$ > {0}; cat > /dev/null; echo orderly > {1}",
        pid.display(),
        how.display()
    );
    let connection = Connection::spawn(shell(&script), Sharing::Exclusive).unwrap();
    let pid = read_when_there(&pid).await;
    assert!(is_alive(&pid));
    soon(connection.close()).await;
    assert!(!is_alive(&pid));
    assert_eq!(std::fs::read_to_string(how).unwrap(), "orderly\n");
}

#[tokio::test]
async fn a_stubborn_process_is_killed_with_its_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let (parent, child) = (folder.path().join("parent"), folder.path().join("child"));
    let script = format!(
        "trap '' TERM; (trap '' TERM; sh -c 'echo $PPID' > {1}; while :; do sleep 1; done) & echo $$ > {0}; while :; do sleep 1; done",
        parent.display(),
        child.display()
    );
    let connection = Connection::spawn(shell(&script), Sharing::Exclusive).unwrap();
    let (parent, child) = (
        read_when_there(&parent).await,
        read_when_there(&child).await,
    );
    assert!(is_alive(&parent) && is_alive(&child));
    soon(connection.close()).await;
    is_gone(&parent).await;
    is_gone(&child).await;
    // Nothing of it is left to be reaped either.
    assert!(!Path::new(&format!("/proc/{}", parent.trim())).exists());
}

#[tokio::test]
async fn what_an_exited_process_leaves_behind_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("child");
    let script = format!("sleep 60 & echo $! > {}; exit 0", child.display());
    let connection = Connection::spawn(shell(&script), Sharing::Exclusive).unwrap();
    let child = read_when_there(&child).await;
    soon(connection.wait()).await;
    is_gone(&child).await;
}

#[test]
fn a_runtime_that_ends_takes_its_children_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let script = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 1; done",
        path.display()
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (connection, pid) = runtime.block_on(async {
        let connection = Connection::spawn(shell(&script), Sharing::Exclusive).unwrap();
        let pid = read_when_there(&path).await;
        (connection, pid)
    });
    drop(runtime);
    for _ in 0..1000 {
        if !is_alive(&pid) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!is_alive(&pid));
    drop(connection);
}

#[tokio::test]
async fn the_supervisor_starts_again_but_not_at_once() {
    let restart = Restart {
        first: Duration::from_millis(60),
        longest: Duration::from_secs(9),
        patience: Duration::from_millis(100),
        stable: Duration::from_secs(60),
    };
    let supervisor = Supervisor::new(python(SERVER), Sharing::Exclusive, restart);
    let first = soon(supervisor.connection()).await.unwrap();
    let again = soon(supervisor.connection()).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let exit = async |connection: &Connection| {
        drop(
            connection
                .call(&tool("1", "exit"), CallMode::KeepOnDrop)
                .await
                .unwrap(),
        );
        soon(connection.wait()).await;
        std::time::Instant::now()
    };
    let ended = exit(&first).await;
    let second = soon(supervisor.connection()).await.unwrap();
    assert!(ended.elapsed() >= Duration::from_millis(50) && !Arc::ptr_eq(&first, &second));
    call(&second, &tool("1", "echo")).await;
    exit(&second).await;
    // The second pause is 120 ms, longer than anybody waits here.
    let error = soon(supervisor.connection()).await.unwrap_err();
    assert!(
        matches!(error, StdioError::BackingOff { .. }) && error.is_before_sending(),
        "{error}"
    );
    assert!(!supervisor.is_running().await);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let third = soon(supervisor.connection()).await.unwrap();
    call(&third, &tool("1", "echo")).await;
}

#[tokio::test]
async fn a_stable_run_is_forgiven() {
    let restart = Restart {
        first: Duration::from_millis(50),
        longest: Duration::from_secs(9),
        patience: Duration::from_millis(60),
        stable: Duration::ZERO,
    };
    let supervisor = Supervisor::new(shell("exit 0"), Sharing::Exclusive, restart);
    for _ in 0..4 {
        let connection = soon(supervisor.connection()).await.unwrap();
        soon(connection.wait()).await;
    }
}

#[tokio::test]
async fn stderr_is_logged_in_lines_that_cannot_lie() {
    let source = "one\ntwo\x1b[31m\r\n\n\u{202e}three\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nlast";
    let mut lines = Vec::new();
    child::read_log(source.as_bytes(), 20, |line, cut| {
        lines.push((line.to_owned(), cut))
    })
    .await;
    let expected = [
        ("one", false),
        ("two\\u{1b}[31m", false),
        ("\\u{202e}three", false),
        ("xxxxxxxxxxxxxxxxxxxx", true),
        ("last", false),
    ];
    assert_eq!(lines, expected.map(|(line, cut)| (line.to_owned(), cut)));
}
