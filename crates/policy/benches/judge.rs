//! What a decision costs: input and evaluation together, on the shipped starter policy and on one of twelve rules.

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
        let names: Vec<String> = (0..20).map(|number| format!("tool_{number}")).collect();
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

const SMALL: &str = r#"{"sql": "select id, name from cases where owner = 7", "limit": 50}"#;
const LARGE: &str = r#"{"sql": "select id, name from cases where owner = 7", "limit": 50, "filter": {"state": ["open", "waiting"],
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
    std::fs::write(folder.join("twelve.rego"), TWELVE).unwrap();
    let scene = Scene::new();
    for (name, directory) in [("starter", starter), ("twelve", folder.clone())] {
        let policy = Policy::load(&[directory], &settings).unwrap();
        for (size, arguments) in [("small", SMALL), ("large", LARGE)] {
            let facts = scene.facts(arguments);
            let decision = policy.judge(&facts);
            assert_eq!(decision.effect, Effect::Allow, "{decision:?}");
            criterion.bench_function(&format!("judge/{name}/{size}"), |bencher| {
                bencher.iter(|| black_box(policy.judge(black_box(&facts))));
            });
        }
        let items: Vec<Item<'_>> = scene
            .names
            .iter()
            .zip(&scene.tools)
            .map(|(name, tool)| Subject::Tool {
                name,
                definition: Some(tool),
            })
            .collect();
        let facts = Facts {
            method: "tools/list",
            ..scene.facts(SMALL)
        };
        criterion.bench_function(&format!("visible/{name}/20"), |bencher| {
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

criterion_group!(benches, judge);
criterion_main!(benches);
