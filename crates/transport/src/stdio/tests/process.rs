//! How processes start, end and are started again.

use futures_util::FutureExt;

use super::*;

#[tokio::test]
async fn the_child_starts_clean_in_a_group_and_place_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = python(SERVER);
    settings.env = vec![("GIVEN".into(), "1".into())];
    settings.inherit = vec!["PATH".into(), "HOME".into()];
    settings.directory = Some(folder.path().to_owned());
    let connection = Connection::spawn(&settings, Sharing::Exclusive, None).unwrap();
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
            matches!(&error, DuplexError::Exited { status } if status.contains('3')),
            "{error}"
        );
        assert!(soon(replies.next()).await.is_none());
    }
    let error = connection
        .call(&tool("3", "echo"), CallMode::KeepOnDrop)
        .await
        .unwrap_err();
    assert!(
        matches!(error, DuplexError::Exited { .. }) && !error.is_before_sending(),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_words_of_a_process_are_heard() {
    for _ in 0..5 {
        let connection = server(Sharing::Exclusive);
        let mut replies = connection
            .call(&tool("1", "last"), CallMode::CancelOnDrop)
            .await
            .unwrap();
        let mut last = String::new();
        while let Some(message) = soon(replies.next()).await {
            last = text(&message.unwrap());
        }
        assert!(last.contains("done"), "{last}");
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
    assert!(matches!(error, DuplexError::Silent), "{error}");
    soon(connection.wait()).await;
}

/// A call on which the server writes `line` so many times over, in one line.
fn raw(id: &str, line: &[u8], times: usize) -> Request {
    let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
    request(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"do":"raw","hex":"{hex}","times":{times}}}}}"#
    ))
}

/// Lines (`@` is the call's id), and whether the call ends: next to another one, and alone.
const UNREADABLE: [(&[u8], bool, bool); 17] = [
    (
        br#"{"jsonrpc":"2.0","id":@,"result":{"a":NaN}}"#,
        true,
        true,
    ),
    (br#"{"jsonrpc":"2.0","id":"@","result":{"a":}}"#, true, true),
    (
        b"{\"jsonrpc\":\"2.0\",\"id\":@.0,\"result\":{\"a\":\"\xff\"}}",
        true,
        true,
    ),
    (br#"{"jsonrpc":"2.0","id":@}"#, true, true),
    (br#"{"jsonrpc":"2.0","id":@,"result":null}"#, true, true),
    (
        br#"{"jsonrpc":"2.0","id":@,"result":{},"error":{"code":1,"message":"a"}}"#,
        true,
        true,
    ),
    (br#"{"id":@,"result":{}}"#, true, true),
    (br#"{"jsonrpc":"2.0","id":@,"result":{"cut":"#, true, true),
    // Of a call that cannot be known.
    (br#"{"jsonrpc":"2.0","result":{}}"#, false, true),
    (
        br#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"a"}}"#,
        false,
        true,
    ),
    (
        br#"{"jsonrpc":"2.0","id":@,"id":77,"result":{}}"#,
        false,
        true,
    ),
    // Of another one, or of none.
    (
        br#"{"jsonrpc":"2.0","id":977,"result":{"a":NaN}}"#,
        false,
        false,
    ),
    (
        br#"{"jsonrpc":"2.0","id":"a","result":{"a":NaN}}"#,
        false,
        false,
    ),
    (
        br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":NaN}}"#,
        false,
        false,
    ),
    (
        br#"{"level":"error","error":"boom","time":"}"#,
        false,
        false,
    ),
    (
        br#"{'jsonrpc': '2.0', 'id': @, 'result': {}}"#,
        false,
        false,
    ),
    (b"[INFO] result: {\"id\":@,\"error\":1}", false, false),
];

#[tokio::test]
async fn a_line_that_cannot_be_read_ends_the_call_it_answers_at_once() {
    for (line, with_other, alone) in UNREADABLE {
        let raw = raw("1", line, 1);
        let connection = server(Sharing::Exclusive);
        for (is_alone, ends) in [(true, alone), (false, with_other)] {
            let line = String::from_utf8_lossy(line);
            let mut other = None;
            if !is_alone {
                let hang = tool("2", "hang");
                other = Some(connection.call(&hang, CallMode::KeepOnDrop).await.unwrap());
            }
            let mut replies = connection.call(&raw, CallMode::CancelOnDrop).await.unwrap();
            if ends {
                let error = soon(replies.next()).await.unwrap().unwrap_err();
                assert!(matches!(error, DuplexError::Unreadable), "{error}: {line}");
                drop(replies);
                lives(&connection).await;
            } else {
                // What follows the line on the pipe has come, so the line has.
                lives(&connection).await;
                let next = replies.next().now_or_never();
                assert!(next.is_none(), "{next:?}: {line}");
            }
            let other = other.as_mut().and_then(|other| other.next().now_or_never());
            assert!(other.is_none(), "{other:?}: {line}");
        }
    }
}

#[tokio::test]
async fn a_line_with_a_byte_order_mark_is_read() {
    let connection = server(Sharing::Exclusive);
    let line = "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":@,\"result\":{\"done\":true}}";
    let raw = raw("1", line.as_bytes(), 1);
    assert!(call(&connection, &raw).await.contains("done"));
}

/// The process answers still.
async fn lives(connection: &Connection) {
    let empty = r#"{"jsonrpc":"2.0","id":2,"method":"m","params":{}}"#;
    call(connection, &request(empty)).await;
}

#[tokio::test]
async fn a_line_over_the_cap_ends_the_call_it_answers() {
    let mut settings = python(SERVER);
    settings.max_line = 1000;
    let connection = Connection::spawn(&settings, Sharing::Exclusive, None).unwrap();
    let hang = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"do":"hang"}}"#);
    let mut others = connection.call(&hang, CallMode::KeepOnDrop).await.unwrap();
    let long = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"do":"big","n":100000}}"#,
    );
    let mut replies = connection.call(&long, CallMode::KeepOnDrop).await.unwrap();
    let error = soon(replies.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, DuplexError::LineTooLong { cap: 1000 }),
        "{error}"
    );
    // The process goes on, and so do the calls of others, unless the line may be the answer of any.
    lives(&connection).await;
    assert!(others.next().now_or_never().is_none());
    // Nor does the answer to a call whose client has left, which is forgotten.
    let left = request(
        r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"do":"big","n":100000,"after":0.3}}"#,
    );
    drop(
        connection
            .call(&left, CallMode::CancelOnDrop)
            .await
            .unwrap(),
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    lives(&connection).await;
    assert!(others.next().now_or_never().is_none());
    // What no message begins with is for people.
    let long = request(
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"do":"long","n":100000}}"#,
    );
    let mut noise = connection.call(&long, CallMode::KeepOnDrop).await.unwrap();
    lives(&connection).await;
    assert!(noise.next().now_or_never().is_none());
    let long = raw(
        "3",
        br#"{"jsonrpc":"2.0","result":{},"acme":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"#,
        20,
    );
    let mut replies = connection.call(&long, CallMode::KeepOnDrop).await.unwrap();
    for replies in [&mut replies, &mut others] {
        let error = soon(replies.next()).await.unwrap().unwrap_err();
        assert!(matches!(error, DuplexError::LineTooLong { .. }), "{error}");
    }
    lives(&connection).await;
}

#[tokio::test]
async fn a_message_over_the_cap_is_not_sent() {
    let big = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"x":"{}"}}}}"#,
        "x".repeat(1000)
    );
    let connection = server(Sharing::Exclusive);
    call(&connection, &request(&big)).await;
    let mut settings = python(SERVER);
    settings.max_line = 1000;
    let connection = Connection::spawn(&settings, Sharing::Exclusive, None).unwrap();
    let error = connection
        .call(&request(&big), CallMode::KeepOnDrop)
        .await
        .unwrap_err();
    assert!(
        matches!(error, DuplexError::TooLarge { cap: 1000 }) && error.is_before_sending(),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let settings = ChildSettings::new("test", "/no/such/program");
    let error = Connection::spawn(&settings, Sharing::Exclusive, None).unwrap_err();
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
    let connection = Connection::spawn(&shell(&script), Sharing::Exclusive, None).unwrap();
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
    let connection = Connection::spawn(&shell(&script), Sharing::Exclusive, None).unwrap();
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
    let connection = Connection::spawn(&shell(&script), Sharing::Exclusive, None).unwrap();
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
        let connection = Connection::spawn(&shell(&script), Sharing::Exclusive, None).unwrap();
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
        matches!(error, DuplexError::BackingOff { .. }) && error.is_before_sending(),
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

/// Refuses every message.
#[derive(Debug)]
struct Never;

impl crate::Clearance for Never {
    fn ask(&self) -> crate::Cleared<'_> {
        Box::pin(std::future::ready(false))
    }
}

#[tokio::test]
async fn a_call_without_clearance_is_not_written() {
    let connection = server(Sharing::Exclusive);
    let sender = crate::duplex::Dispatch {
        owner: Owner(0),
        envelope: Envelope {
            clearance: Some(Arc::new(Never)),
            ..Envelope::default()
        },
    };
    let stopped = connection
        .call_for(sender, &tool("1", "unwanted"), CallMode::CancelOnDrop)
        .await;
    let error = stopped.map(drop).unwrap_err();
    assert!(matches!(error, DuplexError::NotCleared), "{error}");
    assert!(error.is_before_sending());
    let seen = call(&connection, &tool("2", "seen")).await;
    assert!(
        !seen.contains("unwanted") && !seen.contains("cancelled"),
        "{seen}"
    );
}
