//! The whole report as it is printed: of a configuration that lacks what can be lacking, and of one that lacks nothing.

use std::ffi::OsString;
use std::fs;
use std::time::SystemTime;

use expect_test::expect_file;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Exit, Surroundings, run};

/// A directory with a configuration, policies and state.
struct Bench(tempfile::TempDir);

/// Everything that can be missing is.
const POOR: &str = r#"
version: 1
listen: 0.0.0.0:8080
hosts: [gw.example]
admin: { listen: 0.0.0.0:9080 }
policies: [policies]
state: { dir: state }
audit: { arguments: { clear: [crm.get_case] } }
limits:
  session_idle: 12h
  rate: { session: off, caller: 3000/1m }
  concurrency: { caller: off }
  breaker: off
servers:
  crm: { url: http://crm.example/mcp, plaintext: allowed, credential: { ref: "env:CRM", as: bearer }, environment: production }
  wiki: { url: https://wiki.example/mcp, credentials: [{ ref: "env:WIKI", as: bearer }, { ref: "env:CRM", as: query, name: key, in_url: true }], environment: staging }
  files: { command: [files], env: { FILES_TOKEN: x }, environment: production, owner: documents }
credentials:
  providers:
    vault: { address: https://vault.example:8200, auth: { token: "env:VAULT" }, mounts: { secret: kv2 } }
"#;
const POOR_POLICY: &str = r#"
package mcp.authz

allow contains "the CRM is ours" if input.server.name == "crm"

allow contains "documents are changed" if input.tool.name == "delete_document"
"#;
/// Nothing is.
const RICH: &str = r#"
version: 1
policies: [policies]
state: { dir: state }
audit: { durability: synced }
telemetry: { otlp: { endpoint: "http://127.0.0.1:4317" } }
credentials:
  providers:
    vault:
      address: https://vault.example:8200
      auth: { approle: { role_id: "file:/run/secrets/role-id", secret_id: "file:/run/secrets/secret-id" } }
      mounts: { database: leased }
servers:
  crm:
    url: https://crm.example/mcp
    owner: support
    environment: production
    credential: { ref: "vault:database/creds/crm#password", as: basic, user_field: username }
"#;
const RICH_POLICY: &str = r#"
package mcp.authz

allow contains "support reads cases" if {
    input.server.name == "crm"
    input.tool.name in {"get_case", "search_cases"}
}

approve contains {"code": "destructive"} if input.tool.annotations.destructiveHint == true
"#;

impl Bench {
    fn new(configuration: &str, policy: &str) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.write("keepgate.yaml", configuration);
        bench.write("policies/crm.rego", policy);
        bench
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (Exit, String) {
        let config = self.0.path().join("keepgate.yaml").into_os_string();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let words = std::iter::once("keepgate").chain(arguments.iter().copied());
        let exit = run(
            words.map(OsString::from),
            Surroundings {
                // The kernel of Debian 12, wherever the test runs.
                variables: vec![
                    (OsString::from("KEEPGATE_CONFIG"), config),
                    (OsString::from("KEEPGATE_LANDLOCK_ABI"), "2".into()),
                ],
                stdout: &mut stdout,
                stderr: &mut stderr,
            },
        );
        let place = self.0.path().display().to_string();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&place, "<dir>");
        assert_eq!(text(stderr), "");
        (exit, text(stdout))
    }

    /// How one item stands.
    fn standing(&self, id: &str) -> String {
        let (_, json) = self.run(&["check", "--readiness", "--output", "json"]);
        let report: Value = serde_json::from_str(&json).unwrap();
        let mut items = report["items"].as_array().unwrap().iter();
        let item = items.find(|item| item["id"] == id).expect(id);
        item["standing"].as_str().unwrap().to_owned()
    }

    /// The report of a drill so long ago.
    fn drill(&self, days: u32) {
        let at = OffsetDateTime::from(SystemTime::now() - super::DAY * days);
        let report = serde_json::json!({ "at": at.format(&Rfc3339).unwrap(), "by": "sam" });
        self.write(
            &format!("state/drills/drill-{days}.json"),
            &report.to_string(),
        );
    }
}

/// Two operators who may approve, one key, one drill: what a team has done before it goes live.
fn prepared() -> Bench {
    let bench = Bench::new(RICH, RICH_POLICY);
    for name in ["sam", "kim"] {
        let roles = ["--role", "security_responder", "--role", "approver"];
        let (exit, _) = bench.run(&[&["operators", "add", name], &roles[..]].concat());
        assert_eq!(exit, Exit::Success);
    }
    let (exit, _) = bench.run(&[
        "keys",
        "create",
        "--subject",
        "agent",
        "--server",
        "crm",
        "--expires",
        "30d",
        "--owner",
        "sam",
    ]);
    assert_eq!(exit, Exit::Success);
    bench.drill(3);
    bench
}

#[test]
fn what_is_missing_is_told_with_its_remedy() {
    let bench = Bench::new(POOR, POOR_POLICY);
    let (exit, text) = bench.run(&["check", "--readiness"]);
    assert_eq!(exit, Exit::Unready);
    expect_file!["../../golden/readiness_missing.txt"].assert_eq(&text);
    // Looking changes nothing: not even the state directory is made.
    assert!(!bench.0.path().join("state").exists());
}

#[test]
fn what_lacks_nothing_is_ready_and_says_what_stays_open() {
    let (exit, text) = prepared().run(&["check", "--readiness"]);
    expect_file!["../../golden/readiness_ready.txt"].assert_eq(&text);
    assert_eq!(exit, Exit::Success);
}

#[test]
fn machines_get_every_item_with_its_standing() {
    let (exit, json) = prepared().run(&["check", "--readiness", "--output", "json"]);
    assert_eq!(exit, Exit::Success);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["ready"], true);
    let items = report["items"].as_array().unwrap();
    let mut ids: Vec<_> = items
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    for item in items {
        let done = item["standing"] == "done";
        assert_eq!(item["mend"].is_null(), done, "{item}");
        assert!(!item["why"].as_str().unwrap().is_empty(), "{item}");
    }
    let counted = ["done", "missing", "not_knowable", "not_in_this_version"]
        .map(|standing| report[standing].as_u64().unwrap());
    assert_eq!(counted.iter().sum::<u64>(), count as u64);
}

#[test]
fn a_drill_grows_old() {
    let bench = Bench::new(RICH, RICH_POLICY);
    assert_eq!(bench.standing("kill_drill"), "missing");
    bench.drill(91);
    assert_eq!(bench.standing("kill_drill"), "missing");
    bench.drill(89);
    assert_eq!(bench.standing("kill_drill"), "done");
    bench.write("state/drills/drill-0.json", "{");
    assert_eq!(bench.standing("kill_drill"), "not_knowable");
}

#[test]
fn one_operator_is_none_too_many() {
    let bench = Bench::new(RICH, RICH_POLICY);
    let add = |name, role| bench.run(&["operators", "add", name, "--role", role]).0;
    assert_eq!(bench.standing("operators"), "missing");
    assert_eq!(add("sam", "sre"), Exit::Success);
    assert_eq!(add("robin", "auditor"), Exit::Success);
    assert_eq!(bench.standing("operators"), "missing");
    assert_eq!(add("kim", "admin"), Exit::Success);
    assert_eq!(bench.standing("operators"), "done");
}

#[test]
fn keys_have_to_end_and_to_name_servers() {
    let bench = Bench::new(RICH, RICH_POLICY);
    assert_eq!(bench.standing("keys_expire"), "done");
    for words in [["--server", "crm"], ["--expires", "30d"]] {
        let bench = Bench::new(RICH, RICH_POLICY);
        let create = ["keys", "create", "--subject", "a", words[0], words[1]];
        assert_eq!(bench.run(&create).0, Exit::Success);
        assert_eq!(bench.standing("keys_expire"), "missing", "{words:?}");
    }
}

#[test]
fn keys_without_an_owner_are_reported_where_approvers_are_compared() {
    let bench = prepared();
    assert_eq!(bench.standing("approvals_asked"), "done");
    let create = ["keys", "create", "--subject", "other", "--server", "crm"];
    let (exit, _) = bench.run(&[&create[..], &["--expires", "30d"]].concat());
    assert_eq!(exit, Exit::Success);
    assert_eq!(bench.standing("approvals_asked"), "missing");
}

#[test]
fn every_item_is_explained() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/readiness.md");
    let text = fs::read_to_string(path).unwrap();
    for group in super::GROUPS {
        for item in group.items {
            assert!(
                text.contains(&format!("`{}`", item.id)),
                "docs/readiness.md lacks `{}`",
                item.id
            );
        }
    }
}
