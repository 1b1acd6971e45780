//! Rules and data of any text come into force or are refused with a reason, in time; what comes into force answers, and
//! in time. What follows a line `%%` is `data.json`.
#![no_main]

use std::time::{Duration, Instant};

use keepgate_policy::bundle::{BundleSource, archive_of};
use keepgate_policy::{
    CallerFacts, CallerFields, Facts, HistoryFacts, Item, Phase, Policy, RequestFacts, ServerFacts,
    ServerFields, Settings, Source, Sources, Subject, ToolFacts, ToolFields,
};
use libfuzzer_sys::fuzz_target;

/// For a load, and for what it makes ready; one that takes longer is a find.
const LOAD: Duration = Duration::from_secs(6);
/// For one evaluation.
const DECISION: Duration = Duration::from_millis(50);

fuzz_target!(|text: &str| {
    let (rules, data) = text.split_once("\n%%\n").unwrap_or((text, "{}"));
    let Ok(bundle) = archive_of(&[("a.rego", rules), ("data.json", data)]) else {
        return;
    };
    let source = BundleSource::held("b", None);
    source.hold(Some(bundle.into()));
    let sources = Sources {
        platform: vec![Source::Bundle(source.into())],
        ..Sources::default()
    };
    let settings = Settings {
        workers: 1,
        decision_limit: DECISION,
        list_limit: DECISION,
        load_limit: LOAD,
        ..Settings::default()
    };
    let policy = match Policy::load(sources, &settings) {
        Ok(policy) => policy,
        Err(errors) => {
            assert!(!errors.problems.is_empty());
            let late = errors.problems.iter().any(|problem| {
                problem.message.starts_with("not loaded within")
                    || problem.message.starts_with("the parser failed")
            });
            assert!(!late, "{errors}");
            return;
        }
    };
    judge(&policy);
});

/// One call and one list.
fn judge(policy: &Policy) {
    let caller = CallerFacts::new(&CallerFields {
        subject: "alice",
        kind: "user",
        roles: &["support"],
        ..CallerFields::default()
    })
    .expect("a caller");
    let server = ServerFacts::new(&ServerFields {
        name: "crm",
        ..ServerFields::default()
    });
    let tool = ToolFacts::new(&ToolFields {
        name: "query",
        ..ToolFields::default()
    })
    .expect("a tool");
    let facts = Facts {
        phase: Phase::Call,
        caller: &caller,
        server: &server,
        client: None,
        session: None,
        tenant: "default",
        method: "tools/call",
        subject: Subject::Tool {
            name: "query",
            definition: Some(&tool),
        },
        arguments: Some(r#"{"sql": "select a from b", "n": 3, "s": [1, {"k": "v"}]}"#),
        response: None,
        history: HistoryFacts::NONE,
        approval: None,
        labels: &[],
        id: "",
        request: RequestFacts {
            unix_nanos: 1_795_170_600_000_000_000,
            ip: None,
            size: 10,
            trace: None,
        },
    };
    let started = Instant::now();
    let decision = policy.judge(&facts);
    assert!(!decision.reasons.is_empty());
    let item = Item::Tool {
        name: "query",
        definition: Some(&tool),
    };
    assert_eq!(policy.visible(&facts, &[item]).shown.len(), 1);
    // Twice for the decision and once for the list, with room for one step between two looks at the clock.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}
