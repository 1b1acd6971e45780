//! Judging with small policies.

use std::path::PathBuf;
use std::time::Duration;

mod approved;
mod definition;
mod fuzzed;
mod layers;
mod obliged;
mod phases;
mod swap;

use super::*;
use crate::facts::{
    CallerFacts, CallerFields, CompletionKind, HistoryFacts, Phase, RequestFacts, ResourceFacts,
    ServerFacts, ServerFields, Subject, ToolFacts, ToolFields,
};

/// A folder with files, gone when dropped.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// Few evaluators, and limits a busy machine does not reach.
pub(crate) fn settings() -> Settings {
    let limit = Duration::from_secs(20);
    Settings {
        workers: 1,
        decision_limit: limit,
        list_limit: limit,
        load_limit: 3 * limit,
        ..Settings::default()
    }
}

pub(crate) fn policy(text: &str) -> Policy {
    let folder = folder(&[("policy.rego", text)]);
    match Policy::load(&[folder.path().to_owned()], &settings()) {
        Ok(policy) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

pub(crate) fn starter() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/starter")
}

pub(crate) fn caller(roles: &[&str]) -> CallerFacts {
    CallerFacts::new(&CallerFields {
        subject: "alice",
        kind: "user",
        roles,
        ..CallerFields::default()
    })
    .unwrap()
}

pub(crate) fn server(name: &str) -> ServerFacts {
    ServerFacts::new(&ServerFields {
        name,
        ..ServerFields::default()
    })
}

pub(crate) fn facts<'a>(
    caller: &'a CallerFacts,
    server: &'a ServerFacts,
    tool: &'a str,
) -> Facts<'a> {
    Facts {
        phase: Phase::Call,
        caller,
        server,
        client: None,
        session: None,
        tenant: "",
        method: "tools/call",
        subject: Subject::Tool {
            name: tool,
            definition: None,
        },
        arguments: None,
        response: None,
        history: HistoryFacts::NONE,
        labels: &[],
        approval: None,
        id: "",
        request: RequestFacts {
            unix_nanos: 1_763_618_690_000_000_000,
            ip: None,
            size: 321,
            trace: None,
        },
    }
}

pub(crate) fn codes(decision: &Decision) -> String {
    let codes: Vec<&str> = decision
        .reasons
        .iter()
        .map(|reason| &*reason.code)
        .collect();
    let effect = match &decision.effect {
        Effect::Allow => "allow",
        Effect::Approve(_) => "approve",
        Effect::Deny => "deny",
    };
    format!("{effect} {}", codes.join(" "))
}

/// Judges a call of `tool` with `arguments` under a policy of one file.
fn judged(text: &str, tool: &str, arguments: &str) -> String {
    let (caller, server) = (caller(&["support"]), server("crm"));
    codes(&policy(text).judge(&Facts {
        arguments: Some(arguments),
        ..facts(&caller, &server, tool)
    }))
}

const DESIGN: &str = r#"package mcp.authz
allow contains "support reads cases" if {
    "support" in input.caller.roles
    input.server.name == "crm"
    input.tool.name in {"search_cases", "query_database"}
}
deny contains {"code": "sql_not_select", "message": "only SELECT is allowed"} if {
    input.tool.name == "query_database"
    not reads
}
reads if startswith(lower(input.arguments.sql), "select")
approve contains {"code": "destructive", "approvers": ["group:crm-leads"], "quorum": 2, "ttl": "15m"} if {
    input.tool.name == "delete_account"
}
"#;

#[test]
fn the_contract_holds() {
    assert_eq!(judged(DESIGN, "search_cases", "{}"), "allow allowed");
    assert_eq!(
        judged(DESIGN, "query_database", r#"{"sql": "SELECT 1"}"#),
        "allow allowed"
    );
    assert_eq!(
        judged(DESIGN, "query_database", r#"{"sql": "drop table x"}"#),
        "deny sql_not_select"
    );
    assert_eq!(
        judged(DESIGN, "query_database", "{}"),
        "deny sql_not_select"
    );
    assert_eq!(
        judged(DESIGN, "delete_account", "{}"),
        "approve destructive"
    );
    assert_eq!(judged(DESIGN, "other", "{}"), "deny no_rule");
    // A wrong type must not slip through the `not`: OPA's own default would let it.
    assert_eq!(
        judged(DESIGN, "query_database", r#"{"sql": 5}"#),
        "deny policy_error"
    );
}

#[test]
fn an_approval_carries_what_the_rule_asked() {
    let (caller, server) = (caller(&[]), server("crm"));
    let decision = policy(DESIGN).judge(&facts(&caller, &server, "delete_account"));
    let Effect::Approve(approval) = decision.effect else {
        panic!("{decision:?}")
    };
    assert_eq!(approval.approvers, ["group:crm-leads".into()]);
    assert_eq!(
        (approval.quorum, approval.ttl),
        (2, Some(Duration::from_secs(900)))
    );
}

#[test]
fn the_starter_judges() {
    let policy =
        Policy::load(&[starter()], &settings()).unwrap_or_else(|errors| panic!("{errors}"));
    let (caller, server) = (caller(&["analyst"]), server("crm"));
    let call = facts(&caller, &server, "query_database");
    let sql = |text| {
        codes(&policy.judge(&Facts {
            arguments: Some(text),
            ..call
        }))
    };
    assert_eq!(sql(r#"{"sql": "select name from cases"}"#), "allow allowed");
    assert_eq!(
        sql(r#"{"sql": "delete from cases"}"#),
        "deny sql_not_select"
    );
    assert_eq!(
        sql(r#"{"sql": "select pg_read_file('/etc/passwd')"}"#),
        "deny sql_not_select"
    );
}

/// The first policy of the README, as it stands there.
fn first() -> Policy {
    let readme = include_str!("../../../../README.md");
    let (_, rest) = readme.split_once("```rego\n").unwrap();
    policy(rest.split_once("```").unwrap().0)
}

#[test]
fn the_first_policy_of_the_readme_refuses_what_it_does_not_understand() {
    let policy = first();
    let (caller, server) = (caller(&[]), server("files"));
    let read = |arguments| {
        codes(&policy.judge(&Facts {
            arguments: Some(arguments),
            ..facts(&caller, &server, "read_text_file")
        }))
    };
    for honest in [
        r#"{"path": "/srv/docs/a.md"}"#,
        r#"{"path": "a..b/c", "head": 5}"#,
    ] {
        assert_eq!(read(honest), "allow allowed", "{honest}");
    }
    for (arguments, code) in [
        ("{}", "path_hidden"),
        (r#"{"path": null}"#, "path_hidden"),
        (r#"{"path": ["/srv/docs/.env"]}"#, "path_hidden"),
        (r#"{"path": {"path": "a"}}"#, "path_hidden"),
        (r#"{"path": "/srv/docs/.env"}"#, "path_hidden"),
        (r#"{"path": "/srv/docs/ .env"}"#, "path_hidden"),
        (r#"{"path": "../etc/passwd"}"#, "path_hidden"),
        (r#"{"path": "~/x"}"#, "path_hidden"),
        (
            r#"{"path": "a", "PATH": "/srv/docs/.env"}"#,
            "argument_unknown",
        ),
        (
            r#"{"path": "a", "paths": ["/srv/docs/.env"]}"#,
            "argument_unknown",
        ),
    ] {
        assert_eq!(read(arguments), format!("deny {code}"), "{arguments}");
    }
}

const LISTED: &str = r#"package mcp.authz
allow contains "plain" if input.tool.name == "plain"
allow contains "with arguments" if {
    input.tool.name == "argued"
    input.arguments.x == 1
}
allow contains "through a helper" if {
    input.tool.name == "helped"
    not bad
}
bad if input.arguments.x == 2
deny contains "not one" if {
    input.tool.name == "plain"
    not input.arguments.x == 1
}
deny contains "never" if input.tool.name == "denied"
approve contains "ask" if input.tool.name == "asked"
visible contains "shown" if input.tool.name in {"argued", "denied", "shown"}
"#;

#[test]
fn lists_show_what_may_be_called() {
    let policy = policy(LISTED);
    let (caller, server) = (caller(&[]), server("s"));
    let facts = facts(&caller, &server, "");
    let shown = |name| {
        let tool = Subject::Tool {
            name,
            definition: None,
        };
        let visible = policy.visible(&facts, &[tool]);
        assert_eq!(visible.failure, None);
        visible.shown[0]
    };
    assert!(
        shown("plain"),
        "a refusal that depends on arguments does not hide"
    );
    assert!(shown("argued"), "`visible` shows what only arguments allow");
    assert!(
        !shown("helped"),
        "a rule that reads arguments through a helper does not hold, not even through `not`"
    );
    assert!(!shown("denied"), "deny beats visible");
    assert!(shown("asked"));
    assert!(shown("shown"));
    assert!(!shown("other"));
    let call = |name, arguments| {
        let subject = Subject::Tool {
            name,
            definition: None,
        };
        codes(&policy.judge(&Facts {
            subject,
            arguments: Some(arguments),
            ..facts
        }))
    };
    assert_eq!(call("plain", "{}"), "deny denied");
    assert_eq!(call("plain", r#"{"x": 1}"#), "allow allowed");
    assert_eq!(call("argued", r#"{"x": 1}"#), "allow allowed");
    assert_eq!(call("helped", r#"{"x": 2}"#), "deny no_rule");
    assert_eq!(
        call("shown", "{}"),
        "deny no_rule",
        "`visible` allows nothing"
    );
}

#[test]
fn a_list_keeps_its_order_and_shows_nothing_when_a_rule_fails() {
    let policy = policy(
        "package mcp.authz\nallow contains \"a\" if input.tool.name in {\"a\", \"c\", \"5\"}\n\
         deny contains \"b\" if lower(input.tool.annotations.x) == \"x\"\n",
    );
    let (caller, server) = (caller(&[]), server("s"));
    let facts = facts(&caller, &server, "");
    let tool = |name| Subject::Tool {
        name,
        definition: None,
    };
    let visible = policy.visible(&facts, &[tool("a"), tool("b"), tool("c")]);
    assert_eq!(
        (visible.shown, visible.failure),
        (vec![true, false, true], None)
    );
    let broken = ToolFields {
        name: "5",
        annotations: Some(r#"{"x": 5}"#),
        ..ToolFields::default()
    };
    let broken = ToolFacts::new(&broken).unwrap();
    let items = [
        tool("a"),
        Subject::Tool {
            name: "5",
            definition: Some(&broken),
        },
    ];
    let visible = policy.visible(&facts, &items);
    assert_eq!(visible.shown, [false, false]);
    assert_eq!(
        visible.failure.map(|reason| reason.code),
        Some(Reason::POLICY_ERROR.into())
    );
    assert_eq!(policy.visible(&facts, &[]).shown, Vec::<bool>::new());
}

#[test]
fn side_doors_are_judged_as_the_front() {
    let policy = policy(
        "package mcp.authz\nallow contains \"all\" if input.resource\nallow contains \"prompts\" if input.prompt\n\
         deny contains \"secret\" if \"secret\" in input.resource.path\ndeny contains \"hush\" if input.prompt.name == \"hush\"\n",
    );
    let (caller, server) = (caller(&[]), server("s"));
    let resource = |path| ResourceFacts {
        uri: "file:///x",
        scheme: "file",
        authority: None,
        host: None,
        port: None,
        path,
        template: false,
    };
    let judged = |method, subject| {
        codes(&policy.judge(&Facts {
            method,
            subject,
            ..facts(&caller, &server, "")
        }))
    };
    let complete = |of| Subject::Completion {
        of,
        argument: "a",
        value: "v",
    };
    for method in ["resources/read", "resources/subscribe"] {
        assert_eq!(
            judged(method, Subject::Resource(resource(&["open"]))),
            "allow allowed"
        );
        assert_eq!(
            judged(method, Subject::Resource(resource(&["secret"]))),
            "deny denied"
        );
    }
    let open = CompletionKind::Resource(resource(&["open"]));
    assert_eq!(
        judged("completion/complete", complete(open)),
        "allow allowed"
    );
    let secret = CompletionKind::Resource(resource(&["secret"]));
    assert_eq!(
        judged("completion/complete", complete(secret)),
        "deny denied"
    );
    assert_eq!(
        judged(
            "completion/complete",
            complete(CompletionKind::Prompt("hush"))
        ),
        "deny denied"
    );
    assert_eq!(
        judged(
            "completion/complete",
            complete(CompletionKind::Prompt("other"))
        ),
        "allow allowed"
    );
}

#[test]
fn the_protocol_itself_passes_and_unknown_methods_do_not() {
    let policy = policy("package mcp.authz\ndeny contains \"all\" if true\n");
    let (caller, server) = (caller(&[]), server("s"));
    let judged = |phase, method| {
        codes(&policy.judge(&Facts {
            phase,
            method,
            subject: Subject::None,
            ..facts(&caller, &server, "")
        }))
    };
    assert_eq!(judged(Phase::Call, "ping"), "allow protocol");
    assert_eq!(judged(Phase::Call, "initialize"), "allow protocol");
    assert_eq!(judged(Phase::Call, "vendor/x"), "deny denied");
    assert_eq!(
        judged(Phase::ServerRequest, "sampling/createMessage"),
        "deny denied"
    );
}

#[test]
fn what_the_server_asks_is_judged() {
    let policy = policy(
        "package mcp.authz\nallow contains \"forms\" if {\n input.phase == \"server_request\"\n \
         input.method == \"elicitation/create\"\n input.params.mode == \"form\"\n}\n",
    );
    let (caller, server) = (caller(&[]), server("s"));
    let judged = |method, params| {
        let subject = Subject::ServerRequest {
            params: Some(params),
        };
        let facts = Facts {
            phase: Phase::ServerRequest,
            method,
            subject,
            ..facts(&caller, &server, "")
        };
        codes(&policy.judge(&facts))
    };
    assert_eq!(
        judged("elicitation/create", r#"{"mode": "form"}"#),
        "allow allowed"
    );
    assert_eq!(
        judged("elicitation/create", r#"{"mode": "url"}"#),
        "deny no_rule"
    );
    assert_eq!(judged("roots/list", "{}"), "deny no_rule");
    assert_eq!(judged("elicitation/create", "{"), "deny policy_error");
}

#[test]
fn obligations_are_never_dropped() {
    let with = |rule: &str| {
        judged(
            &format!(
                "package mcp.authz\nallow contains \"x\" if input.tool.name == \"t\"\n{rule}\n"
            ),
            "t",
            "{}",
        )
    };
    assert_eq!(with(""), "allow allowed");
    assert_eq!(
        with("redact contains entry if some entry in [{\"results\": \"/a\"}]"),
        "deny policy_invalid_result"
    );
    assert_eq!(
        with("redact contains {\"result\": \"/a\"} if input.tool.name == \"other\""),
        "allow allowed"
    );
    assert_eq!(
        with("notify contains entry if some entry in [\"#sec\"]"),
        "deny policy_invalid_result"
    );
    assert_eq!(
        with("set_arguments contains lower(5) if input.tool"),
        "deny policy_error"
    );
}

#[test]
fn answers_of_unknown_shape_refuse() {
    let deny = |entry: &str| {
        let text = format!(
            "package mcp.authz\nallow contains \"x\" if input.tool\ndeny contains {entry} if input.tool\n"
        );
        judged(&text, "t", "{}")
    };
    assert_eq!(deny("{\"code\": \"mine\"}"), "deny mine");
    // What is written out is refused when it is loaded; what is made up when it is judged.
    assert_eq!(deny("4 + 1"), "deny policy_invalid_result");
    let made = |entry: &str| format!("object.union({entry}, {{}})");
    assert_eq!(
        deny(&made("{\"cod\": \"mine\"}")),
        "deny policy_invalid_result"
    );
    let allow = &format!(
        "package mcp.authz\nallow contains {} if input.tool\n",
        made("{\"code\": \"x\", \"unless\": \"y\"}")
    );
    assert_eq!(judged(allow, "t", "{}"), "deny policy_invalid_result");
}

#[test]
fn evaluation_is_bounded_in_time() {
    let text = "package mcp.authz\nallow contains \"slow\" if {\n some a in numbers.range(1, 9999)\n \
                some b in numbers.range(1, 9999)\n some c in numbers.range(1, 9999)\n a + b + c == 1\n}\n";
    let folder = folder(&[("a.rego", text)]);
    let limit = Duration::from_millis(50);
    let settings = Settings {
        workers: 1,
        decision_limit: limit,
        list_limit: limit,
        ..Settings::default()
    };
    let policy = Policy::load(&[folder.path().to_owned()], &settings).unwrap();
    let (caller, server) = (caller(&[]), server("s"));
    let facts = facts(&caller, &server, "t");
    let decision = policy.judge(&facts);
    assert_eq!(codes(&decision), "deny policy_timeout");
    // Unbounded it would take days; how late the limit is noticed depends on what else the machine does.
    assert!(
        decision.elapsed < Duration::from_secs(60),
        "{:?}",
        decision.elapsed
    );
    let visible = policy.visible(&facts, &[facts.subject, facts.subject]);
    assert_eq!(visible.shown, [false, false]);
    assert_eq!(
        visible.failure.map(|reason| reason.code),
        Some(Reason::POLICY_TIMEOUT.into())
    );
}

#[test]
fn an_empty_policy_refuses() {
    assert_eq!(judged("package mcp.authz\n", "t", "{}"), "deny no_rule");
    assert_eq!(judged("package other\nx := 1\n", "t", "{}"), "deny no_rule");
}

#[test]
fn deep_calls_and_deep_arguments_fit_the_stack_of_a_worker() {
    let chain: String = (1..24)
        .map(|n| format!("f{n}(x) := f{}([[[[x]]]])\n", n + 1))
        .collect();
    let text = format!(
        "package mcp.authz\nallow contains \"x\" if count(f1(input.arguments)) == 1\n{chain}f24(x) := x\n"
    );
    let arguments = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let policy = policy(&text);
    let run = || {
        let (caller, server) = (caller(&[]), server("s"));
        codes(&policy.judge(&Facts {
            arguments: Some(&arguments),
            ..facts(&caller, &server, "t")
        }))
    };
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        assert_eq!(
            worker.spawn_scoped(scope, run).unwrap().join().unwrap(),
            "allow allowed"
        );
    });
}

#[test]
fn the_most_iterations_and_the_longest_chains_fit_the_stack_of_a_worker() {
    let loops: String = (0..30)
        .map(|n| format!("some a{n} in input.arguments\n"))
        .collect();
    let chain: String = (1..30)
        .map(|n| format!("f{n}(x) := y if {{\n{loops}y := f{}(x)\n}}\n", n + 1))
        .collect();
    let text =
        format!("package mcp.authz\nallow contains \"x\" if f1(1) == 1\n{chain}f30(x) := x\n");
    let policy = policy(&text);
    let run = || {
        let (caller, server) = (caller(&[]), server("s"));
        codes(&policy.judge(&Facts {
            arguments: Some("[1]"),
            ..facts(&caller, &server, "t")
        }))
    };
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        assert_eq!(
            worker.spawn_scoped(scope, run).unwrap().join().unwrap(),
            "allow allowed"
        );
    });
}

/// What the library says in Rego is what `judge` does.
#[test]
fn judging_agrees_with_the_shipped_library() {
    let text = |allow: &str, approve: &str, deny: &str| {
        format!(
            "package mcp.authz\nallow contains \"a\" if {allow}\napprove contains \"b\" if {approve}\n\
             deny contains \"c\" if {deny}\nvisible contains \"d\" if false\n"
        )
    };
    for case in 0..8_u8 {
        // A condition that can be seen to hold always is refused.
        let on = |bit: u8| {
            if case & bit == 0 {
                "false"
            } else {
                "count([1]) == 1"
            }
        };
        let text = text(on(1), on(2), on(4));
        let judged = judged(&text, "t", "{}");
        let mut engine = crate::engine::bare().unwrap();
        engine.add_policy("a.rego".to_owned(), text).unwrap();
        engine
            .add_policy("library.rego".to_owned(), load::files::LIBRARY.to_owned())
            .unwrap();
        let decision = engine
            .eval_rule("data.mcp.decision.decision".to_owned())
            .unwrap();
        let effect = decision["effect"].as_string().unwrap();
        assert_eq!(judged.split(' ').next(), Some(&**effect), "{case}");
    }
}
