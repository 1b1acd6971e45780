//! Records that are shared, and that whatever is refused is on record or counted.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use keepgate_audit::{Kind, Log, Reader, Repeat, Scope, Settings, Start, find};
use keepgate_authn::AuthnError;
use keepgate_call::{Caller, CallerKind, Code, DecisionId, Proof, ServerName, Tenant};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    GROUPS_MOST, MINUTE, NAMES_UNIT, OPENED_MOST, OWN_MOST, Refusals, Refused, WITHIN, Written,
    shares_at_once,
};
use crate::layers::audit::describe::Names;

/// A log, and what is handed out.
struct Bench {
    directory: TempDir,
    log: Log,
    refusals: Refusals,
    server: ServerName,
    start: Instant,
    ids: u128,
    handed_out: Vec<DecisionId>,
    firsts: u64,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(Settings::new(directory.path(), "keepgate.test/log", "test")).unwrap();
        Self {
            refusals: Refusals::new(&log),
            directory,
            log,
            server: ServerName::parse("up").unwrap(),
            start: Instant::now(),
            ids: 0,
            handed_out: Vec::new(),
            firsts: 0,
        }
    }

    /// One refusal after `after`, by the way the layer goes: note, then write what is to be written.
    fn refuse(&mut self, caller: &Arc<Caller>, code: Code, tool: &str, after: Duration) -> Written {
        let refused = Refused {
            kind: Kind::CallRefused,
            caller: Some(caller),
            session: None,
            server: Some(&self.server),
            method: Some("tools/call"),
            names: Names {
                tool: Some(tool),
                ..Names::default()
            },
            code: code.as_str(),
            at_once: shares_at_once(code),
            rule: None,
            key: None,
            source: None,
        };
        self.ids += 1;
        let id = DecisionId::new(0, self.ids);
        let written = self
            .refusals
            .note_at(refused, id, SystemTime::now(), self.start + after);
        let mut record = keepgate_audit::Record::new(Kind::CallRefused, SystemTime::now());
        record.decision_id = Some(id.as_str());
        match written {
            Written::Own => {}
            Written::First(repeat) => record.repeat = Some(repeat),
            Written::Counted(id) | Written::Cause { answered: id, .. } => {
                self.handed_out.push(id);
                return written;
            }
        }
        self.firsts += 1;
        self.handed_out.push(id);
        self.log.post(&record);
        written
    }

    /// Ends in order; every id must find its record, and the counts must add up. Gives the records by kind.
    fn end(self) -> HashMap<String, usize> {
        self.refusals.close();
        self.log.close();
        let mut kinds = HashMap::new();
        let mut counted = 0;
        let mut reader = Reader::open(self.directory.path(), Start::Index(0)).unwrap();
        while let Some(entry) = reader.next_entry().unwrap() {
            let record: Value = serde_json::from_str(&entry.json).unwrap();
            let kind = record["kind"].as_str().unwrap().to_owned();
            counted += record["repeat"]["count"].as_u64().unwrap_or_default();
            *kinds.entry(kind).or_default() += 1;
        }
        assert_eq!(counted + self.firsts, self.handed_out.len() as u64);
        for id in self
            .handed_out
            .iter()
            .step_by(self.handed_out.len() / 200 + 1)
        {
            assert!(
                !find(self.directory.path(), id.as_str()).unwrap().is_empty(),
                "{id}"
            );
        }
        kinds
    }
}

fn caller(name: &str) -> Arc<Caller> {
    let proof = Proof::new(Tenant::default(), CallerKind::Machine, name);
    Arc::new(Caller::new(proof))
}

const NOW: Duration = Duration::ZERO;

#[test]
fn limits_share_a_record_at_once_and_denials_after_sixty_a_minute() {
    let table = [
        (Code::RateLimited, 0),
        (Code::ConcurrencyLimited, 0),
        (Code::SessionLimit, 0),
        (Code::SessionSuspended, 0),
        (Code::SessionUnknown, 0),
        (Code::UpstreamCircuitOpen, 0),
        (Code::PolicyDenied, OWN_MOST),
        (Code::Killed, OWN_MOST),
        (Code::NotFound, OWN_MOST),
        (Code::ParamsInvalid, OWN_MOST),
    ];
    for (code, own) in table {
        let mut bench = Bench::new();
        let caller = caller("a");
        for number in 0..own {
            let written = bench.refuse(&caller, code, "echo", NOW);
            assert_eq!(written, Written::Own, "{code} {number}");
        }
        let first = bench.refuse(&caller, code, "echo", NOW);
        let opened = Repeat::Opened {
            within: WITHIN,
            scope: Scope::Equal,
        };
        assert_eq!(first, Written::First(opened), "{code}");
        let id = *bench.handed_out.last().unwrap();
        for number in 1..1_000 {
            let written = bench.refuse(&caller, code, "echo", NOW);
            assert_eq!(written, Written::Counted(id.repeat(number)), "{code}");
        }
        // A minute later each has its own again, where it had one.
        let later = bench.refuse(&caller, code, "echo", MINUTE);
        assert_eq!(later == Written::Own, own > 0, "{code}");
        let kinds = bench.end();
        assert_eq!(
            kinds["call.refused"],
            usize::try_from(own).unwrap() + 2,
            "{code}"
        );
        assert_eq!(kinds["record.repeated"], 1, "{code}");
    }
}

#[test]
fn what_differs_is_counted_apart() {
    let mut bench = Bench::new();
    let (a, b) = (caller("a"), caller("b"));
    for (caller, code, tool) in [
        (&a, Code::RateLimited, "echo"),
        (&b, Code::RateLimited, "echo"),
        (&a, Code::SessionLimit, "echo"),
        (&a, Code::RateLimited, "other"),
    ] {
        for number in 0..3 {
            let written = bench.refuse(caller, code, tool, NOW);
            assert_eq!(
                matches!(written, Written::First(_)),
                number == 0,
                "{code} {tool}"
            );
        }
    }
    assert_eq!(bench.end()["record.repeated"], 4);
}

#[test]
fn a_count_ends_with_its_time_and_is_written() {
    let mut bench = Bench::new();
    let caller = caller("a");
    bench.refuse(&caller, Code::RateLimited, "echo", NOW);
    bench.refuse(
        &caller,
        Code::RateLimited,
        "echo",
        WITHIN - Duration::from_millis(1),
    );
    let next = bench.refuse(&caller, Code::RateLimited, "echo", WITHIN);
    assert!(matches!(next, Written::First(_)));
    let kinds = bench.end();
    assert_eq!((kinds["call.refused"], kinds["record.repeated"]), (2, 1));
}

/// No caller writes more for being inventive: with other names, with long ones, or in another's name.
#[test]
fn records_are_bounded_whatever_is_refused() {
    let long = "x".repeat(60 * NAMES_UNIT);
    let many = 40_000;
    let names: [&dyn Fn(u32) -> String; 3] = [
        &|_| "echo".to_owned(),
        &|number| format!("tool-{number}"),
        &|number| format!("{number}{long}"),
    ];
    for (case, name) in names.iter().enumerate() {
        for code in [Code::RateLimited, Code::PolicyDenied, Code::NotFound] {
            let mut bench = Bench::new();
            let caller = caller("a");
            let many = if case == 2 { many / 100 } else { many };
            for number in 0..many {
                bench.refuse(&caller, code, &name(number), NOW);
            }
            let kinds = bench.end();
            let most = usize::try_from(OWN_MOST + OPENED_MOST + 1).unwrap();
            assert!(kinds["call.refused"] <= most, "{case} {code} {kinds:?}");
            if case == 2 {
                assert!(kinds["call.refused"] <= 3, "{code} {kinds:?}");
            }
            assert!(kinds["record.repeated"] <= most, "{case} {code} {kinds:?}");
        }
    }
    let mut bench = Bench::new();
    for number in 0..20_000 {
        bench.refuse(&caller(&number.to_string()), Code::RateLimited, "echo", NOW);
        bench.refuse(
            &caller(&number.to_string()),
            Code::PolicyDenied,
            "echo",
            NOW,
        );
    }
    let groups: usize = bench
        .refusals
        .tables
        .iter()
        .map(|table| super::locked(table).groups.len())
        .sum();
    assert!(groups <= GROUPS_MOST, "{groups}");
    // Beside the denials that callers who are remembered have of their own.
    let most = GROUPS_MOST + super::CALLERS_MOST + 2;
    assert!(bench.end()["call.refused"] <= most);
}

#[test]
fn the_door_counts_every_request() {
    let mut bench = Bench::new();
    for number in 0..10_000_u32 {
        let source = std::net::Ipv4Addr::from(number).into();
        let refused = Refused::request(Code::AuthnMissing, Some(source), None);
        let id = DecisionId::new(1, u128::from(number));
        if let Written::First(_) = bench.refusals.note(refused, id, SystemTime::now()) {
            bench.firsts += 1;
        }
        bench.handed_out.push(id);
    }
    assert!(bench.firsts <= u64::from(OPENED_MOST) + 1);
    bench.handed_out.clear();
    let firsts = std::mem::take(&mut bench.firsts);
    bench.refusals.close();
    bench.log.close();
    let mut reader = Reader::open(bench.directory.path(), Start::Index(0)).unwrap();
    let mut counted = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        let record: Value = serde_json::from_str(&entry.json).unwrap();
        counted += record["repeat"]["count"].as_u64().unwrap_or_default();
    }
    assert_eq!(firsts + counted, 10_000);
}

#[test]
fn ids_of_rejections_do_not_depend_on_their_cause_and_each_cause_has_a_record() {
    let source = Some(std::net::Ipv4Addr::LOCALHOST.into());
    // What a stranger sees of three tries: whichever credentials they are of.
    for causes in [
        [
            AuthnError::Invalid,
            AuthnError::Invalid,
            AuthnError::Invalid,
        ],
        [
            AuthnError::Missing,
            AuthnError::Invalid,
            AuthnError::Missing,
        ],
        [
            AuthnError::Invalid,
            AuthnError::Missing,
            AuthnError::Missing,
        ],
    ] {
        let bench = Bench::new();
        let mut records = 0;
        let mut seen = Vec::new();
        for (number, cause) in causes.iter().enumerate() {
            let refused = Refused::request(Code::AuthnInvalid, source, Some(cause));
            let id = DecisionId::new(1, number as u128);
            let (answered, record) = match bench.refusals.note(refused, id, SystemTime::now()) {
                Written::Own | Written::First(_) => (id, Some(id)),
                Written::Counted(answered) => (answered, None),
                Written::Cause {
                    answered, first, ..
                } => (answered, Some(first)),
            };
            records += usize::from(record.is_some());
            assert!(record.is_none_or(|record| record == DecisionId::new(1, 0)));
            seen.push(answered);
        }
        let first = DecisionId::new(1, 0);
        assert_eq!(seen, [first, first.repeat(1), first.repeat(2)]);
        let different = causes.iter().map(AuthnError::code);
        assert_eq!(
            records,
            different.collect::<std::collections::HashSet<_>>().len()
        );
    }
}

#[test]
fn after_the_end_each_has_its_own() {
    let mut bench = Bench::new();
    let caller = caller("a");
    bench.refuse(&caller, Code::RateLimited, "echo", NOW);
    bench.refuse(&caller, Code::RateLimited, "echo", NOW);
    bench.refusals.close();
    let written = bench.refuse(&caller, Code::RateLimited, "echo", NOW);
    assert_eq!(written, Written::Own);
    assert_eq!(bench.end()["record.repeated"], 1);
}
