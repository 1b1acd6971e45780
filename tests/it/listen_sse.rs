//! Clients over HTTP+SSE, the transport of 2024-11-05: a stream that names an address, and messages posted there.

mod ends;
mod hostile;
mod reloads;
mod resumes;
mod unread;

use std::time::SystemTime;

use keepgate_gateway::settings::Settings;
use keepgate_store::kill::{Applied, Kill, Scope, Wish};
use keepgate_tests::{
    Answer, Client, Events, FakeServer, PATIENCE, Say, SseServer, TestGateway,
    client::field,
    gateway::Builder,
    upstream::{Asked, Gate, Heard, Piped, behave, said},
};
use serde_json::{Value, json};

const CHILD: &str = env!("CARGO_BIN_EXE_keepgate-fake-child");
const OPENED: &str = "2024-11-05";

fn listening(settings: &mut Settings) {
    let servers = settings.servers.values_mut();
    servers.for_each(|server| server.listen_sse = true);
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

/// Sets a kill in a gateway.
fn kill(gateway: &TestGateway, word: &str, target: Option<&str>) -> Applied {
    let wish = Wish {
        scope: Scope::parse(word, target).expect("a scope"),
        tenant: None,
        reason: "leaked".to_owned(),
        by: "alice".to_owned(),
        lasts: None,
    };
    let kill = Kill::new(wish, SystemTime::now()).expect("a kill");
    gateway.gateway.shared().kill.set(kill)
}

/// A gateway in front of a server, for clients over HTTP+SSE too.
fn in_front_of(server: &FakeServer) -> Builder {
    TestGateway::http(&server.url()).with(listening)
}

fn request(id: impl Into<Value>, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params}).to_string()
}

fn call(id: impl Into<Value>, tool: &str) -> String {
    let params = json!({"name": tool, "arguments": {}});
    request(id, "tools/call", &params)
}

fn opening(revision: &str) -> String {
    let client = json!({"name": "legacy", "version": "1"});
    let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client});
    request("init", "initialize", &params)
}

fn code(message: &Value) -> Option<&str> {
    let code = message.pointer("/error/data/code");
    code.or_else(|| message.pointer("/result/_meta/dev.keepgate~1refusal/code"))?
        .as_str()
}

/// A client with its stream.
struct Legacy {
    /// Posts to the address that the stream named.
    client: Client,
    address: String,
    events: Events,
}

impl Legacy {
    /// Opens a stream.
    async fn open(client: &Client) -> Self {
        let at = client.clone().path("/up/sse");
        let answer = at.open("GET", "").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert!(!headers.contains_key("mcp-session-id"));
        let mut events = Events::of(answer);
        let block = events.block().await.expect("an event");
        assert_eq!(field(&block, "event"), Some("endpoint"), "{block}");
        let address = field(&block, "data").expect("an address").to_owned();
        Self {
            client: client.clone().path(&address),
            address,
            events,
        }
    }

    /// Opens a stream and the session on it.
    async fn initialized(client: &Client, revision: &str) -> Self {
        let mut legacy = Self::open(client).await;
        let answer = legacy.ask(opening(revision)).await;
        assert!(answer["result"].is_object(), "{answer}");
        legacy.post(note("notifications/initialized"), 202).await;
        legacy
    }

    /// Posts a message, to be answered with a status.
    async fn post(&self, body: impl Into<bytes::Bytes>, status: u16) -> Answer {
        let answer = self.client.post(body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        answer
    }

    /// Posts a request and gives the next message of the stream.
    async fn ask(&mut self, body: String) -> Value {
        let accepted = self.post(body, 202).await;
        assert!(accepted.body.is_empty(), "{accepted:?}");
        self.next().await
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        loop {
            let block = self.events.block().await.expect("an open stream");
            if let Some(data) = field(&block, "data") {
                assert_eq!(field(&block, "event"), Some("message"), "{block}");
                assert_eq!(field(&block, "id"), None, "{block}");
                return serde_json::from_str(data).expect("JSON");
            }
        }
    }

    /// Waits for the end of the stream and gives the messages before it.
    async fn rest(mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(message) = self.events.message().await {
            messages.push(message);
        }
        messages
    }

    fn id(&self) -> &str {
        self.address.rsplit('/').next().expect("an id")
    }
}

fn note(method: &str) -> String {
    json!({"jsonrpc": "2.0", "method": method}).to_string()
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let there = async {
        while !is() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let there = tokio::time::timeout(PATIENCE, there).await;
    there.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn clients_over_http_and_sse_are_served_whatever_the_server_speaks() {
    let (http, sse) = (server().await, SseServer::start(|_, _| None).await);
    for revision in [OPENED, "2025-03-26", "2025-11-25"] {
        for (what, tool, gateway) in [
            ("http", "echo", TestGateway::http(&http.url())),
            ("sse", "echo", TestGateway::sse(&sse.url())),
            ("child", "pid", TestGateway::child(CHILD, &[], false)),
        ] {
            let gateway = gateway.with(listening).start().await;
            let mut legacy = Legacy::open(&Client::new(gateway.addr)).await;
            let opened = legacy.ask(opening(revision)).await;
            assert_eq!(opened["id"], "init", "{what}");
            assert_eq!(opened["result"]["protocolVersion"], revision, "{what}");
            legacy.post(note("notifications/initialized"), 202).await;
            let listed = legacy.ask(request(2, "tools/list", &json!({}))).await;
            let names = listed["result"]["tools"].as_array().expect("tools");
            assert!(names.iter().any(|it| it["name"] == tool), "{listed}");
            let called = legacy.ask(call("three", tool)).await;
            assert_eq!((&called["id"], code(&called)), (&json!("three"), None));
            assert!(called["result"].is_object(), "{what}: {called}");
            let records = gateway.records().await;
            let of = |kind: &str| {
                let calls = records
                    .iter()
                    .filter(|record| record["method"] == "tools/call");
                calls.filter(|record| record["kind"] == kind).count()
            };
            assert_eq!((of("call.intent"), of("call.outcome")), (1, 1), "{what}");
        }
    }
    let asked = http.heard_of("initialize");
    let asked: Vec<Value> = asked.iter().map(Heard::json).collect();
    assert_eq!(asked[0]["params"]["protocolVersion"], OPENED);
}

#[tokio::test]
async fn without_the_key_there_is_no_such_path() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let id = "a".repeat(43);
    let messages = format!("/up/sse/{id}");
    for (verb, path) in [
        ("GET", "/up/sse"),
        ("POST", &messages),
        ("GET", "/.well-known/oauth-protected-resource/up/sse"),
    ] {
        let answer = Client::new(gateway.addr).path(path).send(verb, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.code().as_deref(), Some("path_unknown"), "{path}");
    }
    let gateway = in_front_of(&server).keys().start().await;
    let known = Client::new(gateway.addr).header(
        "authorization",
        &format!("Bearer {}", gateway.key("alice", &[])),
    );
    for (verb, path, status, allow) in [
        ("GET", "/other/sse", 404, None),
        ("GET", "/up/sse/", 404, None),
        ("GET", "/up/sse?session=1", 404, None),
        ("GET", "/up/SSE", 404, None),
        ("POST", "/up/sse/short", 404, None),
        ("POST", "/up/sse", 405, Some("GET")),
        ("DELETE", "/up/sse", 405, Some("GET")),
        ("GET", &messages, 405, Some("POST")),
        ("DELETE", &messages, 405, Some("POST")),
    ] {
        let answer = known.clone().path(path).send(verb, "").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (status, allow),
            "{verb} {path}"
        );
        let stranger = Client::new(gateway.addr).path(path).send(verb, "").await;
        assert!(
            matches!(stranger.status, 401 | 404),
            "{verb} {path}: {stranger:?}"
        );
    }
    let known = known.without("accept").header("accept", "text/html");
    let answer = known.path("/up/sse").send("GET", "").await;
    assert_eq!(answer.status, 406, "{answer:?}");
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn the_address_lies_under_the_path_of_the_public_url() {
    let server = server().await;
    let gateway = in_front_of(&server)
        .with(|settings| settings.path = "/a/gate".to_owned())
        .start()
        .await;
    for prefix in ["", "/a/gate"] {
        let path = format!("{prefix}/up/sse");
        let client = Client::new(gateway.addr);
        let answer = client.clone().path(&path).open("GET", "").await;
        let mut events = Events::of(answer);
        let block = events.block().await.expect("an event");
        let address = field(&block, "data").expect("an address");
        let below = address.strip_prefix("/a/gate").expect("the path");
        assert!(below.starts_with("/up/sse/"), "{address}");
        for address in [address, below] {
            let answer = client.clone().path(address).post(call(1, "echo")).await;
            assert_eq!(answer.status, 202, "{address}");
            let refused = events.message().await.expect("a message");
            assert_eq!(code(&refused), Some("session_missing"), "{refused}");
        }
    }
}

#[tokio::test]
async fn the_servers_own_messages_come_on_the_stream_and_answers_go_back() {
    let (sender, piped) = Piped::new();
    let server = FakeServer::start(move |heard| match heard.verb.as_str() {
        "GET" => vec![Say::sse(), Say::Piped(piped.clone())],
        _ => behave(heard).unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello"))),
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-11-25").await;
    let heard = server.hears(|heard| heard.verb == "GET").await;
    assert_eq!(
        heard.header("mcp-session-id"),
        Some("upstream-secret-session")
    );
    let tell = |message: Value| {
        let event = format!("id: 1\ndata: {message}\n\n");
        sender.send(event.into_bytes()).expect("a stream");
    };
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "by itself"}});
    tell(log.clone());
    assert_eq!(legacy.next().await, log);
    tell(json!({"jsonrpc": "2.0", "id": "q1", "method": "ping"}));
    let question = legacy.next().await;
    assert_eq!(question["method"], "ping");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {}}).to_string();
    legacy.post(answer.clone(), 202).await;
    let heard = server.hears(|heard| heard.json()["result"].is_object());
    assert_eq!(heard.await.json()["id"], "q1");
    let twice = legacy.post(answer, 400).await;
    assert_eq!(twice.code().as_deref(), Some("response_foreign"));
    // Neither of them was in the way of a call.
    assert_eq!(legacy.ask(call(7, "echo")).await["id"], 7);
}

#[tokio::test]
async fn messages_of_a_call_come_before_its_answer_and_a_client_can_cancel_it() {
    let gate = Gate::default();
    let opened = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let message = heard.json();
        if message["params"]["name"] == "delete" {
            return vec![Say::Hang];
        }
        let (progress, answer) = (heard.progress(1), said(&message["id"], "done"));
        let gate = opened.clone();
        let (progress, answer) = (Say::event(&progress), Say::event(&answer));
        vec![Say::sse(), progress, Say::Until(gate), answer, Say::Close]
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    let params = json!({"name": "echo", "arguments": {}, "_meta": {"progressToken": "mine"}});
    let progress = legacy.ask(request(9, "tools/call", &params)).await;
    assert_eq!(progress["params"]["progressToken"], "mine", "{progress}");
    // Meanwhile another call, which is cancelled at once.
    legacy.post(call(10, "delete"), 202).await;
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 10}});
    legacy.post(cancelled.to_string(), 202).await;
    let heard = server.hears(|heard| heard.method() == "notifications/cancelled");
    let heard = heard.await.json();
    let sent = server.heard_of("tools/call");
    let sent = sent
        .iter()
        .find(|heard| heard.json()["params"]["name"] == "delete");
    assert_eq!(
        heard["params"]["requestId"],
        sent.expect("a call").json()["id"]
    );
    gate.open();
    let answer = legacy.next().await;
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    assert_eq!(answer["id"], 9);
}

#[tokio::test]
async fn policy_decides_and_filters_as_on_the_other_endpoint() {
    let server = server().await;
    let policy = "package mcp.authz\n\nimport rego.v1\n\nallow contains \"some\" if input.tool.name == \"echo\"\n\nallow contains \"rest\" if not input.tool\n";
    let gateway = in_front_of(&server).policy(policy).start().await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    let listed = legacy.ask(request(2, "tools/list", &json!({}))).await;
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let names: Vec<&Value> = tools.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, [&json!("echo")]);
    let streamable = Client::new(gateway.addr).initialize(OPENED).await;
    for tool in ["delete", "absent"] {
        let mut here = legacy.ask(call(7, tool)).await;
        let mut there = streamable.call(tool, json!({})).await.json();
        for answer in [&mut here, &mut there] {
            assert!(answer["error"]["data"]["decision_id"].is_string());
            answer["error"]["data"]["decision_id"] = Value::Null;
        }
        assert_eq!(here, there, "{tool}");
    }
    assert_eq!(server.heard_of("tools/call").len(), 0);
}

#[tokio::test]
async fn a_broken_answer_is_resumed_in_the_clients_stead() {
    let asked = Asked::default();
    let noted = asked.clone();
    let server = FakeServer::start(move |heard| {
        let is_resumed = heard.header("last-event-id") == Some("7");
        match (heard.verb.as_str(), is_resumed) {
            ("GET", true) => {
                let answer = Say::event(&said(&noted.id(0), "the rest"));
                vec![Say::sse(), answer, Say::Close]
            }
            ("GET", false) => Say::http("405 Method Not Allowed", "text/plain", ""),
            _ => behave(heard).unwrap_or_else(|| {
                noted.note(heard);
                let first = "id: 7\nretry: 20\ndata: \n\n";
                vec![Say::sse(), Say::text(first), Say::Close]
            }),
        }
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-11-25").await;
    let answer = legacy.ask(call(5, "echo")).await;
    assert_eq!(
        answer["result"]["content"][0]["text"], "the rest",
        "{answer}"
    );
    assert_eq!(answer["id"], 5);
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_stream_of_the_servers_own_is_asked_for_again_when_it_ends() {
    let (sender, piped) = Piped::new();
    let server = FakeServer::start(move |heard| {
        match (heard.verb.as_str(), heard.header("last-event-id")) {
            ("GET", None) => vec![
                Say::sse(),
                Say::text("id: 3\nretry: 20\ndata: \n\n"),
                Say::Close,
            ],
            ("GET", Some("3")) => vec![Say::sse(), Say::Piped(piped.clone())],
            _ => behave(heard).unwrap_or_default(),
        }
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-11-25").await;
    server
        .hears(|heard| heard.header("last-event-id").is_some())
        .await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let event = format!("data: {ping}\n\n");
    sender.send(event.into_bytes()).expect("a stream");
    assert_eq!(legacy.next().await["method"], "ping");
}
