//! Ends of event streams: the client's, the session's, a kill, a credential, a reload, a drain.

use std::time::{Duration, SystemTime};

use super::*;

fn bearer(gateway: &TestGateway, key: &str) -> Client {
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

/// The public id of the session with this id.
fn public(id: &str) -> String {
    blake3::hash(id.as_bytes()).to_hex()[..32].to_owned()
}

#[tokio::test]
async fn a_closed_stream_ends_its_session_also_at_the_server() {
    let server = FakeServer::with_tools(|_| vec![Say::Hang]).await;
    let gateway = in_front_of(&server).start().await;
    let legacy = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    legacy.post(call(1, "echo"), 202).await;
    server.hears(|heard| heard.method() == "tools/call").await;
    let (client, address) = (legacy.client.clone(), legacy.address.clone());
    drop(legacy);
    server.hears(|heard| heard.verb == "DELETE").await;
    let shared = gateway.gateway.shared();
    until("nothing runs", || shared.kill.running() == 0).await;
    assert_eq!(shared.sessions.count(), 0);
    for body in [call(2, "echo"), opening(OPENED)] {
        let answer = client.clone().path(&address).post(body).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!(answer.code().as_deref(), Some("session_unknown"));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("event stream"), "{text}");
    }
    assert_eq!(server.heard_of("tools/call").len(), 1);
    until("no request runs", || shared.load.running() == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_during_initialize_leaves_no_session() {
    let gate = Gate::default();
    let opened = gate.clone();
    let server = FakeServer::start(move |heard| {
        let mut said = behave(heard).unwrap_or_default();
        if heard.method() == "initialize" {
            said.insert(0, Say::Until(opened.clone()));
        }
        said
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let legacy = Legacy::open(&Client::new(gateway.addr)).await;
    legacy.post(opening(OPENED), 202).await;
    server.hears(|heard| heard.method() == "initialize").await;
    drop(legacy);
    let shared = gateway.gateway.shared();
    until("the stream is closed", || shared.load.streams() == 0).await;
    gate.open();
    server.hears(|heard| heard.verb == "DELETE").await;
    until("no session is left", || shared.sessions.count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_its_server_forgets_ends_with_the_refusal_on_its_stream() {
    let server = FakeServer::with_tools(|_| Say::http("404 Not Found", "text/plain", "gone")).await;
    let gateway = in_front_of(&server).start().await;
    for _ in 0..20 {
        let mut legacy = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
        let answer = legacy.ask(call(1, "echo")).await;
        assert_eq!(code(&answer), Some("session_unknown"), "{answer}");
        assert!(legacy.rest().await.is_empty());
    }
}

#[tokio::test]
async fn a_kill_ends_streams_and_their_addresses_answer_killed() {
    for (word, is_session) in [
        ("everything", false),
        ("server", false),
        ("caller", false),
        ("session", true),
    ] {
        for opened in [true, false] {
            let server = FakeServer::with_tools(|_| vec![Say::Hang]).await;
            let gateway = in_front_of(&server).keys().start().await;
            let (alice, bob) = (gateway.key("alice", &[]), gateway.key("bob", &[]));
            let (alice, bob) = (bearer(&gateway, &alice), bearer(&gateway, &bob));
            let legacy = if opened {
                Legacy::initialized(&alice, OPENED).await
            } else {
                Legacy::open(&alice).await
            };
            if opened {
                legacy.post(call(1, "echo"), 202).await;
                server.hears(|heard| heard.method() == "tools/call").await;
            }
            let session = public(legacy.id());
            let target = match word {
                "server" => Some("up"),
                "caller" => Some("alice"),
                "session" => Some(&*session),
                _ => None,
            };
            kill(&gateway, word, target);
            let (client, address) = (legacy.client.clone(), legacy.address.clone());
            // Nothing comes after a cut.
            assert!(legacy.rest().await.is_empty(), "{word} {opened}");
            for body in [call(2, "echo"), opening(OPENED), note("notifications/x")] {
                let answer = client.clone().path(&address).post(body.clone()).await;
                assert_eq!(answer.status, 403, "{word} {opened} {body}: {answer:?}");
                assert_eq!(answer.code().as_deref(), Some("killed"), "{word} {body}");
            }
            let sessions = &gateway.gateway.shared().sessions;
            until("the session ends", || sessions.count() == 0).await;
            let answer = client.path(&address).post(call(2, "echo")).await;
            assert_eq!(answer.code().as_deref(), Some("killed"), "{word} {opened}");
            if is_session {
                Legacy::initialized(&alice, OPENED).await;
            } else {
                let refused = alice.clone().path("/up/sse").send("GET", "").await;
                assert_eq!(refused.code().as_deref(), Some("killed"), "{word}");
            }
            if matches!(word, "caller" | "session") {
                Legacy::initialized(&bob, OPENED).await;
                let answer = bob.clone().path(&address).post(call(2, "echo")).await;
                let code = answer.code();
                assert_eq!(code.as_deref(), Some("session_unknown"), "{word}");
            }
            assert!(server.heard_of("tools/call").len() <= 1);
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_each_message_is_authenticated() {
    let server = FakeServer::with_tools(|_| vec![Say::Hang]).await;
    let gateway = in_front_of(&server).keys().start().await;
    let shared = gateway.gateway.shared();
    for opened in [true, false] {
        let secret = gateway.key("alice", &[]);
        let alice = bearer(&gateway, &secret);
        let legacy = if opened {
            Legacy::initialized(&alice, OPENED).await
        } else {
            Legacy::open(&alice).await
        };
        let keys = keepgate_authn::ApiKeys::open(gateway.directory.path()).expect("keys");
        let id = secret.split('_').nth(1).expect("an id");
        keys.revoke(id, SystemTime::now()).expect("revoked");
        shared.authn.reload().expect("keys");
        gateway.gateway.end_unadmitted();
        let (client, address) = (legacy.client.clone(), legacy.address.clone());
        assert!(legacy.rest().await.is_empty());
        let answer = client.path(&address).post(call(1, "echo")).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        until("the session ends", || shared.sessions.count() == 0).await;
    }
    let short = gateway.key_for(keepgate_authn::KeyRequest {
        subject: "carol".to_owned(),
        expires: Some(SystemTime::now() + Duration::from_secs(2)),
        ..Default::default()
    });
    let legacy = Legacy::open(&bearer(&gateway, &short)).await;
    let (client, address) = (legacy.client.clone(), legacy.address.clone());
    assert!(legacy.rest().await.is_empty());
    let answer = client.path(&address).post(opening(OPENED)).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(server.heard_of("tools/call").is_empty());
}

#[tokio::test]
async fn a_drain_ends_streams_when_their_calls_are_answered() {
    let gate = Gate::default();
    let opened = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let mut said = Say::json(&said(&heard.json()["id"], "late"));
        said.insert(0, Say::Until(opened.clone()));
        said
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let idle = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    let busy = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    busy.post(call(4, "echo"), 202).await;
    server.hears(|heard| heard.method() == "tools/call").await;
    gateway.gateway.drain();
    assert!(idle.rest().await.is_empty());
    let refused = busy.client.post(call(5, "echo")).await;
    assert_eq!(refused.code().as_deref(), Some("draining"));
    gate.open();
    let last = busy.rest().await;
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!(last[0]["result"]["content"][0]["text"], "late");
}

#[tokio::test]
async fn a_stream_on_which_nothing_begins_is_closed() {
    let server = server().await;
    let gateway = in_front_of(&server)
        .with(|settings| settings.limits.session_idle = Duration::from_millis(300))
        .start()
        .await;
    let mut used = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    let unused = Legacy::open(&Client::new(gateway.addr)).await;
    assert!(unused.rest().await.is_empty());
    assert_eq!(used.ask(call(1, "echo")).await["id"], 1);
}

#[tokio::test]
async fn a_stream_ends_with_the_longest_life_of_streams() {
    let server = server().await;
    let gateway = in_front_of(&server).start().await;
    let opened = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    let waiting = Legacy::open(&Client::new(gateway.addr)).await;
    let shared = gateway.gateway.shared();
    let day = Duration::from_secs(24 * 3600);
    gateway.gateway.age_calls(day - Duration::from_secs(1));
    assert_eq!(shared.sessions.count(), 2);
    gateway.gateway.age_calls(Duration::from_secs(1));
    for legacy in [opened, waiting] {
        assert!(legacy.rest().await.is_empty());
    }
    until("both sessions end", || shared.sessions.count() == 0).await;
    server.hears(|heard| heard.verb == "DELETE").await;
}

#[tokio::test]
async fn a_reload_without_the_key_ends_streams() {
    for opened in [true, false] {
        let server = server().await;
        let gateway = in_front_of(&server).start().await;
        let client = Client::new(gateway.addr);
        let legacy = if opened {
            Legacy::initialized(&client, OPENED).await
        } else {
            Legacy::open(&client).await
        };
        let streamable = client.initialize("2025-11-25").await;
        let same = in_front_of(&server).settings();
        gateway.gateway.reload(&same).expect("reloaded");
        assert_eq!(gateway.gateway.shared().sessions.count(), 2);
        let off = TestGateway::http(&server.url()).settings();
        gateway.gateway.reload(&off).expect("reloaded");
        let (client, address) = (legacy.client.clone(), legacy.address.clone());
        assert!(legacy.rest().await.is_empty());
        let answer = client.path(&address).post(call(1, "echo")).await;
        assert_eq!(answer.code().as_deref(), Some("path_unknown"));
        assert_eq!(streamable.call("echo", json!({})).await.status, 200);
    }
}
