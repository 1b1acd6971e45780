//! The kill switch as clients and servers meet it: what is refused, what is cut, what is left alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use keepgate_store::kill::{Applied, Kill, Scope, Wish};
use keepgate_tests::{
    Answer, Client, FakeServer, Say, TestGateway, client::Events, upstream::said,
};
use serde_json::{Value, json};

const CHILD: &str = env!("CARGO_BIN_EXE_keepgate-fake-child");
/// The operator's words, which no client may see.
const REASON: &str = "leaked to a contractor";

pub(super) fn kill(gateway: &TestGateway, word: &str, target: Option<&str>) -> Applied {
    let wish = Wish {
        scope: Scope::parse(word, target).unwrap(),
        tenant: None,
        reason: REASON.to_owned(),
        by: "alice".to_owned(),
        lasts: None,
    };
    let kill = Kill::new(wish, SystemTime::now()).unwrap();
    gateway.gateway.shared().kill.set(kill)
}

/// A server whose tool `delete` never answers and whose tool `echo` does.
async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| {
        let message = heard.json();
        if message["params"]["name"] == "delete" {
            return vec![Say::Hang];
        }
        Say::json(&said(&message["id"], "hello"))
    })
    .await
}

/// A server that answers every call with a stream that says one thing and then nothing.
async fn streaming() -> FakeServer {
    FakeServer::with_tools(|_| vec![Say::sse(), Say::event(&note("begun")), Say::Hang]).await
}

fn note(text: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}})
}

fn is_killed(answer: &Answer, by: &Applied) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.code().as_deref(), Some("killed"), "{text}");
    assert!(text.contains(&*by.kill.id), "{text}");
    assert!(!text.contains(REASON) && !text.contains("alice"), "{text}");
}

/// Waits until `is` is true.
async fn until(is: impl Fn() -> bool) {
    let there = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, there)
        .await
        .unwrap();
}

/// Waits until `count` calls run.
async fn running(gateway: &TestGateway, count: usize) {
    let there = async {
        while gateway.gateway.shared().kill.running() != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, there)
        .await
        .unwrap_or_else(|_| panic!("{} run", gateway.gateway.shared().kill.running()));
}

/// Three clients of alice's (two sessions and one without) and a session of bob's, and the public id of the first session.
async fn clients(gateway: &TestGateway, [alice, bob]: [&str; 2]) -> ([Client; 3], String) {
    let of =
        |key: &str| Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"));
    let first = of(alice).initialize("2025-11-25").await;
    let second = of(alice).initialize("2025-11-25").await;
    let other = of(bob).initialize("2025-11-25").await;
    let id = first.sent("mcp-session-id").unwrap();
    let sessions = gateway.gateway.shared().sessions.all();
    let digest = *blake3::hash(id.as_bytes()).as_bytes();
    let session = sessions
        .iter()
        .find(|session| session.digest == digest)
        .unwrap();
    ([first, second, other], session.public.to_string())
}

#[tokio::test]
async fn each_scope_refuses_its_own_calls_and_no_others() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let (alice, bob) = (gateway.key("alice", &[]), gateway.key("bob", &[]));
    let key = format!("key:{}", alice.split('_').nth(1).unwrap());
    let table: [(&str, Option<&str>, [bool; 4]); 9] = [
        ("everything", None, [true; 4]),
        ("tenant", Some("default"), [true; 4]),
        ("tenant", Some("other"), [false; 4]),
        ("server", Some("up"), [true; 4]),
        ("server", Some("down"), [false; 4]),
        ("tool", Some("up/echo"), [true; 4]),
        ("tool", Some("up/delete"), [false; 4]),
        ("caller", Some("alice"), [true, true, true, false]),
        ("credential", Some(&key), [true, true, true, false]),
    ];
    let check =
        async |word: &str, target: Option<&str>, expected: [bool; 4], clients: &[Client; 3]| {
            let [first, second, other] = clients;
            let stateless =
                Client::new(gateway.addr).header("authorization", &format!("Bearer {alice}"));
            let applied = kill(&gateway, word, target);
            let answers = [
                first.call("echo", json!({})).await,
                second.call("echo", json!({})).await,
                stateless.call_modern("echo", json!({})).await,
                other.call("echo", json!({})).await,
            ];
            for (answer, expected) in answers.iter().zip(expected) {
                // Also when its session has ended by then.
                if expected {
                    is_killed(answer, &applied);
                }
                assert_eq!(answer.code().is_some(), expected, "{word} {target:?}");
            }
            gateway.gateway.shared().kill.clear(&applied.kill.id);
        };
    for (word, target, expected) in table {
        let (clients, _) = clients(&gateway, [&alice, &bob]).await;
        check(word, target, expected, &clients).await;
    }
    let (clients, session) = clients(&gateway, [&alice, &bob]).await;
    check(
        "session",
        Some(&session),
        [true, false, false, false],
        &clients,
    )
    .await;
}

#[tokio::test]
async fn clients_of_sessions_that_a_kill_ended_learn_of_the_kill() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let shared = gateway.gateway.shared();
    let (alice, bob) = (gateway.key("alice", &[]), gateway.key("bob", &[]));
    let key = format!("key:{}", alice.split('_').nth(1).unwrap());
    let table = [
        ("everything", None),
        ("tenant", Some("default")),
        ("server", Some("up")),
        ("tool", Some("up/echo")),
        ("caller", Some("alice")),
        ("credential", Some(&*key)),
        ("session", None),
    ];
    for (word, target) in table {
        let ([first, ..], session) = clients(&gateway, [&alice, &bob]).await;
        let target = if word == "session" {
            Some(&*session)
        } else {
            target
        };
        let applied = kill(&gateway, word, target);
        let ended = || {
            let sessions = shared.sessions.all();
            !sessions.iter().any(|known| *known.public == *session)
        };
        until(|| word == "tool" || ended()).await;
        is_killed(&first.call("echo", json!({})).await, &applied);
        if word != "tool" {
            is_killed(&first.ask("tools/list", json!({})).await, &applied);
            is_killed(&first.send("GET", "").await, &applied);
        }
        // Another caller learns no more of a session than of one that never was.
        if word == "session" {
            let id = first.sent("mcp-session-id").unwrap();
            let other = Client::new(gateway.addr)
                .header("authorization", &format!("Bearer {bob}"))
                .header("mcp-protocol-version", "2025-11-25")
                .header("mcp-session-id", id);
            let answer = other.call("echo", json!({})).await;
            assert_eq!(answer.code().as_deref(), Some("session_unknown"));
        }
        shared.kill.clear(&applied.kill.id);
        let after = first.call("echo", json!({})).await;
        let expected = (word != "tool").then_some("session_unknown");
        assert_eq!(after.code().as_deref(), expected, "{word}");
        for session in shared.sessions.all() {
            shared.sessions.end(&session);
        }
    }
}

#[tokio::test]
async fn a_session_that_is_cut_off_takes_no_place_of_another() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            settings.limits.sessions_per_caller = 1.try_into().unwrap();
            let twin = settings.servers.values().next().unwrap().clone();
            settings
                .servers
                .insert(keepgate_call::ServerName::parse("two").unwrap(), twin);
        })
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let applied = kill(&gateway, "server", Some("two"));
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let other = Client::new(gateway.addr).path("/two/mcp");
    is_killed(&other.post(opening.to_string()).await, &applied);
    assert_eq!(client.call("echo", json!({})).await.code(), None);
}

#[tokio::test]
async fn a_killed_tool_is_refused_and_not_offered() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let names = async |client: &Client| -> Vec<Value> {
        let list = client.ask("tools/list", json!({})).await.json();
        let tools = list["result"]["tools"].as_array().unwrap().clone();
        tools.into_iter().map(|tool| tool["name"].clone()).collect()
    };
    assert_eq!(names(&client).await, ["echo", "delete"]);
    let applied = kill(&gateway, "tool", Some("up/echo"));
    assert_eq!(names(&client).await, ["delete"]);
    is_killed(&client.call("echo", json!({})).await, &applied);
    gateway.gateway.shared().kill.clear(&applied.kill.id);
    assert_eq!(names(&client).await, ["echo", "delete"]);
    assert_eq!(client.call("echo", json!({})).await.code(), None);
}

#[tokio::test]
async fn under_a_kill_nothing_begins_and_only_an_end_passes() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let applied = kill(&gateway, "server", Some("up"));
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    is_killed(
        &Client::new(gateway.addr).post(opening.to_string()).await,
        &applied,
    );
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let told = client.post(notification.to_string()).await;
    assert_eq!(told.status, 403, "{told:?}");
    let listening = client.send("GET", "").await;
    assert_eq!(listening.status, 403, "{listening:?}");
    let ended = client.send("DELETE", "").await;
    assert!(matches!(ended.status, 200 | 404), "{ended:?}");
    let records = gateway.records().await;
    let refused = records
        .iter()
        .filter(|record| record["refusal"] == "killed");
    for record in refused {
        assert_eq!(record["kind"], "call.refused");
        assert_eq!(record["reasons"][0]["code"], *applied.kill.id);
    }
}

#[tokio::test]
async fn a_running_call_is_cut_and_says_that_it_may_have_had_its_effect() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let stateful = Client::new(gateway.addr).initialize("2025-11-25").await;
    let stateless = Client::new(gateway.addr);
    let calls = [
        tokio::spawn(async move { stateful.call("delete", json!({})).await }),
        tokio::spawn(async move { stateless.call_modern("delete", json!({})).await }),
    ];
    server
        .hears(|heard| heard.json()["params"]["name"] == "delete")
        .await;
    let both = async {
        while server.heard_of("tools/call").len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, both)
        .await
        .unwrap();
    let applied = kill(&gateway, "server", Some("up"));
    assert_eq!(applied.cut, 2);
    for call in calls {
        is_killed(&call.await.unwrap(), &applied);
    }
    server.is_hung_up_on(2).await;
    // The stateful one is told, since there a closed connection says nothing.
    let told = server
        .hears(|heard| heard.method() == "notifications/cancelled")
        .await;
    let ids: Vec<Value> = server
        .heard_of("tools/call")
        .iter()
        .map(|heard| heard.json()["id"].clone())
        .collect();
    assert!(ids.contains(&told.json()["params"]["requestId"]));
    running(&gateway, 0).await;
    let records = gateway.records().await;
    let cut: Vec<&Value> = records
        .iter()
        .filter(|record| record["result"]["status"] == "killed_in_flight")
        .collect();
    assert_eq!(cut.len(), 2, "{records:#?}");
    for record in cut {
        assert_eq!(
            (&record["kind"], &record["refusal"]),
            (&json!("call.outcome"), &json!("killed"))
        );
        assert_eq!(record["reasons"][0]["code"], *applied.kill.id);
    }
}

#[tokio::test]
async fn a_running_stream_ends_with_the_refusal() {
    let server = streaming().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let stateful = Client::new(gateway.addr).initialize("2025-11-25").await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let modern = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    let modern_call = keepgate_tests::client::modern_call("echo", &json!({}));
    let mut streams = [
        Events::of(stateful.open("POST", call.to_string()).await),
        Events::of(modern.open("POST", modern_call.to_string()).await),
    ];
    for stream in &mut streams {
        assert_eq!(stream.message().await.unwrap(), note("begun"));
    }
    let applied = kill(&gateway, "tool", Some("up/echo"));
    assert_eq!(applied.cut, 2);
    for stream in streams {
        let rest = stream.messages().await;
        assert_eq!(rest.len(), 1, "{rest:?}");
        let told = rest[0].to_string();
        assert!(
            told.contains("killed") && told.contains(&*applied.kill.id),
            "{told}"
        );
        assert!(!told.contains(REASON));
    }
    server.is_hung_up_on(2).await;
    running(&gateway, 0).await;
    let records = gateway.records().await;
    let cut = records
        .iter()
        .filter(|record| record["result"]["status"] == "killed_in_flight")
        .count();
    assert_eq!(cut, 2, "{records:#?}");
}

#[tokio::test]
async fn a_stream_whose_client_has_gone_is_cut_too() {
    let server = streaming().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let stateful = Client::new(gateway.addr).initialize("2025-11-25").await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let mut stream = Events::of(stateful.open("POST", call.to_string()).await);
    stream.message().await.unwrap();
    // A disconnect cancels nothing in this revision: the call goes on without its client.
    drop(stream);
    running(&gateway, 1).await;
    assert_eq!(kill(&gateway, "everything", None).cut, 1);
    server.is_hung_up_on(1).await;
    running(&gateway, 0).await;
}

#[tokio::test]
async fn listening_streams_and_sessions_end() {
    let server = FakeServer::start(|heard| match heard.verb.as_str() {
        "GET" => vec![Say::sse(), Say::event(&note("listening")), Say::Hang],
        _ => keepgate_tests::upstream::behave(heard).unwrap_or_default(),
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let hit = Client::new(gateway.addr).initialize("2025-11-25").await;
    let mut stream = Events::of(hit.open("GET", "").await);
    assert_eq!(stream.message().await.unwrap(), note("listening"));
    let sessions = gateway.gateway.shared();
    assert_eq!(sessions.sessions.count(), 1);
    let applied = kill(&gateway, "caller", Some("anonymous"));
    assert_eq!(applied.cut, 1);
    assert!(
        stream.messages().await.is_empty(),
        "a stream that owes nothing just ends"
    );
    // The server's session ends as well.
    server.hears(|heard| heard.verb == "DELETE").await;
    assert_eq!(sessions.sessions.count(), 0);
    sessions.kill.clear(&applied.kill.id);
    assert_eq!(
        hit.call("echo", json!({})).await.status,
        404,
        "a session that was ended stays so"
    );
    Client::new(gateway.addr).initialize("2025-11-25").await;
}

/// A gateway in front of a child that writes down what it hears.
async fn child(shared: bool, heard: &std::path::Path) -> TestGateway {
    TestGateway::child(CHILD, &[], shared)
        .with(|settings| {
            for server in settings.servers.values_mut() {
                if let keepgate_gateway::settings::Upstream::Child { environment, .. } =
                    &mut server.upstream
                {
                    environment.insert("HEARD".to_owned(), heard.display().to_string());
                }
            }
        })
        .start()
        .await
}

async fn hears(heard: &std::path::Path, what: &str, count: usize) {
    let there = async {
        loop {
            let text = std::fs::read_to_string(heard).unwrap_or_default();
            if text.matches(what).count() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, there)
        .await
        .unwrap_or_else(|_| panic!("never heard `{what}`: {:?}", std::fs::read_to_string(heard)));
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
async fn calls_of_a_process_are_cancelled_and_the_process_ends() {
    for shared in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let heard = place.path().join("heard");
        let gateway = child(shared, &heard).await;
        let stateful = Client::new(gateway.addr).initialize("2025-11-25").await;
        let stateless = Client::new(gateway.addr);
        let pid = async |answer: Answer| {
            let text = answer.messages().pop().unwrap()["result"]["content"][0]["text"].clone();
            text.as_str().unwrap().to_owned()
        };
        let pids = [
            pid(stateful.call("pid", json!({})).await).await,
            pid(stateless.call_modern("pid", json!({})).await).await,
        ];
        let waiting = stateful.clone();
        let streamed = stateful.clone();
        let calls = [
            tokio::spawn(async move { waiting.call("hang", json!({})).await }),
            tokio::spawn(async move { streamed.call("begin", json!({})).await }),
            tokio::spawn(async move { stateless.call_modern("hang", json!({})).await }),
        ];
        hears(&heard, "\"hang\"", 2).await;
        hears(&heard, "\"begin\"", 1).await;
        let applied = kill(&gateway, "server", Some("up"));
        assert_eq!(applied.cut, 3);
        for call in calls {
            is_killed(&call.await.unwrap(), &applied);
        }
        hears(&heard, "notifications/cancelled", 3).await;
        for pid in &pids {
            is_gone(pid).await;
        }
        gateway.gateway.shared().kill.clear(&applied.kill.id);
        let after = Client::new(gateway.addr).initialize("2025-11-25").await;
        assert!(!pids.contains(&pid(after.call("pid", json!({})).await).await));
    }
}

/// Callers hammer the gateway; a call that began after the acknowledgement is never seen by the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_that_begins_after_the_acknowledgement_reaches_the_server() {
    let server = server().await;
    let gateway = Arc::new(TestGateway::http(&server.url()).start().await);
    let acknowledged = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let (gateway, acknowledged) = (Arc::clone(&gateway), Arc::clone(&acknowledged));
            let begun = Arc::clone(&begun);
            tokio::spawn(async move {
                let client = Client::new(gateway.addr);
                for number in 0.. {
                    let after = acknowledged.load(Ordering::SeqCst);
                    let marker = if after { "late" } else { "early" };
                    begun.fetch_add(1, Ordering::SeqCst);
                    let arguments = json!({"text": format!("{marker}-{caller}-{number}")});
                    let answer = client.call_modern("echo", arguments).await;
                    if after {
                        assert_eq!(answer.code().as_deref(), Some("killed"), "{answer:?}");
                        return;
                    }
                }
            })
        })
        .collect();
    while begun.load(Ordering::SeqCst) < 100 {
        tokio::task::yield_now().await;
    }
    kill(&gateway, "everything", None);
    acknowledged.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let heard = server.heard_of("tools/call");
    assert!(heard.iter().any(|heard| heard.body.contains("early")));
    assert!(!heard.iter().any(|heard| heard.body.contains("late")));
}

/// A call that waits for anything on its way (here the server's list of tools) is cut where it waits.
#[tokio::test]
async fn a_call_that_waits_on_its_way_goes_no_further() {
    let server = FakeServer::start(|heard| {
        if heard.method() == "tools/list" {
            return vec![Say::Hang];
        }
        keepgate_tests::upstream::behave(heard)
            .unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello")))
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr);
    let call = tokio::spawn(async move { client.call_modern("echo", json!({})).await });
    server.hears(|heard| heard.method() == "tools/list").await;
    // The tool alone: the gateway's own list call is none of it, but goes with the call it is for.
    let applied = kill(&gateway, "tool", Some("up/echo"));
    is_killed(&call.await.unwrap(), &applied);
    running(&gateway, 0).await;
    assert!(server.heard_of("tools/call").is_empty());
}
