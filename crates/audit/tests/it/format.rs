//! The record format is a contract: `tests/golden/records.jsonl` shows every member, one record a line.
//! `UPDATE=1` writes the file anew; a change is a new version of the format.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use keepgate_audit::{
    Caller, Client, Credential, Decision, Kind, Log, Outcome, Reader, Reason, Record, Repeat,
    Scope, Shadow, Start, Status, find,
};

use super::{at, check, settings};

fn full<'a>(reasons: &'a [Reason<'a>], source: IpAddr) -> Record<'a> {
    Record {
        decision_id: Some("0f8e7c1a"),
        session_id: Some("b3:session"),
        tenant: Some("acme"),
        caller: Some(Caller {
            kind: "key",
            user_id: "local:ci",
            key_id: Some("k-17"),
            issuer: Some("https://idp.example"),
            client_id: Some("app"),
        }),
        client: Some(Client {
            name: "agent \"Ä\"",
            version: "1.2.3",
        }),
        credential: Some(Credential {
            reference: "vault:database/creds/crm#password",
            lease_id: Some("b3:lease"),
            fault: Some("vault_sealed"),
            masked: Some(2),
        }),
        source: Some(source),
        initiated_by: Some("agent"),
        server: Some("files"),
        method: Some("tools/call"),
        tool_name: Some("read_file"),
        undeclared: &[Cow::Borrowed("toolCallId")],
        resource: Some("file:///srv/docs/a\u{1}b\tc"),
        prompt: Some("summary"),
        protocol_version: Some("2026-07-28"),
        args_digest: Some("b3:arguments"),
        input_params: Some(r#"{"path":"/srv/docs/a.txt","n":12345678901234567890}"#),
        request_bytes: Some(312),
        decision: Some(Decision::Allow),
        policy_rev: Some("sha256:77"),
        reasons,
        refusal: None,
        result: None,
        shadow: Some(Shadow {
            would: "would_deny",
            codes: "sql_not_select closed",
            policy_rev: "sha256:78",
        }),
        ..Record::new(Kind::CallIntent, at(0) + Duration::from_micros(42))
    }
}

fn write_samples(log: &Log) {
    let source: IpAddr = "2001:db8::7".parse().unwrap();
    let reasons = [
        Reason {
            code: "reads_docs",
            message: "support reads documents",
        },
        Reason {
            code: "bare",
            message: "",
        },
    ];
    let intent = full(&reasons, source);
    let rest = Record {
        decision_id: intent.decision_id,
        ..Record::new(Kind::CallOpen, at(1))
    };
    let result = Outcome {
        status: Status::ToolError,
        http_status: Some(200),
        bytes: Some(u64::MAX),
        upstream: Some(Duration::from_micros(12_900)),
        result_digest: Some("b3:result"),
        records: Some(3),
        keys: &[Cow::Borrowed("content"), Cow::Borrowed("isError")],
        output: Some("{\"content\":[]}"),
        redacted: Some(2),
        records_cut: Some(7),
    };
    let refused = Record {
        decision_id: Some("1a2b"),
        decision: Some(Decision::Deny),
        refusal: Some("policy.denied"),
        source: Some("192.0.2.1".parse().unwrap()),
        repeat: Some(Repeat::Opened {
            within: Duration::from_secs(10),
            scope: Scope::Equal,
        }),
        ..Record::new(Kind::CallRefused, at(3))
    };
    let repeated = Record {
        decision_id: refused.decision_id,
        refusal: refused.refusal,
        repeat: Some(Repeat::Counted {
            count: 39_999,
            first: at(3) + Duration::from_micros(7),
            last: at(12),
            scope: Scope::Caller,
        }),
        ..Record::new(Kind::RecordRepeated, at(13))
    };
    for record in [
        intent,
        rest,
        Record {
            credential: Some(Credential {
                reference: "file:/run/secrets/id vault:database/creds/crm#password",
                lease_id: Some("- b3:lease"),
                fault: None,
                masked: Some(1),
            }),
            result: Some(result),
            ..Record::new(Kind::CallOutcome, at(2))
        },
        refused,
        repeated,
    ] {
        let record = Record {
            decision_id: record.decision_id.or(Some("0f8e7c1a")),
            ..record
        };
        log.append(&record).wait().unwrap();
    }
    for &kind in Kind::ALL {
        let own = [
            Kind::LogOpened,
            Kind::LogClosed,
            Kind::LogLoss,
            Kind::CallOpen,
            Kind::CallOutcome,
        ];
        if !own.contains(&kind) {
            log.append(&Record {
                decision_id: Some("kinds"),
                ..Record::new(kind, at(4))
            })
            .wait()
            .unwrap();
        }
    }
}

/// Puts fixed words where each run has others.
fn settle(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let mut text = json.to_owned();
    for (member, fixed) in [
        ("boot_id", "BOOT"),
        ("event_id", "EVENT"),
        ("timestamp", "TIME"),
    ] {
        let found = value[member].as_str().unwrap();
        // Only the log's own records have a time that is not given.
        if member != "timestamp" || value.get("decision_id").is_none() {
            text = text.replace(found, fixed);
        }
    }
    text
}

#[test]
fn the_records_are_those_of_the_golden_file() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    write_samples(&log);
    log.close();
    assert_eq!(check(directory.path()).findings, []);

    let mut reader = Reader::open(directory.path(), Start::Index(0)).unwrap();
    let mut found = String::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        found.push_str(&settle(&entry.json));
        found.push('\n');
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/records.jsonl");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(golden).unwrap());

    let call = find(directory.path(), "0f8e7c1a").unwrap();
    assert_eq!(
        call.iter().map(|entry| entry.index).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(find(directory.path(), "0f8e7c1").unwrap().is_empty());
}

#[test]
fn a_record_too_long_is_cut_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    let long = "ä\u{0}\"".repeat(40_000);
    let reasons = vec![
        Reason {
            code: &long,
            message: &long
        };
        40
    ];
    let source: IpAddr = "192.0.2.1".parse().unwrap();
    let record = full(&[], source);
    log.append(&Record {
        input_params: Some(&long),
        ..record
    })
    .wait()
    .unwrap();
    log.append(&Record {
        resource: Some(&long),
        decision_id: Some("other"),
        ..record
    })
    .wait()
    .unwrap();
    let all = Record {
        args_digest: Some(&long),
        session_id: Some(&long),
        tenant: Some(&long),
        caller: Some(Caller {
            kind: &long,
            user_id: &long,
            key_id: Some(&long),
            issuer: Some(&long),
            client_id: Some(&long),
        }),
        client: Some(Client {
            name: &long,
            version: &long,
        }),
        initiated_by: Some(&long),
        server: Some(&long),
        method: Some(&long),
        tool_name: Some(&long),
        resource: Some(&long),
        prompt: Some(&long),
        protocol_version: Some(&long),
        policy_rev: Some(&long),
        refusal: Some(&long),
        reasons: &reasons,
        result: Some(Outcome {
            result_digest: Some(&long),
            ..Outcome::new(Status::Ok)
        }),
        ..Record::new(Kind::CallRefused, at(0))
    };
    log.append(&all).wait().unwrap();
    log.close();
    assert_eq!(check(directory.path()).findings, []);
    let mut reader = Reader::open(directory.path(), Start::Index(1)).unwrap();
    let mut cuts = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let value: serde_json::Value = serde_json::from_str(&entry.json).unwrap();
        assert!(value.get("cut").is_none() || value.get("input_params").is_none());
        cuts.extend(value["cut"].as_str().map(str::to_owned));
        assert!(entry.json.len() <= 65_535);
    }
    assert_eq!(cuts, ["input_params", "strings", "strings"]);
}
