//! Callers with access tokens: a real authorization server, unmodified SDK clients that know the URL and nothing else, and
//! a server that writes down what reaches it.

use keepgate_tests::{FakeServer, Say, free_port, upstream::said};
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::process::{Running, run, serve};

/// `read` for whoever may read, `write` for whoever may write; a caller without the scope is told which it lacks.
const POLICY: &str = r#"package mcp.authz

allow contains "support" if "support" in input.caller.roles

allow contains "machines read" if {
	input.caller.kind == "machine"
	input.client.id == "machine"
}

deny contains {"code": "scope", "message": "reading takes a scope", "scopes": ["tools:read"]} if {
	input.tool.name == "read"
	not "tools:read" in input.caller.scopes
}

deny contains {"code": "scope", "message": "writing takes a scope", "scopes": ["tools:write"]} if {
	input.tool.name == "write"
	not "tools:write" in input.caller.scopes
}
"#;

/// A server with the tools `read` and `write`.
async fn server() -> FakeServer {
    FakeServer::start(|heard| {
        let id = &heard.json()["id"];
        let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
        match heard.method().as_str() {
            "tools/list" => {
                let tools = json!([tool("read"), tool("write")]);
                let result = json!({"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
                Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
            }
            "tools/call" => Say::json(&said(id, "done")),
            _ => keepgate_tests::upstream::behave(heard).unwrap_or_else(|| Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": {}}))),
        }
    })
    .await
}

/// An authorization server, a server `up`, and a gateway that believes the one and stands before the other.
pub(super) async fn world(change: impl FnOnce(&mut Value)) -> (Running, String, FakeServer, Gate) {
    let (issuer, url) = serve("oidc", &[]).await;
    let server = server().await;
    // Tokens are made for a URL, so it has to be known before the gateway starts.
    let listen = format!("127.0.0.1:{}", free_port());
    let home = Home::new().url("up", &server.url()).with(|it| {
        it["listen"] = json!(listen);
        it["auth"] =
            json!({"mode": "oauth", "scopes": ["tools:read"], "issuers": [{"issuer": url}]});
        change(it);
    });
    home.policy(POLICY);
    (issuer, url, server, home.serve().await)
}

/// A token of the client `machine`, by its own right, for an endpoint.
pub(super) async fn machine_token(issuer: &str, resource: &str, scope: &str) -> String {
    let script = "const [url, resource, scope] = process.argv.slice(1);\
        const body = new URLSearchParams({grant_type: 'client_credentials', client_id: 'machine', client_secret: 'machine-secret', resource, scope});\
        const answer = await (await fetch(`${url}/token`, {method: 'POST', body})).json();\
        process.stdout.write(answer.access_token);";
    let node = super::process::repository().join(".peers/bin/node");
    let words = ["--input-type=module", "-e", script, issuer, resource, scope];
    let command = super::process::command(node, &words);
    let done = Running::start("token", command).finished(super::process::PATIENCE);
    done.await.good()
}

/// No part of a token may stand in anything a server heard.
fn never_heard(server: &FakeServer, token: &str) {
    assert!(!server.heard().is_empty());
    for heard in server.heard() {
        for part in token.split('.').chain([token]) {
            assert!(!heard.head.contains(part), "{}", heard.head);
            assert!(!heard.body.contains(part), "{}", heard.body);
        }
        assert_eq!(heard.header("authorization"), None);
    }
}

#[expect(clippy::too_many_lines, reason = "one story")]
async fn whole_flow(sdk: &str) {
    let (_issuer, issuer, server, gate) = world(|_| {}).await;
    let url = gate.url("up");
    let words = [
        url.as_str(),
        "--sdk",
        sdk,
        "--client",
        "app",
        "read",
        "write",
    ];
    let met: Value =
        serde_json::from_str(&run("oauth-client.mjs", &words, &[]).await.good()).expect("a report");
    let base = format!("http://{}", gate.addr);
    let metadata =
        format!("resource_metadata=\"{base}/.well-known/oauth-protected-resource/up/mcp\"");

    // Refused, asked for what it was told to ask for, by the endpoint's own URI.
    let challenges = met["challenges"].as_array().expect("challenges");
    assert!(
        challenges
            .iter()
            .all(|it| it.as_str().is_some_and(|it| it.contains(&metadata))),
        "{met}"
    );
    let first = challenges[0].as_str().expect("a challenge");
    assert!(
        first.contains("scope=\"tools:read\"") && !first.contains("error="),
        "{first}"
    );
    let asked = met["authorizations"].as_array().expect("authorizations");
    assert_eq!(asked.len(), 2, "{met}");
    for authorization in asked {
        assert_eq!(authorization["resource"], url, "{met}");
        assert_eq!(authorization["code_challenge_method"], "S256");
    }
    assert_eq!(asked[0]["scope"], "tools:read");
    assert_eq!(met["issuer"], issuer);

    // The step up: told by status 403, once, with all scopes.
    let step = challenges
        .iter()
        .filter_map(Value::as_str)
        .find(|it| it.contains("insufficient_scope"));
    let step = step.expect("a challenge for more scopes");
    assert!(step.contains("scope=\"tools:read tools:write\""), "{step}");
    assert!(
        met["statuses"]
            .as_array()
            .expect("statuses")
            .contains(&json!(403)),
        "{met}"
    );
    let mut scopes: Vec<_> = asked[1]["scope"]
        .as_str()
        .expect("scopes")
        .split(' ')
        .collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["tools:read", "tools:write"]);
    for tool in ["read", "write"] {
        assert_eq!(met["results"][tool]["error"], false, "{met}");
    }
    assert_eq!(met["listed"], json!(["read", "write"]));

    never_heard(&server, met["token"].as_str().expect("a token"));
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    let calls: Vec<_> = intents
        .iter()
        .filter(|it| it["method"] == "tools/call")
        .collect();
    assert_eq!(calls.len(), 2, "{intents:?}");
    for call in calls {
        assert_eq!(call["issuer"], issuer, "{call}");
        assert!(call["client_id"].is_string(), "{call}");
        assert_eq!(
            (&call["user_id"], &call["caller_kind"]),
            (&json!("ada"), &json!("user"))
        );
    }
    assert!(
        records
            .iter()
            .any(|record| record["refusal"] == "insufficient_scope"),
        "{records:?}"
    );
    let text = records.iter().map(Value::to_string).collect::<String>();
    let signature = met["token"]
        .as_str()
        .and_then(|token| token.rsplit('.').next());
    assert!(!text.contains(signature.expect("a signature")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_client_comes_by_a_token_and_by_a_better_one() {
    whole_flow("1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_sdk_client_does_too() {
    whole_flow("2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_nobody_knows_registers_itself() {
    let (_issuer, _, server, gate) = world(|_| {}).await;
    let url = gate.url("up");
    for sdk in ["1", "2"] {
        let words = [url.as_str(), "--sdk", sdk, "--client", "new", "read"];
        let done = run("oauth-client.mjs", &words, &[]).await.good();
        let met: Value = serde_json::from_str(&done).expect("a report");
        assert_eq!(met["results"]["read"]["error"], false, "{met}");
        never_heard(&server, met["token"].as_str().expect("a token"));
    }
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_endpoint_and_no_other_and_stays_here() {
    let (_issuer, issuer, server, gate) = world(|it| {
        it["auth"]["keys"] = json!(true);
        let up = it["servers"]["up"].clone();
        it["servers"]["other"] = up;
    })
    .await;
    let token = machine_token(&issuer, &gate.url("up"), "tools:read").await;
    let with = |server: &str, token: &str| {
        gate.client(server)
            .header("authorization", &format!("Bearer {token}"))
    };
    let allowed = with("up", &token).call_modern("read", json!({})).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(
        allowed.json()["result"]["isError"],
        Value::Null,
        "{allowed:?}"
    );
    let spied = with("up", &token).header("x-forwarded-authorization", &token);
    assert_eq!(spied.call_modern("read", json!({})).await.status, 200);

    // Another endpoint and one that is not there answer alike, but for their names.
    let stranger = async |server: &str| {
        let refused = with(server, &token).call_modern("read", json!({})).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("invalid_token"), "{challenge}");
        challenge.replace(&format!("/{server}/"), "/SERVER/")
    };
    assert_eq!(stranger("other").await, stranger("absent").await);

    // A scope it lacks is a 403 that names all of them; changed tokens are nobody.
    let step = with("up", &token).call_modern("write", json!({})).await;
    assert_eq!(
        (step.status, step.code().as_deref()),
        (403, Some("insufficient_scope")),
        "{step:?}"
    );
    let challenge = step.header("www-authenticate").expect("a challenge");
    assert!(
        challenge.contains("scope=\"tools:read tools:write\""),
        "{challenge}"
    );
    let mut forged = token.clone();
    forged.replace_range(token.len() - 4.., "AAAA");
    assert_eq!(
        with("up", &forged)
            .call_modern("read", json!({}))
            .await
            .status,
        401
    );

    // By a key there is nobody to ask for scopes: what rules deny is hidden or denied, never challenged.
    let (_, key) = gate.home.key("robot").await;
    let keyed = with("up", &key);
    super::process::until("the key to be known", async || {
        keyed.send("DELETE", "").await.status != 401
    })
    .await;
    let denied = keyed.call_modern("write", json!({})).await;
    assert_ne!(denied.status, 403, "{denied:?}");
    assert_eq!(denied.header("www-authenticate"), None);
    never_heard(&server, &token);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_client_comes_by_a_token_under_a_path() {
    for sdk in ["1", "2"] {
        let (_issuer, _url, _server, gate) = world(|it| {
            let listen = it["listen"].as_str().expect("an address").to_owned();
            it["public_url"] = json!(format!("http://{listen}/team/gate"));
        })
        .await;
        let base = format!("http://{}", gate.addr);
        let url = format!("{base}/team/gate/up/mcp");
        let words = [url.as_str(), "--sdk", sdk, "--client", "app", "read"];
        let met = run("oauth-client.mjs", &words, &[]).await.good();
        let met: Value = serde_json::from_str(&met).expect("a report");
        assert_eq!(met["results"]["read"]["error"], false, "{met}");
        assert_eq!(met["authorizations"][0]["resource"], url, "{met}");
        let place = format!("{base}/.well-known/oauth-protected-resource/team/gate/up/mcp");
        let first = met["challenges"][0].as_str().expect("a challenge");
        assert!(
            first.contains(&format!("resource_metadata=\"{place}\"")),
            "{first}"
        );
        gate.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_the_whole_gateway_are_there_where_tokens_may_be_for_it() {
    for (audience, path, status) in [
        (None, "", 404),
        (Some(""), "", 200),
        (Some("/other"), "", 404),
        (Some("/gate"), "/gate", 200),
    ] {
        let (_issuer, _url, _server, gate) = world(|it| {
            let listen = it["listen"].as_str().expect("an address").to_owned();
            it["public_url"] = json!(format!("http://{listen}{path}"));
            if let Some(audience) = audience {
                let audience = format!("http://{listen}{audience}");
                it["auth"]["issuers"][0]["audience"] = json!(audience);
            }
        })
        .await;
        let place = format!("/.well-known/oauth-protected-resource{path}");
        let client = keepgate_tests::Client::new(gate.addr).path(&place);
        let answer = client.send("GET", "").await;
        assert_eq!(answer.status, status, "{audience:?} {path}: {answer:?}");
        if status == 200 {
            let resource = format!("http://{}{path}", gate.addr);
            assert_eq!(answer.json()["resource"], resource);
        }
        gate.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_say_the_same_of_servers_that_are_there_and_that_are_not() {
    let (_issuer, issuer, server, gate) = world(|_| {}).await;
    let ask = async |verb: &str, path: &str| {
        let client = keepgate_tests::Client::new(gate.addr).path(path);
        client.send(verb, "").await
    };
    let document = async |server: &str| {
        let path = format!("/.well-known/oauth-protected-resource/{server}/mcp");
        let answer = ask("GET", &path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    assert_eq!(
        document("up").await,
        json!({
            "resource": gate.url("up"), "authorization_servers": [issuer],
            "bearer_methods_supported": ["header"], "scopes_supported": ["tools:read"],
        })
    );
    assert_eq!(document("absent").await["resource"], gate.url("absent"));
    let well_known = "/.well-known/oauth-protected-resource";
    for path in [
        "",
        "/",
        "/up",
        "/up/mcp/",
        "/UP/mcp",
        "/a/b/mcp",
        "/up/mcp?x",
        "/%75p/mcp",
        "/../mcp",
    ] {
        let answer = ask("GET", &format!("{well_known}{path}")).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    let posted = ask("POST", &format!("{well_known}/up/mcp")).await;
    assert_eq!(posted.status, 405, "{posted:?}");
    // Endpoints take a token, and nothing else is there.
    for (path, status) in [
        ("/.well-known/oauth-authorization-server", 404),
        ("/.well-known/oauth-authorization-server/up/mcp", 404),
        ("/register", 404),
        ("/up/mcp", 401),
        ("/absent/mcp", 401),
    ] {
        assert_eq!(ask("GET", path).await.status, status, "{path}");
    }
    assert_eq!(server.heard_of("tools/call").len(), 0);
    gate.end().await;
}

#[expect(clippy::too_many_lines, reason = "one table")]
#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_asked_for_where_they_would_help() {
    let (_issuer, issuer, _server, gate) = world(|_| {}).await;
    let token = machine_token(&issuer, &gate.url("up"), "tools:read").await;
    let client = gate
        .client("up")
        .header("authorization", &format!("Bearer {token}"));
    let scope = |scopes: &str| {
        format!(
            "deny contains {{\"code\": \"scope\", \"scopes\": [{scopes}]}} if input.tool.name == \"write\""
        )
    };
    let all = "allow contains \"all\"";
    let read = "allow contains \"read\" if input.tool.name == \"read\"";
    let other =
        "deny contains \"never\" if { input.tool.name == \"write\"; input.arguments.x == 1 }";
    let cases = [
        (
            "lacks one",
            format!("{all}\n{}", scope("\"tools:read\", \"tools:write\"")),
            (403, "insufficient_scope"),
        ),
        (
            "has them all",
            format!("{all}\n{}", scope("\"tools:read\"")),
            (200, "policy_denied"),
        ),
        (
            "denied besides",
            format!("{all}\n{other}\n{}", scope("\"tools:write\"")),
            (200, "policy_denied"),
        ),
        (
            "hidden anyway",
            format!("{read}\n{}", scope("\"tools:write\"")),
            (200, "not_found"),
        ),
        (
            // Made up as it is asked: one written out is refused when it is loaded.
            "no scope",
            format!("{all}\n{}", scope("lower(\"A B\")")),
            (200, "policy_failed"),
        ),
    ];
    for (round, (what, policy, (status, code))) in cases.into_iter().enumerate() {
        gate.home
            .policy(&format!("package mcp.authz\n\n{policy}\n"));
        super::process::until("the policy to be taken", async || {
            gate.said("policies reloaded") > round
        })
        .await;
        let answer = client.call_modern("write", json!({"x": 1})).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let said = answer.code();
        assert_eq!(
            said.as_deref().unwrap_or("not_found"),
            code,
            "{what}: {answer:?}"
        );
        assert_eq!(
            answer.header("www-authenticate").is_some(),
            status == 403,
            "{what}"
        );
    }
    gate.end().await;
}
