//! Streams, processes and calls that outlive a reload: they hold nothing of the stack they began in.

use std::time::SystemTime;

use super::*;

/// A shared process that does not end with its input: whoever wants it gone has to wait for it.
const STUBBORN: &str = "trap '' TERM; \"$0\"; sleep 600";

fn child(shared: bool) -> Builder {
    TestGateway::child("/bin/sh", &["-c", STUBBORN, CHILD], shared).with(listening)
}

/// The same settings, but for one that concerns no server.
fn other(builder: Builder) -> Settings {
    let more = builder.with(|settings| settings.limits.body += 1);
    more.settings()
}

fn bearer(gateway: &TestGateway, key: &str) -> Client {
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

fn running(gateway: &TestGateway) -> Vec<u32> {
    let all = gateway.gateway.shared().processes.all();
    all.iter().filter_map(|process| process.pid).collect()
}

/// A stream that stays open.
enum Open {
    Legacy(Legacy),
    Events(Events),
}

impl Open {
    async fn of(kind: &str, gateway: &TestGateway) -> Self {
        let client = Client::new(gateway.addr);
        match kind {
            "waiting" => Self::Legacy(Legacy::open(&client).await),
            "initialized" => Self::Legacy(Legacy::initialized(&client, "2025-11-25").await),
            _ => {
                let session = client.initialize("2025-11-25").await;
                Self::Events(Events::of(session.open("GET", "").await))
            }
        }
    }

    fn close(self) {
        match self {
            Self::Legacy(legacy) => drop(legacy),
            Self::Events(events) => drop(events),
        }
    }
}

#[tokio::test]
async fn no_stream_holds_the_stack_it_began_in() {
    for kind in ["waiting", "initialized", "streamable"] {
        let plain = || TestGateway::child(CHILD, &[], true).with(listening);
        let gateway = plain().start().await;
        // The process of calls without sessions: it is held by its stack alone.
        let answer = Client::new(gateway.addr)
            .call_modern("pid", json!({}))
            .await;
        assert_eq!(answer.code(), None, "{answer:?}");
        let before = running(&gateway);
        assert_eq!(before.len(), 1);
        let open = Open::of(kind, &gateway).await;
        gateway.gateway.reload(&other(plain())).expect("reloaded");
        until(&format!("{kind} holds the stack of before"), || {
            !running(&gateway).contains(&before[0])
        })
        .await;
        open.close();
    }
}

#[tokio::test]
async fn a_kill_reaches_the_processes_of_every_stack() {
    for (shared, word, target) in [
        (true, "server", Some("up")),
        (true, "everything", None),
        (false, "server", Some("up")),
        (false, "caller", Some("alice")),
        (false, "tenant", Some("default")),
    ] {
        let gateway = child(shared).keys().start().await;
        let alice = bearer(&gateway, &gateway.key("alice", &[]));
        let mut held = Vec::new();
        for _ in 0..3 {
            let session = alice.initialize("2025-11-25").await;
            session.call("pid", json!({})).await;
            alice.call_modern("pid", json!({})).await;
            let stream = Events::of(session.open("GET", "").await);
            held.push((session, stream, Legacy::open(&alice).await));
            let next = other(child(shared).keys());
            gateway.gateway.reload(&next).expect("reloaded");
        }
        assert!(running(&gateway).len() >= 3, "{:?}", running(&gateway));
        let kill = kill(&gateway, word, target).kill;
        let switch = &gateway.gateway.shared().kill;
        let remains = switch.settled(&kill.id, PATIENCE).await;
        assert!(remains.is_complete(), "{word}: {remains:?}");
        // Not a moment later: a kill that reports to be complete is.
        assert_eq!(running(&gateway), [0_u32; 0], "{word} shared: {shared}");
    }
}

#[tokio::test]
async fn callers_that_are_not_admitted_lose_the_processes_of_every_stack() {
    let gateway = child(false).keys().start().await;
    let secret = gateway.key("alice", &[]);
    let (alice, bob) = (
        bearer(&gateway, &secret),
        bearer(&gateway, &gateway.key("bob", &[])),
    );
    alice.call_modern("pid", json!({})).await;
    let of_alice = running(&gateway);
    // A call that runs holds the stack it began in.
    let hangs = tokio::spawn(async move { bob.call_modern("hang", json!({})).await });
    until("bob's call runs", || running(&gateway).len() == 2).await;
    let next = other(child(false).keys());
    gateway.gateway.reload(&next).expect("reloaded");
    assert!(running(&gateway).contains(&of_alice[0]));
    let keys = keepgate_authn::ApiKeys::open(gateway.directory.path()).expect("keys");
    let id = secret.split('_').nth(1).expect("an id");
    keys.revoke(id, SystemTime::now()).expect("revoked");
    gateway.gateway.shared().authn.reload().expect("keys");
    gateway.gateway.end_unadmitted();
    until("alice's process ends", || {
        !running(&gateway).contains(&of_alice[0])
    })
    .await;
    assert_eq!(running(&gateway).len(), 1, "bob's goes on");
    hangs.abort();
}

#[tokio::test]
async fn a_server_that_becomes_another_loses_the_processes_of_every_stack() {
    let gateway = child(true).start().await;
    let client = Client::new(gateway.addr);
    let mut before = std::collections::BTreeSet::new();
    // A call that runs holds its process, whatever becomes of sessions.
    let caller = client.clone();
    let hangs = tokio::spawn(async move { caller.call_modern("hang", json!({})).await });
    until("the call runs", || !running(&gateway).is_empty()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let session = client.initialize("2025-11-25").await;
        held.push(Events::of(session.open("GET", "").await));
        before.extend(running(&gateway));
        gateway
            .gateway
            .reload(&other(child(true)))
            .expect("reloaded");
    }
    assert_eq!(before.len(), 3);
    let another = TestGateway::child(CHILD, &[], true).with(listening);
    gateway
        .gateway
        .reload(&another.settings())
        .expect("reloaded");
    // What begins at once is not taken for one of before.
    let session = client.initialize("2025-11-25").await;
    until("they end", || {
        running(&gateway).iter().all(|pid| !before.contains(pid))
    })
    .await;
    assert_eq!(session.call("pid", json!({})).await.code(), None);
    let cut = hangs.await.expect("an answer");
    assert_eq!(cut.code().as_deref(), Some("upstream_unreachable"));
}

#[tokio::test]
async fn a_call_that_waits_does_not_go_to_the_server_of_before() {
    let gate = Gate::default();
    let opened = gate.clone();
    let before = FakeServer::start(move |heard| {
        let mut answer =
            behave(heard).unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "before")));
        if heard.method() == "tools/list" {
            answer.insert(0, Say::Until(opened.clone()));
        }
        answer
    })
    .await;
    let after = server().await;
    let gateway = in_front_of(&before).start().await;
    let client = Client::new(gateway.addr);
    let waits = tokio::spawn(async move { client.call_modern("echo", json!({})).await });
    before.hears(|heard| heard.method() == "tools/list").await;
    let next = in_front_of(&after).settings();
    gateway.gateway.reload(&next).expect("reloaded");
    gate.open();
    let answer = waits.await.expect("an answer");
    assert_eq!(answer.code().as_deref(), Some("upstream_unreachable"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains("has changed") && !text.contains("effect"),
        "{text}"
    );
    assert!(before.heard_of("tools/call").is_empty());
    let client = Client::new(gateway.addr);
    let answer = client.call_modern("echo", json!({})).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    assert_eq!(after.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn what_a_stream_asks_for_later_goes_through_the_stack_of_then() {
    let (listened, called) = (Gate::default(), Gate::default());
    let (ends, answers) = (listened.clone(), called.clone());
    let server = FakeServer::start(move |heard| {
        match (heard.verb.as_str(), heard.header("last-event-id")) {
            ("GET", None) => {
                let first = Say::text("id: 3\ndata: \n\n");
                vec![Say::sse(), first, Say::Until(ends.clone()), Say::Close]
            }
            ("GET", Some("3")) => {
                let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
                vec![Say::sse(), Say::event(&ping), Say::Hang]
            }
            _ => behave(heard).unwrap_or_else(|| {
                let mut answer = Say::json(&said(&heard.json()["id"], "late"));
                answer.insert(0, Say::Until(answers.clone()));
                answer
            }),
        }
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-11-25").await;
    server.hears(|heard| heard.verb == "GET").await;
    legacy.post(call(1, "echo"), 202).await;
    server.hears(|heard| heard.method() == "tools/call").await;
    // One thing at once from now on, which the call is as soon as the stream of before has ended.
    let next = in_front_of(&server)
        .with(|settings| settings.limits.concurrency.session = Some(std::num::NonZeroUsize::MIN));
    gateway.gateway.reload(&next.settings()).expect("reloaded");
    listened.open();
    gateway
        .record(|record| record["refusal"] == "concurrency_limited")
        .await;
    called.open();
    server
        .hears(|heard| heard.header("last-event-id").is_some())
        .await;
    while legacy.next().await["method"] != "ping" {}
}
