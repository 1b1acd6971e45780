//! Reloads while a request arrives, or while its answer does: nothing goes to an address, or with a credential, that the active
//! configuration has no more.

use std::{os::unix::fs::PermissionsExt, path::Path};

use keepgate_credential::{Form, Reference, Use};
use keepgate_gateway::settings::{Server, Settings, Upstream};
use keepgate_tests::{
    Client, FakeServer, Gate, Say, TestGateway,
    client::modern_call,
    upstream::{behave, said},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A call whose head the gateway has, and whose body it waits for.
struct Arriving {
    stream: TcpStream,
    body: String,
}

impl Arriving {
    async fn at(gateway: &TestGateway) -> Self {
        let body = modern_call("echo", &json!({})).to_string();
        let head = format!(
            "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
             mcp-method: tools/call\r\nmcp-name: echo\r\nconnection: close\r\n\
             content-length: {}\r\nexpect: 100-continue\r\n\r\n",
            gateway.addr,
            body.len()
        );
        let mut stream = TcpStream::connect(gateway.addr)
            .await
            .expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("written");
        // It comes when somebody reads the body: by then the request is in the stack.
        let mut interim = Vec::new();
        while !interim.ends_with(b"\r\n\r\n") {
            interim.push(stream.read_u8().await.expect("a byte"));
        }
        let interim = String::from_utf8_lossy(&interim).into_owned();
        assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
        Self { stream, body }
    }

    /// Sends the body; the answer.
    async fn arrives(mut self) -> Value {
        let body = self.body.as_bytes();
        self.stream.write_all(body).await.expect("written");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.expect("read");
        let body = answer.split_once("\r\n\r\n").expect("a head").1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await
}

/// A bearer token in a file of the test.
fn bearer(directory: &Path, token: &str) -> Use {
    let path = directory.join(token);
    std::fs::write(&path, token).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("closed");
    Use {
        reference: Reference::parse(&format!("file:{}", path.display())).expect("a reference"),
        form: Form::Bearer,
        terms: Default::default(),
    }
}

fn up(settings: &mut Settings) -> &mut Server {
    settings.servers.values_mut().next().expect("a server")
}

/// Change of a reload, given the address of another server and another credential.
type Change = fn(&mut Settings, &str, Use);

/// One change, whether the request passes, and the credential of the next one; none where there is no server any more.
async fn reloaded(what: &str, change: Change, passes: bool, next: Option<&str>) {
    let (before, other) = (server().await, server().await);
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (
        bearer(folder.path(), "secret-a"),
        bearer(folder.path(), "secret-b"),
    );
    let builder = || {
        let used = one.clone();
        TestGateway::http(&before.url()).with(|settings| {
            let server = up(settings);
            (server.credentials, server.plaintext) = (vec![used], true);
        })
    };
    let gateway = builder().start().await;
    let client = Client::new(gateway.addr);
    let answer = client.call_modern("echo", json!({})).await;
    assert_eq!(answer.code(), None, "{what}: {answer:?}");
    let heard = before.heard().len();
    let arriving = Arriving::at(&gateway).await;
    let settings = builder().with(|settings| change(settings, &other.url(), two.clone()));
    let settings = settings.settings();
    gateway.gateway.reload(&settings).expect("reloaded");
    let answer = arriving.arrives().await;
    let code = &answer["error"]["data"]["code"];
    assert_eq!(code.is_null(), passes, "{what}: {answer}");
    let is_refused = *code == "upstream_unreachable";
    assert!(passes || is_refused, "{what}: {answer}");
    let more = before.heard().len() - heard;
    assert_eq!(more, usize::from(passes), "{what}: {:?}", before.heard());
    assert!(other.heard_of("tools/call").is_empty(), "{what}");
    // Made again, it goes to the server of now.
    let answer = client.call_modern("echo", json!({})).await;
    assert_eq!(
        answer.code().is_none(),
        next.is_some(),
        "{what}: {answer:?}"
    );
    let Some(next) = next else { return };
    let [own, others] = [&before, &other].map(|server| server.heard_of("tools/call"));
    let last = others.last().or_else(|| own.last()).expect("a call");
    let sent = last.header("authorization");
    assert_eq!(sent, Some(&*format!("Bearer {next}")), "{what}");
}

#[tokio::test]
async fn a_request_that_arrives_over_a_reload_goes_nowhere_that_is_gone() {
    let nothing: Change = |settings, _, _| settings.limits.body += 1;
    reloaded("nothing", nothing, true, Some("secret-a")).await;
    let address: Change = |settings, other, _| {
        if let Upstream::Http { url, .. } = &mut up(settings).upstream {
            *url = other.parse().expect("an address");
        }
    };
    reloaded("the address", address, false, Some("secret-a")).await;
    let credential: Change = |settings, _, used| up(settings).credentials = vec![used];
    reloaded("the credential", credential, false, Some("secret-b")).await;
    let everything: Change = |settings, _, _| settings.servers.clear();
    reloaded("everything", everything, false, None).await;
}

#[tokio::test]
async fn no_session_begins_with_a_server_that_is_gone_meanwhile() {
    let greets = Gate::default();
    let inner = greets.clone();
    let before = FakeServer::start(move |heard| {
        let said = behave(heard).unwrap_or_default();
        match heard.method().as_str() {
            "initialize" => [vec![Say::Until(inner.clone())], said].concat(),
            _ => said,
        }
    })
    .await;
    let other = server().await;
    let gateway = TestGateway::http(&before.url()).start().await;
    let client = Client::new(gateway.addr);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "a", "version": "1"}});
    let opening = tokio::spawn(async move { client.ask("initialize", params).await });
    before.hears(|heard| heard.method() == "initialize").await;
    let settings = TestGateway::http(&other.url()).settings();
    gateway.gateway.reload(&settings).expect("reloaded");
    greets.open();
    let answer = opening.await.expect("a task");
    assert_eq!(
        answer.code().as_deref(),
        Some("upstream_unreachable"),
        "{answer:?}"
    );
    assert_eq!(answer.header("mcp-session-id"), None);
    assert!(gateway.gateway.shared().sessions.all().is_empty());
}
