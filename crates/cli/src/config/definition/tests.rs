//! The document as it was printed loads, every field goes where it belongs, and what is wrong is told with its place.

use std::fs;
use std::time::Duration;

use expect_test::expect;
use keepgate_credential::Terms;

use super::super::{Configuration, from_text};
use super::OPERATIONS;

const SEED: &str = include_str!("../../../../../policies/servers.d/crm-readonly-agent.yaml");
const TABLES: &str = include_str!("../../../../../policies/lib/definition.json");

/// A configuration with the server the document is of.
const MAIN: &str = "\
version: 1
servers:
  crm-readonly-agent: { url: https://crm.example/mcp }
policies: [./policies]
credentials:
  providers:
    vault:
      address: https://vault.example:8200
      auth: { token: file:/run/secrets/vault-token }
      mounts: { secret: leased }
";

/// Reads `main` with these files in `servers.d`.
fn read(main: &str, files: &[(&str, &str)]) -> Result<Configuration, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    fs::create_dir(directory.path().join("servers.d")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join("servers.d").join(name), text).unwrap();
    }
    from_text(main, "keepgate.yaml", directory.path(), []).map_err(|error| {
        error
            .to_string()
            .replace(&directory.path().display().to_string(), "<dir>")
    })
}

fn good(main: &str, text: &str) -> Configuration {
    read(main, &[("crm.yaml", text)]).unwrap_or_else(|report| panic!("{report}"))
}

fn bad(main: &str, text: &str) -> String {
    read(main, &[("crm.yaml", text)]).expect_err("it is wrong")
}

#[test]
fn the_document_loads_as_it_was_printed() {
    let configuration = good(MAIN, SEED);
    let definitions = configuration.gateway.definitions();
    let definition: serde_json::Value =
        serde_json::from_str(&definitions["crm-readonly-agent"]).unwrap();
    expect![[r#"
        {
          "access_control": {
            "high_risk_approval": true,
            "requires_active_session": true,
            "session_timeout_minutes": 60
          },
          "audit": {
            "log_all_calls": true,
            "log_response_summary": true,
            "retention_days": 365,
            "siem_forward": "splunk://siem.corp.internal"
          },
          "credential": {
            "dynamic_secret": true,
            "rotation_days": 30
          },
          "description": "Salesforce read-only access for support AI",
          "mapping": {
            "functions": [],
            "methods": [],
            "relationships": {},
            "tools": {}
          },
          "name": "crm-readonly-agent",
          "permissions": {
            "allowed_objects": [
              "Account",
              "Case",
              "Contact"
            ],
            "allowed_operations": [
              "read",
              "query"
            ],
            "denied_fields": [
              "Salary__c",
              "SSN__c",
              "BankAccount__c"
            ],
            "max_records_per_query": 100
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&definition).unwrap());
    assert_eq!(configuration.sources().definitions, definitions);
}

#[test]
fn the_credential_is_the_servers() {
    let server = |configuration: &Configuration| {
        let mut servers = configuration.gateway.servers.values();
        servers.next().unwrap().credentials[0].clone()
    };
    let wanted = server(&good(MAIN, SEED));
    assert_eq!(
        wanted.reference.to_string(),
        "vault:secret/mcp/salesforce/support-agent#token"
    );
    let days = Duration::from_secs(30 * 24 * 60 * 60);
    assert_eq!(
        wanted.terms,
        Terms {
            leased: true,
            rotation: Some(days)
        }
    );
    let other = SEED
        .replace(
            "    rotation_days: 30\n",
            "    field: key\n    as: header\n    name: x-api-key\n",
        )
        .replace("    dynamic_secret: true\n", "");
    let wanted = server(&good(MAIN, &other));
    assert!(wanted.reference.to_string().ends_with("#key"));
    assert_eq!(wanted.terms, Terms::default());
}

#[test]
fn what_cannot_be_kept_is_said() {
    let warnings = good(MAIN, SEED).warnings.join("\n");
    for part in ["splunk://siem.corp.internal", "365 days"] {
        assert!(warnings.contains(part), "{warnings}");
    }
    assert!(!warnings.contains("dynamic"), "{warnings}");
    let fixed = MAIN.replace("secret: leased", "secret: kv2");
    let warnings = good(&fixed, SEED).warnings.join("\n");
    assert!(warnings.contains("wants a dynamic secret"), "{warnings}");
    let quiet = SEED.replace("log_all_calls: true", "log_all_calls: false");
    let warnings = good(MAIN, &quiet).warnings.join("\n");
    assert!(warnings.contains("they are all the same"), "{warnings}");
}

/// Documents that are wrong in one way each.
fn wrong() -> Vec<String> {
    vec![
        bad(MAIN, &SEED.replace("denied_fields", "denied_field")),
        bad(MAIN, &SEED.replace("\"query\"]", "\"querry\"]")),
        bad(
            MAIN,
            &SEED.replace("\"crm-readonly-agent\"", "\"crm-readonly-agnet\""),
        ),
        bad(
            MAIN,
            &SEED.replace("max_records_per_query: 100", "max_records_per_query: many"),
        ),
        bad(MAIN, "mcp_server: { name: crm-readonly-agent }\n"),
        bad(
            &MAIN.replace(
                "https://crm.example/mcp }",
                "https://crm.example/mcp, credential: { ref: \"vault:secret/x#y\", as: bearer } }",
            ),
            SEED,
        ),
        bad(&MAIN.replace("secret: leased", "other: leased"), SEED),
    ]
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    expect![[r#"
        <dir>/servers.d/crm.yaml:12:5: mcp_server.permissions.denied_field: unknown key
          12 | (not shown, a secret may stand here)
          hint: did you mean `denied_fields`?

        1 error in the configuration
        ---
        <dir>/servers.d/crm.yaml:11:34: mcp_server.permissions.allowed_operations[1]: expected one of read, query, create, insert, update, upsert, write, delete, export, execute, admin, found `querry`
          11 |     allowed_operations: ["read", "querry"]
             |                                  ^
          hint: did you mean `query`?

        1 error in the configuration
        ---
        <dir>/servers.d/crm.yaml:3:9: mcp_server.name: no server of this name
          3 |   name: "crm-readonly-agnet"
            |         ^
          hint: did you mean `crm-readonly-agent`?

        1 error in the configuration
        ---
        <dir>/servers.d/crm.yaml:13:28: mcp_server.permissions.max_records_per_query: expected a whole number, found `many`
          13 |     max_records_per_query: many
             |                            ^

        1 error in the configuration
        ---
        <dir>/servers.d/crm.yaml:1:1: mcp_server.permissions: key is missing
          1 | mcp_server: { name: crm-readonly-agent }
            | ^
          hint: say what may be done: `permissions: { allowed_objects: [..], allowed_operations: [read] }`

        1 error in the configuration
        ---
        <dir>/servers.d/crm.yaml:6:17: mcp_server.credential.vault_path: `servers.crm-readonly-agent` has a credential already
          6 | (not shown, a secret may stand here)
          hint: keep one of the two

        1 error in the configuration
        ---
        <dir>/servers.d/crm.yaml:6:17: mcp_server.credential.vault_path: the path lies in none of the mounts of `credentials.providers.vault.mounts`: `secret/mcp/salesforce/support-agent`
          6 | (not shown, a secret may stand here)

        1 error in the configuration"#]].assert_eq(&wrong().join("\n---\n"));
}

#[test]
fn a_server_has_one_definition() {
    let report = read(MAIN, &[("a.yaml", SEED), ("b.yml", SEED)])
        .err()
        .unwrap();
    assert!(report.contains("b.yml"), "{report}");
    assert!(
        report.contains("has a definition already, in `<dir>/servers.d/a.yaml`"),
        "{report}"
    );
}

#[test]
fn a_directory_that_is_named_must_be_there() {
    let report = read(&format!("{MAIN}definitions: ./nowhere\n"), &[])
        .err()
        .unwrap();
    assert!(
        report.contains("definitions: failed to read the directory"),
        "{report}"
    );
    // The other is not read then.
    let elsewhere = read(
        &format!("{MAIN}definitions: ./policies\n"),
        &[("a.yaml", "wrong")],
    );
    assert!(elsewhere.unwrap().gateway.definitions().is_empty());
}

#[test]
fn the_words_are_those_the_rules_know() {
    let tables: serde_json::Value = serde_json::from_str(TABLES).unwrap();
    let mut known: Vec<&str> = tables["tables"]["meanings"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut words = OPERATIONS.to_vec();
    known.sort_unstable();
    words.sort_unstable();
    assert_eq!(known, words);
}
