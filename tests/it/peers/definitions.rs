//! The definition as it was printed, in front of a server: every field of it, from the outside.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use keepgate_tests::{Client, FakeServer, FakeVault, Say, upstream::behave};
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};

const SEED: &str = include_str!("../../../policies/servers.d/crm-readonly-agent.yaml");
const SERVER: &str = "crm-readonly-agent";
/// The tools, and the arguments they declare.
const TOOLS: [(&str, &[&str]); 5] = [
    ("get_record", &["object", "id", "fields"]),
    ("query_database", &["sql"]),
    ("list_contacts", &["limit"]),
    ("delete_account", &["id"]),
    ("get_user", &["id"]),
];

/// A server that answers with more than anybody may have.
async fn crm() -> FakeServer {
    FakeServer::start(|heard| {
        let message = heard.json();
        let result = if message["method"] == "tools/list" {
            let tool = |(name, declared): (&str, &[&str])| {
                let properties: serde_json::Map<String, Value> =
                    declared.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
                json!({"name": name, "inputSchema": {"type": "object", "properties": properties}})
            };
            json!({"tools": TOOLS.map(tool)})
        } else if let Some(said) = behave(heard) {
            return said;
        } else {
            let record = |id: u32| json!({"Id": id, "Name": "Ada", "SSN__c": "078-05-1120", "deep": {"salary__C": 9}});
            let records: Vec<Value> = (0..150).map(record).collect();
            let all = json!({"records": records});
            json!({"content": [{"type": "text", "text": all.to_string()}], "structuredContent": all})
        };
        Say::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    })
    .await
}

/// A gateway with this definition of the server, before a vault whose mount `secret` is of this kind.
async fn gate(vault: &FakeVault, crm: &FakeServer, definition: &str, engine: &str) -> Gate {
    let home = Home::new();
    std::fs::create_dir(home.path("servers.d")).expect("a folder");
    home.replace("servers.d/crm.yaml", definition);
    let token = home.path("token");
    std::fs::write(&token, "root-token").expect("a file");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).expect("permissions");
    let provider = json!({
        "address": vault.address,
        "auth": {"token": format!("file:{}", token.display())},
        "mounts": {"secret": engine},
    });
    home.url(SERVER, &crm.url())
        .with(|it| it["credentials"] = json!({"providers": {"vault": provider}}))
        .serve()
        .await
}

/// A client in a session that has seen the tools, and their names.
async fn session(gate: &Gate) -> (Client, Vec<String>) {
    let client = gate.client(SERVER).initialize("2025-11-25").await;
    let answer = client.ask("tools/list", json!({})).await;
    let tools = answer.json()["result"]["tools"].clone();
    let names = tools.as_array().expect("tools").iter();
    let names = names.map(|tool| tool["name"].as_str().expect("a name").to_owned());
    (client, names.collect())
}

/// The stable code of a refusal, or what was answered.
async fn code(client: &Client, tool: &str, arguments: Value) -> String {
    let answer = client.call(tool, arguments).await;
    answer.code().unwrap_or_else(|| answer.json().to_string())
}

/// What the definition does not allow is refused, and nothing of it reaches the server.
async fn refuses(client: &Client, crm: &FakeServer) {
    for (tool, arguments) in [
        ("get_record", json!({"object": "Lead", "id": "1"})),
        ("get_record", json!({"id": "1"})),
        (
            "get_record",
            json!({"object": "Contact", "fields": ["ssn__c"]}),
        ),
        ("list_contacts", json!({"limit": 101})),
        ("query_database", json!({"sql": "SELECT id FROM Payroll"})),
        (
            "query_database",
            json!({"sql": "SELECT id FROM Account; DROP TABLE Account"}),
        ),
        ("query_database", json!({"sql": "DELETE FROM Account"})),
        ("query_database", json!({"sql": "SELECT * FROM Account"})),
        // An object in an argument that the tool does not declare is none.
        ("get_user", json!({"id": "1", "type": "Case"})),
    ] {
        let refused = code(client, tool, arguments.clone()).await;
        assert!(refused.contains("polic"), "{tool} {arguments}: {refused}");
    }
    assert!(
        crm.heard_of("tools/call").is_empty(),
        "nothing was asked of the server"
    );
}

/// What comes back is without the denied fields, and no more of it than is allowed.
async fn releases(client: &Client, crm: &FakeServer) {
    // What the tool does not declare is dropped: it names no object, and its server never hears of it.
    let arguments = json!({"limit": 100, "type": "Case"});
    let answer = client.call("list_contacts", arguments).await;
    let heard = crm.heard_of("tools/call")[0].json();
    assert_eq!(heard["params"]["arguments"], json!({"limit": 100}));
    let result = answer.json()["result"].clone();
    let text = result.to_string();
    assert!(
        !text.contains("078-05-1120") && !text.to_lowercase().contains("salary__c"),
        "{text}"
    );
    let records = result["structuredContent"]["records"]
        .as_array()
        .expect("records");
    assert_eq!(records.len(), 100, "max_records_per_query");
    assert_eq!(
        records[0],
        json!({"Id": 0, "Name": "Ada", "deep": {}}),
        "denied_fields are taken out"
    );
    let said: Value =
        serde_json::from_str(result["content"][0]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(said["records"].as_array().expect("records").len(), 100);
}

/// Every call is on record, that which was answered with a summary.
fn recorded(records: &[Value]) {
    let outcomes = of_kind(records, "call.outcome");
    let called = records
        .iter()
        .filter(|record| TOOLS.iter().any(|(tool, _)| record["tool_name"] == **tool));
    let called: BTreeSet<&str> = called
        .filter_map(|record| record["decision_id"].as_str())
        .collect();
    assert_eq!(called.len(), 11, "log_all_calls");
    let told = outcomes
        .iter()
        .filter(|outcome| outcome.to_string().contains("\"records\""));
    assert_eq!(told.count(), 1, "log_response_summary: {outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_definition_is_enforced() {
    let (vault, crm) = (FakeVault::start().await, crm().await);
    let gate = gate(&vault, &crm, SEED, "leased").await;
    let (client, names) = session(&gate).await;
    assert_eq!(
        names,
        ["get_record", "query_database", "list_contacts", "get_user"],
        "deleting is not shown"
    );

    refuses(&client, &crm).await;
    releases(&client, &crm).await;
    let heard = crm.heard_of("tools/call");
    let armed = heard[0].header("authorization").expect("a credential");
    assert!(
        armed.starts_with("Bearer leased-password-"),
        "vault_path: {armed}"
    );
    assert_eq!(vault.content().leases.len(), 1, "dynamic_secret");

    // Of no session: requires_active_session.
    let stateless = gate
        .client(SERVER)
        .call_modern("get_record", json!({"object": "Account"}))
        .await;
    assert!(stateless.json()["error"].is_object(), "{stateless:?}");
    assert_eq!(crm.heard_of("tools/call").len(), 1);

    let records = gate.end().await;
    recorded(&records);
}

/// `dynamic_secret: true`, and a path of an engine that issues nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_secret_is_not_used_where_a_dynamic_one_is_wanted() {
    let (vault, crm) = (FakeVault::start().await, crm().await);
    vault.put(
        "secret/mcp/salesforce/support-agent",
        json!({"token": "fixed-for-years"}),
    );
    let gate = gate(&vault, &crm, SEED, "kv2").await;
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let answer = gate.client(SERVER).ask("initialize", hello).await;
    assert_eq!(answer.code().as_deref(), Some("credential_unavailable"));
    assert!(crm.heard().is_empty(), "nothing was sent with it");
}

/// `rotation_days`: an overdue secret is used, said in the log and on a meter.
#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_secret_is_told() {
    let (vault, crm) = (FakeVault::start().await, crm().await);
    vault.put(
        "secret/mcp/salesforce/support-agent",
        json!({"token": "fixed-for-years"}),
    );
    let definition = SEED.replace("dynamic_secret: true", "dynamic_secret: false");
    let gate = gate(&vault, &crm, &definition, "kv2").await;
    let (client, _) = session(&gate).await;
    let answer = client.call("list_contacts", json!({})).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    assert_eq!(gate.said("credential is overdue"), 1);
    let metrics = gate.metrics().await;
    let meter = format!(
        "keepgate_credential_overdue{{keepgate_server_name=\"{SERVER}\",keepgate_credential_reference=\"vault:secret/mcp/salesforce/support-agent#token\"}} 1"
    );
    assert!(metrics.contains(&meter), "{metrics}");
}

/// A definition that changes comes into force; one that is wrong changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_read_again_when_it_changes() {
    let (vault, crm) = (FakeVault::start().await, crm().await);
    let mut gate = gate(&vault, &crm, SEED, "leased").await;
    let (client, _) = session(&gate).await;
    let lead = json!({"object": "Lead", "id": "1"});
    assert!(
        !code(&client, "get_record", lead.clone())
            .await
            .contains("records")
    );

    gate.home.replace(
        "servers.d/crm.yaml",
        &SEED.replace("allowed_objects", "alowed_objects"),
    );
    gate.says("configuration not taken", 1).await;
    assert!(
        !code(&client, "get_record", lead.clone())
            .await
            .contains("records")
    );

    gate.home
        .replace("servers.d/crm.yaml", &SEED.replace("\"Case\"", "\"Lead\""));
    gate.says("definitions reloaded", 1).await;
    gate.says("configuration reloaded", 1).await;
    let (client, _) = session(&gate).await;
    let answer = code(&client, "get_record", lead).await;
    assert!(answer.contains("records"), "{answer}");
}
