//! Callers with API keys: real clients that show them, wrong ones, revoked ones, and sessions of others.

use keepgate_tests::{Answer, FakeServer, Say, upstream::said};
use serde_json::json;

use super::gate::{Home, of_kind};
use super::process::{run, serve, until};

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_work_with_a_key_and_not_without() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let gate = Home::new().keys().url("up", &upstream).serve().await;
    let (id, key) = gate.home.key("agent").await;
    // The gateway has seen the new key when it answers to it.
    let client = gate.client("up").header("authorization", &bearer(&key));
    until("the key to be known", async || {
        client.send("DELETE", "").await.status != 401
    })
    .await;
    let header = format!("Authorization: Bearer {key}");
    let only = [("ONLY_DRIVERS", "ts-sdk1 py_mcp")];
    println!(
        "{}",
        run("drivers.sh", &[&gate.url("up"), "--header", &header], &only)
            .await
            .good()
    );

    let wrong = format!("{header}0");
    for driver in ["ts-client2.mjs", "py_mcp.py"] {
        for words in [
            vec!["--header", &wrong, "--only", "connect"],
            vec!["--only", "connect"],
        ] {
            let url = gate.url("up");
            let words: Vec<_> = std::iter::once(url.as_str()).chain(words).collect();
            let refused = run(driver, &words, &[]).await;
            assert_eq!(refused.code, Some(1), "{refused:?}");
        }
    }
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    assert!(!intents.is_empty());
    assert!(
        intents.iter().all(|intent| intent["key_id"] == id.as_str()),
        "{intents:?}"
    );
    assert!(!of_kind(&records, "auth.denied").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_its_own_sessions_until_it_is_revoked() {
    let server = server().await;
    let gate = Home::new().keys().url("up", &server.url()).serve().await;
    let (ada, key) = gate.home.key("ada").await;
    let (_, other) = gate.home.key("bob").await;
    let with = |key: &str| gate.client("up").header("authorization", &bearer(key));
    let last = with(&other);
    until("the keys to be known", async || {
        last.send("DELETE", "").await.status != 401
    })
    .await;
    for stranger in [
        gate.client("up"),
        with("kg_wrong"),
        with(&format!("{key}0")),
    ] {
        let refused = stranger.call_modern("echo", json!({})).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.header("www-authenticate").is_some(), "{refused:?}");
    }
    let session = with(&key).initialize("2025-11-25").await;
    assert_eq!(session.call("echo", json!({})).await.status, 200);
    let calls = server.heard_of("tools/call").len();

    // To another caller the session is like one that never was.
    let theirs = session.clone().header("authorization", &bearer(&other));
    let unknown = theirs
        .clone()
        .header("mcp-session-id", "0123456789abcdef0123456789abcdef");
    let (theirs, unknown) = (
        theirs.call("echo", json!({})).await,
        unknown.call("echo", json!({})).await,
    );
    let error = |answer: &Answer| {
        let mut error = answer.json()["error"].take();
        error["data"]
            .as_object_mut()
            .expect("data")
            .remove("decision_id");
        (answer.status, error)
    };
    assert_eq!(error(&theirs), error(&unknown));
    assert_eq!(theirs.status, 404);
    assert_eq!(server.heard_of("tools/call").len(), calls);

    gate.home.keepgate(&["keys", "revoke", &ada]).await.good();
    let cut = async || session.call("echo", json!({})).await.status == 401;
    until("the revoked key to be refused", cut).await;
    assert_eq!(with(&key).call_modern("echo", json!({})).await.status, 401);
    assert_eq!(
        with(&other).call_modern("echo", json!({})).await.status,
        200
    );
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_credentials_are_on_record_with_their_cause_and_key() {
    let server = server().await;
    let home = Home::new().keys().url("up", &server.url());
    let (wrong, secret) = home.key("wrong").await;
    let (revoked, over) = home.key("revoked").await;
    home.keepgate(&["keys", "revoke", &revoked]).await.good();
    let gate = home.serve().await;
    let flipped = format!("{}{}", &secret[..secret.len() - 2], "--");
    let unknown = secret.replacen(&wrong, "0123456789abcdef", 1);
    let shown = [
        (None, "missing", None),
        (Some("nonsense"), "invalid", None),
        (Some(&*unknown), "invalid", None),
        (Some(&*flipped), "wrong_secret", Some(&wrong)),
        (Some(&*over), "revoked", Some(&revoked)),
    ];
    let mut answers = Vec::new();
    for (key, _, _) in &shown {
        let client = gate.client("up");
        let client = match key {
            Some(key) => client.header("authorization", &bearer(key)),
            None => client,
        };
        let refused = client.call_modern("echo", json!({})).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        let mut answer = refused.json();
        answer["error"]["data"]["decision_id"] = json!(null);
        answers.push(answer);
    }
    assert!(
        answers[1..].iter().all(|answer| *answer == answers[1]),
        "{answers:?}"
    );
    let records = gate.end().await;
    let denied = of_kind(&records, "auth.denied");
    for (_, cause, key) in shown {
        let found: Vec<_> = denied
            .iter()
            .filter(|record| record["reasons"][0]["code"] == cause)
            .collect();
        // Equal ones share one.
        assert_eq!(found.len(), 1, "{cause}: {denied:?}");
        match key {
            Some(key) => {
                let named = json!({"code": "key_id", "message": key});
                assert_eq!(found[0]["reasons"][1], named, "{cause}");
            }
            None => assert_eq!(found[0]["reasons"].as_array().map(Vec::len), Some(1)),
        }
    }
    let all = serde_json::to_string(&records).expect("JSON");
    for key in [secret, over, flipped] {
        let (_, secret) = key.rsplit_once('_').unwrap_or_default();
        assert!(!all.contains(&key) && (secret.len() < 20 || !all.contains(secret)));
    }
}
