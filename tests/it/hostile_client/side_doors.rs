//! Ways to the same data that are not the front door.

use keepgate_tests::{Answer, Client, FakeServer, Say, TestGateway, upstream::behave};
use serde_json::{Value, json};

use super::session;

const OPEN_ONLY: &str = r#"
package mcp.authz

allow contains "open prompts" if input.prompt.name == "open"
allow contains "public files" if {
    input.resource.scheme == "file"
    input.resource.path[0] == "pub"
}
"#;

/// A server that has prompts, resources, templates and completions, and answers everything.
async fn server() -> FakeServer {
    FakeServer::start(|heard| {
        let message = heard.json();
        let result = match heard.method().as_str() {
            "prompts/list" => json!({"prompts": [{"name": "closed"}, {"name": "open"}], "nextCursor": "next"}),
            "resources/list" => json!({"resources": [
                {"uri": "file:///secret/key", "name": "key"}, {"uri": "file:///pub/a", "name": "a"},
                {"uri": "file:///pub/../secret/key", "name": "b"}, {"uri": "file:///pub/%2e%2e/secret", "name": "c"}]}),
            "resources/templates/list" => json!({"resourceTemplates": [
                {"uriTemplate": "file:///{+path}", "name": "all"}, {"uriTemplate": "file:///pub/{name}", "name": "pub"},
                {"uriTemplate": "file:///secret/{name}", "name": "secret"}]}),
            _ => match behave(heard) {
                Some(said) => return said,
                None => json!({"contents": [], "messages": [], "completion": {"values": ["the secret"]}}),
            },
        };
        Say::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    })
    .await
}

async fn gate(server: &FakeServer) -> TestGateway {
    TestGateway::http(&server.url())
        .policy(OPEN_ONLY)
        .start()
        .await
}

fn absent(answer: &Answer, code: i64) {
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (200, &json!(code)),
        "{answer:?}"
    );
}

fn keys(answer: &Answer, list: &str, key: &str) -> Vec<Value> {
    let answer = answer.json();
    let items = answer["result"][list].as_array().unwrap();
    items.iter().map(|item| item[key].clone()).collect()
}

#[tokio::test]
async fn trap_08_prompts_and_resources_are_filtered_and_still_judged() {
    let server = server().await;
    let gateway = gate(&server).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let prompts = client.ask("prompts/list", json!({})).await;
    assert_eq!(keys(&prompts, "prompts", "name"), ["open"]);
    assert_eq!(prompts.json()["result"]["nextCursor"], "next");
    let resources = client.ask("resources/list", json!({})).await;
    assert_eq!(keys(&resources, "resources", "uri"), ["file:///pub/a"]);
    let templates = client.ask("resources/templates/list", json!({})).await;
    assert_eq!(
        keys(&templates, "resourceTemplates", "uriTemplate"),
        ["file:///pub/{name}"]
    );
    absent(
        &client.ask("prompts/get", json!({"name": "closed"})).await,
        -32602,
    );
    absent(
        &client
            .ask("resources/read", json!({"uri": "file:///secret/key"}))
            .await,
        -32002,
    );
    absent(
        &client
            .ask("resources/subscribe", json!({"uri": "file:///secret/key"}))
            .await,
        -32002,
    );
    assert_eq!(
        client
            .ask("prompts/get", json!({"name": "open"}))
            .await
            .json()["result"]["messages"],
        json!([])
    );
    assert_eq!(
        client
            .ask("resources/read", json!({"uri": "file:///pub/a"}))
            .await
            .json()["result"]["contents"],
        json!([])
    );
    for (method, times) in [
        ("prompts/get", 1),
        ("resources/read", 1),
        ("resources/subscribe", 0),
    ] {
        assert_eq!(server.heard_of(method).len(), times, "{method}");
    }
    assert_eq!(
        gateway.refusals().await,
        ["not_found", "not_found", "not_found"]
    );
}

#[tokio::test]
async fn trap_09_paths_are_judged_where_they_lead() {
    let server = server().await;
    let gateway = gate(&server).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    for uri in [
        "file:///pub/../secret/key",
        "file:///pub/%2e%2e/secret/key",
        "file:///pub/%2E%2E%2Fsecret/key",
        "file:///pub/..%2fsecret/key",
        "file:///pub/%252e%252e/secret/key",
        "file:///pub\\..\\secret\\key",
        "file:///pub/..;/secret/key",
        "file:///./secret/key",
        "file:////secret/key",
        "file:///%73ecret/key",
        "FILE:///secret/key",
        "file://host/secret/key",
        "file:/secret/key",
        "file:///pub/%00/../../secret",
        "file:///pub/\u{0}",
        " file:///pub/a",
        "pub/a",
        "",
        "http://pub/a",
    ] {
        for method in ["resources/read", "resources/subscribe"] {
            let answer = client.ask(method, json!({"uri": uri})).await.json();
            let code = answer["error"]["code"].as_i64().unwrap();
            assert!(
                [-32002, -32602].contains(&code),
                "{method} {uri:?} {answer}"
            );
        }
    }
    assert!(server.heard_of("resources/read").is_empty());
    assert!(server.heard_of("resources/subscribe").is_empty());
    for uri in [
        "file:///pub/a",
        "file:///secret/../pub/a",
        "file:///p%75b/a",
    ] {
        let answer = client.ask("resources/read", json!({"uri": uri})).await;
        assert!(answer.json().get("result").is_some(), "{uri} {answer:?}");
    }
}

#[tokio::test]
async fn trap_09_completion_is_no_side_door() {
    let server = server().await;
    let gateway = gate(&server).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let argument = json!({"name": "a", "value": "s"});
    for reference in [
        json!({"type": "ref/prompt", "name": "closed"}),
        json!({"type": "ref/resource", "uri": "file:///secret/key"}),
        json!({"type": "ref/resource", "uri": "file:///secret/{name}"}),
        json!({"type": "ref/resource", "uri": "file:///{+path}"}),
        json!({"type": "ref/resource", "uri": "file:///pub/../secret/{name}"}),
        json!({"type": "ref/resource", "uri": "file:///pub/%2e%2e/{name}"}),
        json!({"type": "ref/tool", "name": "open"}),
        json!({"name": "open"}),
    ] {
        let answer = client
            .ask(
                "completion/complete",
                json!({"ref": reference, "argument": argument}),
            )
            .await;
        assert!(
            answer.json()["error"]["code"].is_i64(),
            "{reference} {answer:?}"
        );
        assert!(!String::from_utf8_lossy(&answer.body).contains("the secret"));
    }
    assert!(server.heard_of("completion/complete").is_empty());
    let open = json!({"ref": {"type": "ref/prompt", "name": "open"}, "argument": argument});
    assert!(
        client
            .ask("completion/complete", open)
            .await
            .json()
            .get("result")
            .is_some()
    );
}

#[tokio::test]
async fn trap_09_a_listen_filter_is_a_standing_read() {
    let server = server().await;
    let gateway = gate(&server).await;
    let client = Client::new(gateway.addr);
    for filter in [
        json!({"resourceSubscriptions": ["file:///secret/key"]}),
        json!({"resourceSubscriptions": ["file:///pub/a", "file:///secret/key"]}),
        json!({"resourceSubscriptions": ["file:///pub/../secret/key"]}),
        json!({"resourceSubscriptions": [7]}),
        json!({"resourceSubscriptions": "file:///secret/key"}),
        json!({"resourceSubscriptions": {"uri": "file:///secret/key"}}),
        json!({"taskIds": ["t"]}),
    ] {
        let answer = client
            .ask_modern(
                "subscriptions/listen",
                None,
                json!({"notifications": filter}),
            )
            .await;
        assert!(
            answer.json()["error"]["code"].is_i64(),
            "{filter} {answer:?}"
        );
    }
    assert!(server.heard().is_empty());
    let allowed = json!({"notifications": {"resourceSubscriptions": ["file:///pub/a"], "toolsListChanged": true}});
    client
        .ask_modern("subscriptions/listen", None, allowed)
        .await;
    assert_eq!(server.heard_of("subscriptions/listen").len(), 1);
}

#[tokio::test]
async fn trap_29_filtered_lists_are_private_and_each_callers_own() {
    let server = FakeServer::start(|heard| {
        let id = heard.json()["id"].clone();
        if heard.method() == "tools/list" {
            let tools = json!([{"name": "b", "inputSchema": {}}, {"name": "a", "inputSchema": {}}, {"name": "c", "inputSchema": {}}]);
            return Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "tools": tools,
                "ttlMs": 60000, "cacheScope": "public", "nextCursor": "more"}}));
        }
        behave(heard).unwrap_or_else(|| Say::json(&keepgate_tests::upstream::said(&id, "hello")))
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .policy("package mcp.authz\nallow contains \"all\" if \"admin\" in input.caller.roles\nallow contains \"a\" if input.tool.name in {\"a\", \"b\"}\n")
        .start()
        .await;
    let of = |subject: &str, role: &str| {
        let key = gateway.key(subject, &[role]);
        Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
    };
    let (admin, reader) = (of("root", "admin"), of("alice", "reader"));
    for (client, names) in [
        (&admin, json!(["b", "a", "c"])),
        (&reader, json!(["b", "a"])),
        (&admin, json!(["b", "a", "c"])),
    ] {
        let list = client.ask_modern("tools/list", None, json!({})).await;
        assert_eq!(json!(keys(&list, "tools", "name")), names);
        assert_eq!(list.json()["result"]["cacheScope"], "private");
        assert_eq!(list.json()["result"]["nextCursor"], "more");
    }
    // What one caller was shown does not make it known to another.
    let answer = reader.call_modern("c", json!({})).await;
    assert_eq!(answer.json()["error"]["code"], -32602);
    assert!(server.heard_of("tools/call").is_empty());
}

#[tokio::test]
async fn trap_35_every_spelling_of_a_host_reaches_the_same_rule() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy(
            "package mcp.authz\n\nallow contains \"all\"\n\n\
             deny contains \"inside\" if input.resource.address_class in {\"loopback\", \"private\", \"link_local\", \"metadata\"}\n\
             deny contains \"forbidden\" if input.resource.host == \"forbidden.example\"\n\
             deny contains \"inside\" if net.url(input.arguments.url).address_class != \"public\"\n",
        )
        .start()
        .await;
    let client = session(&gateway).await;
    for uri in [
        "http://127.0.0.1/",
        "http://127.0.0.1:80/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:a9fe:a9fe]/latest/meta-data",
        "http://10.1/",
        "http://localhost./",
        "http://forbidden.example:80/",
        "http://FORBIDDEN.example./",
        "http://ok@forbidden.example/",
        "redis://2130706433:6379/",
    ] {
        let read = client.ask("resources/read", json!({"uri": uri})).await;
        // Denied and hidden: it does not exist.
        assert_eq!(read.json()["error"]["code"], -32002, "{uri}: {read:?}");
        let fetched = client.call("echo", json!({"url": uri})).await;
        assert_eq!(
            fetched.code().as_deref(),
            Some("policy_denied"),
            "{uri}: {fetched:?}"
        );
    }
    assert!(server.heard_of("resources/read").is_empty());
    assert!(server.heard_of("tools/call").is_empty());
    for uri in ["http://8.8.8.8/", "http://134744072:80/"] {
        client.ask("resources/read", json!({"uri": uri})).await;
        assert_eq!(
            client.call("echo", json!({"url": uri})).await.code(),
            None,
            "{uri}"
        );
    }
    assert_eq!(server.heard_of("resources/read").len(), 2);
    assert_eq!(server.heard_of("tools/call").len(), 2);
}
