//! Real child processes: a small server in Python that does as its calls say, and the shell.

mod process;

use std::{
    ffi::OsString,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use keepgate_mcp::{Body, Limits, Message, Notification, Request, Response, decode};

use super::*;
use crate::{
    duplex::{CallMode, Connection, DuplexError, Envelope, Owner, Replies, Sharing},
    fake::soon,
};

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
    elif what == "raw":
        line = bytes.fromhex(params["hex"]).replace(b"@", str(id).encode())
        sys.stdout.buffer.write(line * params.get("times", 1) + b"\n"); sys.stdout.buffer.flush()
    elif what == "long": print("x" * params["n"], flush=True)
    elif what == "big": time.sleep(params.get("after", 0)); answer(id, text="x" * params["n"])
    elif what == "close": os.close(1); time.sleep(60)
    elif what == "exit": sys.stderr.write("last words\n"); os._exit(3)
    elif what == "last":
        # All in one piece, so that most of it is unread when the process is gone.
        line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}}) + "\n"
        end = json.dumps({"jsonrpc": "2.0", "id": id, "result": {"done": True}}) + "\n"
        os.write(1, (line * 700 + end).encode()); os._exit(0)
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

/// Most tests have one client.
impl Connection {
    pub(super) async fn call(
        &self,
        request: &Request,
        mode: CallMode,
    ) -> Result<Replies, DuplexError> {
        self.call_for(Owner(0), request, mode).await
    }

    async fn notify(&self, notification: &Notification) -> Result<(), DuplexError> {
        self.notify_for(Owner(0), notification).await
    }
}

fn server(sharing: Sharing) -> Connection {
    Connection::spawn(&python(SERVER), sharing, None).unwrap()
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
    let error = connection
        .respond(&foreign, Envelope::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DuplexError::Foreign { id } if id == "8"),
        "{error}"
    );
    let answer = response(r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#);
    connection
        .respond(&answer, Envelope::default())
        .await
        .unwrap();
    assert!(next(&mut replies).await.contains(r#""roots": []"#));
    let error = connection
        .respond(&answer, Envelope::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DuplexError::Foreign { .. }), "{error}");
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
    // A listening call is no owner of what comes meanwhile; its first message comes after all of that.
    let listen =
        r#"{"jsonrpc":"2.0","id":4,"method":"subscriptions/listen","params":{"do":"listen"}}"#;
    let mut events = connection
        .call(&request(listen), CallMode::KeepOnDrop)
        .await
        .unwrap();
    next(&mut events).await;
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
