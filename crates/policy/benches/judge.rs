//! What a decision costs, input and evaluation together: on the shipped starter policy, on two policies of twelve rules,
//! and on one that looks grants up in its data, of which there are ever more.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use keepgate_policy::{
    CallerFacts, CallerFields, ClientFacts, ClientFields, Effect, Facts, HistoryFacts, Item, Phase,
    Policy, RequestFacts, ServerFacts, ServerFields, SessionFacts, Settings, Subject, ToolFacts,
    ToolFields,
};

/// Twelve rules of the kinds an operator writes: roles, server and tool, arguments, time, network, labels.
const TWELVE: &str = include_str!("twelve.rego");
/// The policy of the benches of the whole gateway.
const REALISTIC: &str = include_str!("../../../benches/policy/realistic/authz.rego");
/// Who may call which tool stands in the data.
const GRANTS: &str = r#"package mcp.authz

allow contains "granted" if input.tool.name in data.grants[input.server.name][input.caller.sub].tools

deny contains {"code": "suspended"} if data.grants[input.server.name][input.caller.sub].suspended
"#;

struct Scene {
    caller: CallerFacts,
    server: ServerFacts,
    client: ClientFacts,
    tool: ToolFacts,
    tools: Vec<ToolFacts>,
    names: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let names: Vec<String> = (0..100).map(|number| format!("tool_{number}")).collect();
        let tool = |name| {
            let annotations =
                Some(r#"{"title": "Query", "readOnlyHint": true, "openWorldHint": false}"#);
            ToolFacts::new(&ToolFields {
                name,
                annotations,
                ..ToolFields::default()
            })
            .unwrap()
        };
        Self {
            caller: CallerFacts::new(&CallerFields {
                subject: "alice@corp.example",
                issuer: "https://idp.example",
                kind: "user",
                roles: &["support", "analyst"],
                groups: &["emea", "crm-users", "staff"],
                scopes: &["mcp:call"],
                claims: Some(r#"{"department": "support", "cost_center": 4711}"#),
                ..CallerFields::default()
            })
            .unwrap(),
            server: ServerFacts::new(&ServerFields {
                name: "crm",
                owner: "crm-team",
                environment: "production",
                trust: "vetted",
                labels: &[("reads", "private"), ("writes", "internal")],
                definition: None,
            }),
            client: ClientFacts::new(&ClientFields {
                id: None,
                name: "agent",
                version: "2.1.0",
            }),
            tool: tool("query_database"),
            tools: names.iter().map(|name| tool(name)).collect(),
            names,
        }
    }

    /// A hundred tools of a list.
    fn items(&self) -> Vec<Item<'_>> {
        let tools = self.names.iter().zip(&self.tools);
        tools
            .map(|(name, tool)| Subject::Tool {
                name,
                definition: Some(tool),
            })
            .collect()
    }

    fn facts<'a>(&'a self, arguments: &'a str) -> Facts<'a> {
        Facts {
            phase: Phase::Call,
            caller: &self.caller,
            server: &self.server,
            client: Some(&self.client),
            session: Some(SessionFacts {
                id: Some("b2f1c5b87f6e4a50a6ff1b8b1a6f5e4d"),
                age_s: Some(310),
                revision: "2025-11-25",
                transport: "http",
                initiated_by: None,
            }),
            tenant: "acme",
            method: "tools/call",
            subject: Subject::Tool {
                name: "query_database",
                definition: Some(&self.tool),
            },
            arguments: Some(arguments),
            response: None,
            history: HistoryFacts::NONE,
            labels: &[],
            approval: None,
            id: "",
            request: RequestFacts {
                unix_nanos: 1_795_170_600_000_000_000,
                ip: Some(std::net::IpAddr::from([10, 0, 0, 1])),
                size: 321,
                trace: None,
            },
        }
    }
}

const SMALL: &str =
    r#"{"database": "crm", "sql": "select id, name from cases where owner = 7", "limit": 50}"#;
const LARGE: &str = r#"{"database": "crm", "sql": "select id, name from cases where owner = 7", "limit": 50, "filter": {"state": ["open", "waiting"],
 "since": "2026-11-01", "tags": [{"key": "region", "value": "emea"}, {"key": "tier", "value": "gold"}], "score": 0.75},
 "columns": ["id", "name", "owner", "state", "opened_at", "closed_at", "priority", "summary", "description", "contact"],
 "comment": "A longer text of the kind an agent writes to say what it is about to do, and why it thinks that it may."}"#;

fn judge(criterion: &mut Criterion) {
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let starter = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/starter");
    let folder = std::env::temp_dir().join(format!("keepgate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [("twelve", TWELVE), ("realistic", REALISTIC)] {
        let directory = folder.join(name);
        std::fs::create_dir_all(&directory).unwrap();
        // The bench of the gateway calls its server so.
        let text = text.replace("\"bench\"", "\"crm\"");
        std::fs::write(directory.join("authz.rego"), text).unwrap();
    }
    let scene = Scene::new();
    let (twelve, realistic) = (folder.join("twelve"), folder.join("realistic"));
    for (name, directory) in [
        ("starter", starter),
        ("twelve", twelve),
        ("realistic", realistic),
    ] {
        let policy = Policy::load(&[directory], &settings).unwrap();
        for (size, arguments) in [("small", SMALL), ("large", LARGE)] {
            let facts = scene.facts(arguments);
            let decision = policy.judge(&facts);
            assert_eq!(decision.effect, Effect::Allow, "{decision:?}");
            criterion.bench_function(&format!("judge/{name}/{size}"), |bencher| {
                bencher.iter(|| black_box(policy.judge(black_box(&facts))));
            });
        }
        let items = scene.items();
        let facts = Facts {
            method: "tools/list",
            ..scene.facts(SMALL)
        };
        criterion.bench_function(&format!("visible/{name}/100"), |bencher| {
            bencher.iter(|| black_box(policy.visible(black_box(&facts), &items)));
        });
        let pass = Facts {
            method: "ping",
            subject: Subject::None,
            ..scene.facts(SMALL)
        };
        criterion.bench_function(&format!("unjudged/{name}"), |bencher| {
            bencher.iter(|| black_box(policy.judge(black_box(&pass))));
        });
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// As many grants as there are callers; the cost of one must not grow with them.
fn grants(criterion: &mut Criterion) {
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let scene = Scene::new();
    for count in [100, 10_000, 100_000] {
        let folder =
            std::env::temp_dir().join(format!("keepgate-bench-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("authz.rego"), GRANTS).unwrap();
        let mut callers: Vec<String> = (0..count)
            .map(|number| format!("\"user{number}@corp.example\":{{\"tools\":[\"get_case\"]}}"))
            .collect();
        callers.push(r#""alice@corp.example":{"tools":["get_case","query_database"]}"#.to_owned());
        let data = format!("{{\"grants\":{{\"crm\":{{{}}}}}}}", callers.join(","));
        std::fs::write(folder.join("data.json"), data).unwrap();
        let policy = Policy::load(std::slice::from_ref(&folder), &settings).unwrap();
        let facts = scene.facts(SMALL);
        let decision = policy.judge(&facts);
        assert_eq!(decision.effect, Effect::Allow, "{decision:?}");
        criterion.bench_function(&format!("grants/{count}"), |bencher| {
            bencher.iter(|| black_box(policy.judge(black_box(&facts))));
        });
        let items = scene.items();
        criterion.bench_function(&format!("grants/{count}/visible/100"), |bencher| {
            bencher.iter(|| black_box(policy.visible(black_box(&facts), &items)));
        });
        std::fs::remove_dir_all(folder).unwrap();
    }
}

criterion_group!(benches, judge, grants);
criterion_main!(benches);
