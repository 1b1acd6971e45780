//! Calls: counted, changed, armed with another credential, recorded, refused.

use std::{os::unix::fs::PermissionsExt, time::SystemTime};

use keepgate_call::ServerName;
use keepgate_credential::MASK;
use keepgate_store::kill::{Kill, Scope, Wish};
use keepgate_tests::{Client, FakeServer, Heard, Say, TestGateway, upstream::said};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{both, obliged, obliging, result};

fn echoes(heard: &Heard) -> Vec<Say> {
    Say::json(&said(&heard.json()["id"], "hello"))
}

#[tokio::test]
async fn a_limit_of_policy_is_counted() {
    let rules = "limit contains {\"name\": \"exports\", \"rate\": \"2/1h\", \"by\": \"session\"} if input.arguments.export";
    let (server, gateway) = obliged(rules, echoes).await;
    // Fresh sessions are the same session to policy.
    for _ in 0..2 {
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        assert_eq!(
            client.call("echo", json!({"export": true})).await.code(),
            None
        );
    }
    for answer in both(&gateway, json!({"export": true})).await {
        assert_eq!(answer.code().as_deref(), Some("rate_limited"), "{answer:?}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            text.contains("`exports` is 2 in 1h") && text.contains("try again in"),
            "{text}"
        );
    }
    for answer in both(&gateway, json!({})).await {
        assert_eq!(answer.code(), None);
    }
    assert_eq!(server.heard_of("tools/call").len(), 4);
}

#[tokio::test]
async fn limits_of_tools_and_servers_count_apart() {
    let rules = "limit contains {\"name\": \"t\", \"rate\": \"1/1h\", \"by\": \"tool\"} if input.method == \"tools/call\"";
    let (_server, gateway) = obliged(rules, echoes).await;
    let client = Client::new(gateway.addr);
    assert_eq!(client.call_modern("echo", json!({})).await.code(), None);
    assert_eq!(client.call_modern("delete", json!({})).await.code(), None);
    let spent = client.call_modern("echo", json!({})).await;
    assert_eq!(spent.code().as_deref(), Some("rate_limited"));
}

#[tokio::test]
async fn arguments_are_set_and_what_is_sent_is_what_was_judged() {
    let rules = "set_arguments contains {\"path\": \"/dry_run\", \"value\": true}\n\
        deny contains \"odd\" if input.arguments.n == 2\n\
        labels contains \"first\" if input.arguments.dry_run != true";
    let (server, gateway) = obliged(rules, echoes).await;
    for answer in both(&gateway, json!({"n": 1, "dry_run": false})).await {
        assert_eq!(answer.code(), None, "{answer:?}");
    }
    for answer in both(&gateway, json!({"n": 2})).await {
        assert_eq!(
            answer.code().as_deref(),
            Some("policy_denied"),
            "{answer:?}"
        );
    }
    let heard = server.heard_of("tools/call");
    assert_eq!(heard.len(), 2);
    for heard in &heard {
        assert_eq!(
            heard.json()["params"]["arguments"],
            json!({"n": 1, "dry_run": true})
        );
    }
    // The digest is of what was sent.
    let same = heard[0].json()["params"]["arguments"].to_string();
    let twin = TestGateway::http(&server.url()).start().await;
    let client = Client::new(twin.addr);
    client
        .call_modern("echo", serde_json::from_str(&same).unwrap())
        .await;
    let intents: Vec<Value> = gateway
        .records()
        .await
        .into_iter()
        .filter(|record| record["kind"] == "call.intent" && record["tool_name"] == "echo")
        .collect();
    assert_eq!(intents.len(), 2);
    assert_eq!(intents[0]["args_digest"], intents[1]["args_digest"]);
}

#[tokio::test]
async fn set_arguments_are_judged_again() {
    // The first judgement allows; what it sets, the second does not.
    let policy = "package mcp.authz\n\nallow contains \"all\"\n\n\
        deny contains \"not so\" if input.arguments.mode == \"raw\"\n\
        set_arguments contains {\"path\": \"/mode\", \"value\": \"raw\"} if not input.arguments.mode\n";
    let server = FakeServer::with_tools(echoes).await;
    let gateway = TestGateway::http(&server.url())
        .policy(policy)
        .start()
        .await;
    for answer in both(&gateway, json!({})).await {
        assert_eq!(
            answer.code().as_deref(),
            Some("policy_denied"),
            "{answer:?}"
        );
    }
    assert!(server.heard_of("tools/call").is_empty());
}

#[tokio::test]
async fn arguments_that_cannot_be_set_are_a_refusal() {
    for rules in [
        // Through what is no object, in turn for ever, and where there are no arguments.
        "set_arguments contains {\"path\": \"/n/m\", \"value\": 1}",
        "set_arguments contains {\"path\": \"/n\", \"value\": 2} if input.arguments.n == 1\n\
         set_arguments contains {\"path\": \"/n\", \"value\": 1} if input.arguments.n == 2",
    ] {
        let (server, gateway) = obliged(rules, echoes).await;
        for answer in both(&gateway, json!({"n": 1})).await {
            assert_eq!(
                answer.code().as_deref(),
                Some("policy_failed"),
                "{answer:?}"
            );
        }
        assert!(server.heard_of("tools/call").is_empty());
    }
    let (server, gateway) = obliged(
        "set_arguments contains {\"path\": \"/n\", \"value\": 2}",
        echoes,
    )
    .await;
    let read = Client::new(gateway.addr)
        .ask_modern(
            "resources/read",
            Some("file:///a"),
            json!({"uri": "file:///a"}),
        )
        .await;
    assert_eq!(read.code().as_deref(), Some("policy_failed"), "{read:?}");
    assert!(server.heard_of("resources/read").is_empty());
}

#[tokio::test]
async fn lines_that_mirror_an_argument_say_what_is_sent() {
    let server = FakeServer::start(|heard| {
        if heard.method() == "tools/list" {
            return Say::json(&result(heard, &json!({"tools": [{"name": "echo", "inputSchema": {"type": "object",
                "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "limit": {"type": "integer", "x-mcp-header": "Limit"}}}}]})));
        }
        keepgate_tests::upstream::behave(heard).unwrap_or_else(|| echoes(heard))
    })
    .await;
    let rules = "set_arguments contains {\"path\": \"/region\", \"value\": \"eu west\"}\n\
        set_arguments contains {\"path\": \"/limit\", \"value\": 5}";
    let gateway = TestGateway::http(&server.url())
        .policy(&obliging(rules))
        .start()
        .await;
    let client = Client::new(gateway.addr)
        .header("mcp-param-region", "us")
        .header("mcp-param-other", "dropped");
    let answer = client.call_modern("echo", json!({"region": "us"})).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let heard = server.heard_of("tools/call").pop().unwrap();
    assert_eq!(
        heard.json()["params"]["arguments"],
        json!({"region": "eu west", "limit": 5})
    );
    assert_eq!(heard.header("mcp-param-region"), Some("eu west"));
    assert_eq!(heard.header("mcp-param-limit"), Some("5"));
    assert_eq!(heard.header("mcp-param-other"), None);
}

#[tokio::test]
async fn a_credential_that_is_not_configured_is_a_refusal() {
    let (server, gateway) = obliged("credential contains {\"ref\": \"env:NO_SUCH\"}", echoes).await;
    for answer in both(&gateway, json!({})).await {
        assert_eq!(
            answer.code().as_deref(),
            Some("policy_failed"),
            "{answer:?}"
        );
    }
    assert!(server.heard_of("tools/call").is_empty());
}

/// A gateway whose server `up` has one credential and `other` another, which policy gives `up` for calls of admins.
async fn two_credentials(
    script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static,
) -> (FakeServer, TestGateway, String) {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, secret: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        format!("file:{}", path.display())
    };
    let (plain, admin) = (file("plain", "plain-secret"), file("admin", "admin-secret"));
    let server = FakeServer::with_tools(script).await;
    let rules = format!("credential contains {{\"ref\": \"{admin}\"}} if input.arguments.admin");
    let wanted = |text: &str| keepgate_credential::Use {
        reference: keepgate_credential::Reference::parse(text).unwrap(),
        form: keepgate_credential::Form::Bearer,
        terms: Default::default(),
    };
    let (one, other) = (wanted(&plain), wanted(&admin));
    let gateway = TestGateway::http(&server.url())
        .policy(&obliging(&rules))
        .with(move |settings| {
            let mut up = settings.servers.values().next().unwrap().clone();
            up.credentials = vec![other];
            let name = ServerName::parse("other").unwrap();
            for server in settings.servers.values_mut() {
                server.credentials = vec![one.clone()];
            }
            settings.servers.insert(name, up);
        })
        .start()
        .await;
    // Read when they are needed, so as long as the test runs.
    let _kept = directory.keep();
    (server, gateway, admin)
}

#[tokio::test]
async fn a_call_is_armed_with_the_credential_policy_chose() {
    let (server, gateway, admin) = two_credentials(echoes).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    for (arguments, line) in [
        (json!({}), "Bearer plain-secret"),
        (json!({"admin": true}), "Bearer admin-secret"),
        (json!({}), "Bearer plain-secret"),
    ] {
        assert_eq!(client.call("echo", arguments).await.code(), None);
        let heard = server.heard_of("tools/call").pop().unwrap();
        assert_eq!(heard.header("authorization"), Some(line));
    }
    let outcome =
        |record: &Value| record["kind"] == "call.outcome" && record["cred"]["ref"] == *admin;
    gateway.record(outcome).await;
}

/// A gateway whose server `up` has three credentials, of which policy exchanges one for that of the file the argument `by`
/// names; and the beginning of the references.
async fn three_credentials(server: &FakeServer) -> (TestGateway, String) {
    use keepgate_credential::{Form, Reference, Use};

    let directory = TempDir::new().unwrap();
    let prefix = format!("file:{}/", directory.path().display());
    let wanted = |name: &str, form: Form| {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("secret-{name}")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        Use {
            reference: Reference::parse(&format!("{prefix}{name}")).unwrap(),
            form,
            terms: Default::default(),
        }
    };
    let header = |name: &str| Form::Header(name.parse().unwrap());
    let own = vec![
        wanted("key", header("x-key")),
        wanted("plain", Form::Bearer),
        wanted("app", header("x-app")),
    ];
    let variable = Form::Environment {
        name: "X".to_owned(),
        user: None,
    };
    let others = vec![
        wanted("admin", Form::Bearer),
        wanted("stray", header("x-stray")),
        wanted("child", variable),
    ];
    let reference = format!("concat(\"\", [\"{prefix}\", input.arguments.by])");
    let rules = format!("credential contains {{\"ref\": {reference}}} if input.arguments.by");
    let gateway = TestGateway::http(&server.url())
        .policy(&obliging(&rules))
        .with(move |settings| {
            let mut other = settings.servers.values().next().unwrap().clone();
            other.credentials = others;
            for server in settings.servers.values_mut() {
                server.credentials.clone_from(&own);
            }
            let name = ServerName::parse("other").unwrap();
            settings.servers.insert(name, other);
        })
        .start()
        .await;
    // Read when they are needed, so as long as the test runs.
    let _kept = directory.keep();
    (gateway, prefix)
}

/// Of a server with several credentials, the chosen one takes the place of that which is sent the same way.
#[tokio::test]
async fn policy_exchanges_the_one_of_several_credentials_that_is_sent_the_same_way() {
    let server = FakeServer::with_tools(echoes).await;
    let (gateway, prefix) = three_credentials(&server).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    for (by, line) in [
        (json!({}), "Bearer secret-plain"),
        (json!({"by": "admin"}), "Bearer secret-admin"),
        (json!({}), "Bearer secret-plain"),
    ] {
        assert_eq!(client.call("echo", by.clone()).await.code(), None, "{by}");
        let heard = server.heard_of("tools/call").pop().unwrap();
        for (name, expected) in [
            ("authorization", line),
            ("x-key", "secret-key"),
            ("x-app", "secret-app"),
        ] {
            assert_eq!(heard.header(name), Some(expected), "{by}");
        }
    }
    let all = format!("{prefix}key {prefix}admin {prefix}app");
    gateway
        .record(|record| record["kind"] == "call.outcome" && record["cred"]["ref"] == *all)
        .await;
    for by in ["stray", "child"] {
        let refused = client.call("echo", json!({"by": by})).await;
        assert_eq!(refused.code().as_deref(), Some("policy_failed"), "{by}");
    }
    // The chosen one, and one that stays.
    for by in ["admin", "app"] {
        let wish = Wish {
            scope: Scope::parse("credential", Some(&format!("{prefix}{by}"))).unwrap(),
            tenant: None,
            reason: "leaked".to_owned(),
            by: "alice".to_owned(),
            lasts: None,
        };
        let kill = Kill::new(wish, SystemTime::now()).unwrap();
        gateway.gateway.shared().kill.set(kill);
        let refused = client.call("echo", json!({"by": "admin"})).await;
        assert_eq!(refused.code().as_deref(), Some("killed"), "{by}");
    }
    assert_eq!(server.heard_of("tools/call").len(), 3);
}

#[tokio::test]
async fn a_credential_policy_chose_is_masked_in_every_later_answer() {
    let says = |heard: &Heard| Say::json(&said(&heard.json()["id"], "admin-secret, plain-secret"));
    let (_server, gateway, _admin) = two_credentials(says).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    // Both are files, read at the start or before the first use.
    let masked = async {
        loop {
            let answer = client.call("echo", json!({})).await;
            if !String::from_utf8_lossy(&answer.body).contains("admin-secret") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, masked)
        .await
        .unwrap();
    let shown = format!("{MASK}, {MASK}");
    for arguments in [json!({}), json!({"admin": true}), json!({})] {
        let answer = client.call("echo", arguments).await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(body.contains(&shown), "{body}");
    }
}

#[tokio::test]
async fn a_credential_that_is_cut_off_is_not_chosen_and_what_runs_with_it_is_cut() {
    let (server, gateway, admin) = two_credentials(|_| vec![Say::Hang]).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.call("echo", json!({"admin": true})).await }
    });
    server.hears(|heard| heard.method() == "tools/call").await;
    let wish = Wish {
        scope: Scope::parse("credential", Some(&admin)).unwrap(),
        tenant: None,
        reason: "leaked".to_owned(),
        by: "alice".to_owned(),
        lasts: None,
    };
    let kill = Kill::new(wish, SystemTime::now()).unwrap();
    gateway.gateway.shared().kill.set(kill);
    assert_eq!(running.await.unwrap().code().as_deref(), Some("killed"));
    let refused = client.call("echo", json!({"admin": true})).await;
    assert_eq!(refused.code().as_deref(), Some("killed"), "{refused:?}");
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_child_process_is_given_no_other_credential() {
    let gateway = TestGateway::child(env!("CARGO_BIN_EXE_keepgate-fake-child"), &[], false)
        .policy(&obliging("credential contains {\"ref\": \"env:PATH\"}"))
        .with(|settings| {
            for server in settings.servers.values_mut() {
                server.credentials = vec![keepgate_credential::Use {
                    reference: keepgate_credential::Reference::parse("env:PATH").unwrap(),
                    form: keepgate_credential::Form::Environment {
                        name: "TOKEN".to_owned(),
                        user: None,
                    },
                    terms: Default::default(),
                }];
            }
        })
        .start()
        .await;
    let answer = Client::new(gateway.addr)
        .initialize("2025-11-25")
        .await
        .call("pid", json!({}))
        .await;
    assert_eq!(
        answer.code().as_deref(),
        Some("policy_failed"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn labels_follow_the_session_everywhere() {
    let rules = "labels contains \"pii\" if input.tool.name == \"echo\"\n\
        deny contains \"tainted\" if {\n\tinput.phase == \"call\"\n\tinput.tool.name == \"delete\"\n\t\"pii\" in input.flow.labels\n}";
    let (_server, gateway) = obliged(rules, echoes).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    assert_eq!(client.call("delete", json!({})).await.code(), None);
    assert_eq!(client.call("echo", json!({})).await.code(), None);
    // A fresh session id washes nothing off.
    for client in [
        client,
        Client::new(gateway.addr).initialize("2025-11-25").await,
    ] {
        let denied = client.call("delete", json!({})).await;
        assert_eq!(
            denied.code().as_deref(),
            Some("policy_denied"),
            "{denied:?}"
        );
    }
    let denied = Client::new(gateway.addr)
        .call_modern("delete", json!({}))
        .await;
    assert_eq!(denied.code().as_deref(), Some("policy_denied"));
}

#[tokio::test]
async fn the_record_says_as_much_as_policy_wants() {
    let rules = "audit contains {\"level\": \"summary\"} if input.arguments.level == \"summary\"\n\
        audit contains {\"level\": \"full\"} if input.arguments.level == \"full\"";
    let (_server, gateway) = obliged(rules, |heard| {
        Say::json(&result(
            heard,
            &json!({"content": [], "structuredContent": {"rows": [{"a": 1}, {"a": 2}]}}),
        ))
    })
    .await;
    let client = Client::new(gateway.addr);
    for level in ["metadata", "summary", "full"] {
        let answer = client.call_modern("echo", json!({"level": level})).await;
        assert_eq!(answer.code(), None, "{answer:?}");
    }
    let records = gateway.records().await;
    let of = |kind: &str| -> Vec<&Value> {
        let is = |record: &&Value| record["kind"] == kind && record["tool_name"] == "echo";
        records.iter().filter(is).collect()
    };
    let (intents, outcomes) = (of("call.intent"), of("call.outcome"));
    assert_eq!((intents.len(), outcomes.len()), (3, 3));
    let results: Vec<&Value> = outcomes.iter().map(|outcome| &outcome["result"]).collect();
    assert!(results[0].get("records").is_none() && results[0].get("keys").is_none());
    for result in &results[1..] {
        assert_eq!(result["records"], 2, "{result}");
        assert_eq!(
            result["keys"],
            json!(["content", "structuredContent"]),
            "{result}"
        );
    }
    assert!(intents[1].get("input_params").is_none() && results[1].get("output").is_none());
    assert_eq!(intents[2]["input_params"], "{\"level\":\"full\"}");
    assert!(
        results[2]["output"].as_str().unwrap().contains("\"rows\""),
        "{}",
        results[2]
    );
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_a_refusal() {
    let (server, gateway) = obliged("notify contains \"security\"", echoes).await;
    for answer in both(&gateway, json!({})).await {
        assert_eq!(
            answer.code().as_deref(),
            Some("policy_failed"),
            "{answer:?}"
        );
    }
    assert!(server.heard_of("tools/call").is_empty());
}
