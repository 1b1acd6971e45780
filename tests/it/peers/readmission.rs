//! Callers that a change of `auth`, of an issuer or of a key shuts out while they are connected: their calls and streams end,
//! and so do their sessions and processes; those of others go on.

use keepgate_tests::{Answer, Client, FakeServer, Gate as Door};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::gate::{Gate, Home};
use super::operations::server;
use super::process::{serve, until};
use super::tokens::machine_token;

/// The audience of every token.
const AUDIENCE: &str = "https://gateway.example";

/// Callers and what they have open: in a session and without one, on a server over HTTP and on a child process.
struct World {
    gate: Gate,
    server: FakeServer,
    /// Held by the calls that run.
    _door: Door,
}

/// A connected caller.
struct Caller {
    http: Client,
    /// Begun, and not answered by the server.
    running: Vec<JoinHandle<Answer>>,
}

impl World {
    async fn new(change: impl FnOnce(&mut Value)) -> Self {
        let door = Door::default();
        let server = server(&door).await;
        let home = Home::new().url("up", &server.url());
        let home = home.child("child", &["fixture-stdio"]).with(change);
        Self {
            gate: home.serve().await,
            server,
            _door: door,
        }
    }

    /// Opens everything a caller can have open.
    async fn connect(&self, authorization: Option<&str>) -> Caller {
        let with = |client: Client| match authorization {
            Some(value) => client.header("authorization", value),
            None => client,
        };
        let http = with(self.gate.client("up"));
        until("the caller to be known", async || {
            http.call_modern("echo", json!({})).await.status == 200
        })
        .await;
        let session = http.initialize("2025-11-25").await;
        let child = with(self.gate.client("child"));
        child.initialize("2025-11-25").await;
        let answer = child.call_modern("echo", json!({"text": "hello"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut running = Vec::new();
        for is_modern in [true, false] {
            let before = self.server.heard_of("tools/call").len();
            let (http, session) = (http.clone(), session.clone());
            running.push(tokio::spawn(async move {
                if is_modern {
                    http.call_modern("delete", json!({})).await
                } else {
                    session.call("delete", json!({})).await
                }
            }));
            until("the call to run", async || {
                self.server.heard_of("tools/call").len() > before
            })
            .await;
        }
        Caller { http, running }
    }

    /// Number of sessions and of processes.
    async fn open(&self) -> (u64, u64) {
        let token =
            std::fs::read_to_string(self.gate.home.path("state/admin-token")).expect("a token");
        let count = async |what: &str| {
            let client = Client::new(self.gate.admin).path(&format!("/api/v1/{what}"));
            let client = client.header("authorization", &format!("Bearer {}", token.trim()));
            client.send("GET", "").await.json()["count"]
                .as_u64()
                .expect("a count")
        };
        (count("sessions").await, count("processes").await)
    }

    /// Asserts that a caller has nothing open any more and is let in no more.
    async fn is_out(&self, caller: Caller) {
        until("the caller to be refused", async || {
            caller.http.call_modern("echo", json!({})).await.status == 401
        })
        .await;
        for running in caller.running {
            let answer = running.await.expect("an answer");
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(said.contains("authn_invalid"), "{answer:?}");
        }
    }
}

/// A change that shuts callers out.
struct Case {
    name: &'static str,
    auth: fn(&str) -> Value,
    change: fn(&str) -> Value,
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn callers_that_are_not_admitted_any_more_are_cut() {
    let keys = |_: &str| json!({"mode": "keys"});
    let anonymous = |_: &str| json!({"mode": "anonymous"});
    let issuer =
        |url: &str| json!({"mode": "oauth", "issuers": [{"issuer": url, "audience": AUDIENCE}]});
    let (_issuer, url) = serve("oidc", &[]).await;
    for case in [
        Case {
            name: "anonymous to keys",
            auth: anonymous,
            change: keys,
        },
        Case {
            name: "keys to tokens",
            auth: keys,
            change: issuer,
        },
        Case {
            name: "keys and tokens to tokens alone",
            auth: |url| json!({"mode": "oauth", "keys": true, "issuers": [{"issuer": url, "audience": AUDIENCE}]}),
            change: issuer,
        },
        Case {
            name: "tokens to keys",
            auth: issuer,
            change: keys,
        },
        Case {
            name: "one issuer to another",
            auth: issuer,
            change: |_| json!({"mode": "oauth", "issuers": [{"issuer": "http://127.0.0.1:9"}]}),
        },
        Case {
            name: "an issuer that may use another algorithm only",
            auth: issuer,
            change: |url| json!({"mode": "oauth", "issuers": [{"issuer": url, "audience": AUDIENCE, "algorithms": ["ES384"]}]}),
        },
    ] {
        println!("{}", case.name);
        let mut world = World::new(|it| {
            it["public_url"] = json!("http://gateway.example");
            it["auth"] = (case.auth)(&url);
        })
        .await;
        let auth = (case.auth)(&url);
        let credential = if auth["mode"] == "anonymous" {
            None
        } else if auth["mode"] == "keys" || auth["keys"] == true {
            Some(world.gate.home.key("agent").await.1)
        } else {
            Some(machine_token(&url, AUDIENCE, "tools:read").await)
        };
        let authorization = credential.map(|credential| format!("Bearer {credential}"));
        let caller = world.connect(authorization.as_deref()).await;
        assert_eq!(world.open().await, (2, 2), "{}", case.name);

        let home = world.gate.home;
        world.gate.home = home.with(|it| it["auth"] = (case.change)(&url));
        world.is_out(caller).await;
        until("sessions and processes to end", async || {
            world.open().await == (0, 0)
        })
        .await;
        world.gate.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_cuts_its_caller_and_no_other() {
    let mut world = World::new(|it| it["auth"] = json!({"mode": "keys"})).await;
    let (id, key) = world.gate.home.key("ada").await;
    let (_, other) = world.gate.home.key("bob").await;
    let ada = world.connect(Some(&format!("Bearer {key}"))).await;
    let bob = world.connect(Some(&format!("Bearer {other}"))).await;
    assert_eq!(world.open().await, (4, 4));

    world
        .gate
        .home
        .keepgate(&["keys", "revoke", &id])
        .await
        .good();
    world.is_out(ada).await;
    until("the sessions of one to end", async || {
        world.open().await == (2, 2)
    })
    .await;
    assert_eq!(bob.http.call_modern("echo", json!({})).await.status, 200);
    // Nothing of the other's is cut by a reload that changes nothing.
    world.gate.process.signal(Signal::SIGHUP);
    world.gate.says("configuration reloaded", 1).await;
    assert_eq!(world.open().await, (2, 2));
    assert!(bob.running.iter().all(|running| !running.is_finished()));
    world._door.open();
    for running in bob.running {
        assert_eq!(running.await.expect("an answer").code(), None);
    }
    world.gate.end().await;
}
