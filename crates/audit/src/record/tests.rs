//! The canonical writer against `serde_json`, and the strict reader against what is not canonical.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::read::NotRecord;
use super::*;

fn stamp() -> Stamp {
    Stamp {
        node: "node \"1\"".into(),
        boot_id: "0123456789abcdef".into(),
    }
}

/// Writes a record whole, as it stands in the log.
fn text(record: &Record<'_>, note: Option<LogNote<'_>>, seq: u64) -> String {
    let mut buffer = b"before".to_vec();
    let seq_at = write(record, note, &stamp(), scatter(7), &mut buffer);
    let mut whole = buffer[6..seq_at].to_vec();
    write_number(seq, &mut whole);
    whole.extend_from_slice(&buffer[seq_at..]);
    String::from_utf8(whole).unwrap()
}

/// RFC 8785 by way of `serde_json`: members sorted, no white space. Right where all names are ASCII and all numbers whole.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            let members: Vec<String> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", json!(name), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => {
            format!(
                "[{}]",
                values.iter().map(canonical).collect::<Vec<_>>().join(",")
            )
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Every string a record can hold, by turns absent.
#[derive(Debug, Clone)]
struct Samples {
    strings: Vec<Option<String>>,
    keys: Vec<Cow<'static, str>>,
    numbers: Vec<Option<u64>>,
    reasons: Vec<(String, String)>,
    kind: usize,
    status: usize,
    decision: Option<usize>,
    source: Option<IpAddr>,
    at: Duration,
    seq: u64,
}

fn samples() -> impl Strategy<Value = Samples> {
    let text = prop_oneof![
        ".{0,12}",
        "[\\x00-\\x7f\u{80}\u{2028}\u{fffd}\u{1f600}]{0,8}"
    ];
    (
        prop::collection::vec(prop::option::of(text), 23),
        prop::collection::vec(prop::option::of(0..=(1_u64 << 53) - 1), 3),
        prop::collection::vec((".{0,6}", ".{0,6}"), 0..4),
        0..Kind::ALL.len(),
        0..Status::ALL.len(),
        prop::option::of(0..Decision::ALL.len()),
        prop::option::of(any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes()))),
        (0..200_000_000_000_u64, 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
        0..=(1_u64 << 53) - 1,
    )
        .prop_map(
            |(strings, numbers, reasons, kind, status, decision, source, at, seq)| Samples {
                keys: strings
                    .iter()
                    .flatten()
                    .take(3)
                    .cloned()
                    .map(Cow::Owned)
                    .collect(),
                strings,
                numbers,
                reasons,
                kind,
                status,
                decision,
                source,
                at,
                seq,
            },
        )
}

fn record<'a>(samples: &'a Samples, reasons: &'a [Reason<'a>]) -> Record<'a> {
    let string = |at: usize| samples.strings[at].as_deref();
    Record {
        decision_id: string(0),
        session_id: string(1),
        tenant: string(2),
        caller: string(3).map(|kind| Caller {
            kind,
            user_id: string(4).unwrap_or_default(),
            key_id: string(5),
            issuer: string(7),
            client_id: string(6),
        }),
        client: string(6).map(|name| Client {
            name,
            version: string(7).unwrap_or_default(),
        }),
        credential: string(20).map(|reference| Credential {
            reference,
            lease_id: string(21),
            fault: string(22),
            masked: samples.numbers[0],
        }),
        source: samples.source,
        initiated_by: string(8),
        server: string(9),
        method: string(10),
        tool_name: string(11),
        resource: string(12),
        prompt: string(13),
        protocol_version: string(14),
        args_digest: string(15),
        input_params: string(16),
        undeclared: samples.keys.as_slice(),
        request_bytes: samples.numbers[0],
        decision: samples.decision.map(|at| Decision::ALL[at]),
        policy_rev: string(17),
        reasons,
        refusal: string(18),
        repeat: repeat(samples),
        result: samples.numbers[1].map(|bytes| Outcome {
            status: Status::ALL[samples.status],
            http_status: samples.numbers[2].map(|number| (number % 600) as u16),
            bytes: Some(bytes),
            upstream: samples.numbers[2].map(Duration::from_millis),
            result_digest: string(19),
            records: samples.numbers[0],
            keys: samples.keys.as_slice(),
            output: string(20),
            redacted: samples.numbers[2],
            records_cut: samples.numbers[0],
        }),
        shadow: string(20).map(|would| Shadow {
            would,
            codes: string(22).unwrap_or_default(),
            policy_rev: string(21).unwrap_or_default(),
        }),
        ..Record::new(Kind::ALL[samples.kind], SystemTime::UNIX_EPOCH + samples.at)
    }
}

fn repeat(samples: &Samples) -> Option<Repeat> {
    let scope = Scope::ALL[samples.status % Scope::ALL.len()];
    samples.numbers[1].map(|number| match samples.numbers[2] {
        Some(count) => Repeat::Counted {
            count,
            first: SystemTime::UNIX_EPOCH + samples.at,
            last: SystemTime::UNIX_EPOCH + samples.at + Duration::from_millis(number % 9999),
            scope,
        },
        None => Repeat::Opened {
            within: Duration::from_secs(number),
            scope,
        },
    })
}

/// The same record, put together by name.
fn expected(record: &Record<'_>, written: &Value, seq: u64) -> Value {
    let reasons = record.reasons.iter().map(|reason| match reason.message {
        "" => json!({"code": reason.code}),
        message => json!({"code": reason.code, "message": message}),
    });
    let reasons = Some(reasons.collect::<Value>()).filter(|_| !record.reasons.is_empty());
    let result = record.result.map(|result| expected_result(&result));
    let caller = record.caller;
    let client = record.client;
    known(json!({
        "v": 1,
        "seq": seq,
        "node": "node \"1\"",
        "boot_id": "0123456789abcdef",
        "event_id": written["event_id"],
        "timestamp": written["timestamp"],
        "kind": record.kind.as_str(),
        "decision_id": record.decision_id,
        "session_id": record.session_id,
        "tenant": record.tenant,
        "caller_kind": caller.map(|caller| caller.kind),
        "user_id": caller.map(|caller| caller.user_id),
        "key_id": caller.and_then(|caller| caller.key_id),
        "issuer": caller.and_then(|caller| caller.issuer),
        "client_id": caller.and_then(|caller| caller.client_id),
        "client": client.map(|client| json!({"name": client.name, "version": client.version})),
        "cred": record.credential.map(|credential| json!({
            "ref": credential.reference,
            "lease_id": credential.lease_id,
            "fault": credential.fault,
            "masked": credential.masked,
        })),
        "shadow": record.shadow.map(|shadow| json!({
            "would": shadow.would,
            "codes": Some(shadow.codes).filter(|codes| !codes.is_empty()),
            "policy_rev": shadow.policy_rev,
        })),
        "src": record.source.map(|ip| json!({"ip": ip.to_string()})),
        "initiated_by": record.initiated_by,
        "server": record.server,
        "method": record.method,
        "tool_name": record.tool_name,
        "undeclared": (!record.undeclared.is_empty()).then_some(record.undeclared),
        "resource": record.resource,
        "prompt": record.prompt,
        "protocol_version": record.protocol_version,
        "args_digest": record.args_digest,
        "input_params": record.input_params,
        "request_bytes": record.request_bytes,
        "decision": record.decision.map(Decision::as_str),
        "policy_rev": record.policy_rev,
        "refusal": record.refusal,
        "repeat": record.repeat.map(|repeat| expected_repeat(repeat, written)),
        "reasons": reasons,
        "result": result,
    }))
}

/// Member `repeat`, put together by name.
fn expected_repeat(repeat: Repeat, written: &Value) -> Value {
    match repeat {
        Repeat::Opened { within, scope } => {
            json!({"within_s": within.as_secs(), "scope": scope.as_str()})
        }
        Repeat::Counted { count, scope, .. } => json!({
            "count": count,
            "first": written["repeat"]["first"],
            "last": written["repeat"]["last"],
            "scope": scope.as_str(),
        }),
    }
}

/// Member `result`, put together by name.
fn expected_result(result: &Outcome<'_>) -> Value {
    json!({
        "status": result.status.as_str(),
        "bytes": result.bytes,
        "http_status": result.http_status,
        "result_digest": result.result_digest,
        "records": result.records,
        "keys": (!result.keys.is_empty()).then_some(result.keys),
        "output": result.output,
        "redacted": result.redacted,
        "records_cut": result.records_cut,
        "upstream_ms": result.upstream.map(|time| time.as_millis() as u64),
    })
}

/// Leaves out what is not known, on each level.
fn known(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name, known(member)))
            .collect::<Map<String, Value>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            value
        }
    }
}

proptest! {
    #[test]
    fn written_as_serde_json_would_with_sorted_members(samples in samples()) {
        let reasons: Vec<Reason<'_>> =
            samples.reasons.iter().map(|(code, message)| Reason { code, message }).collect();
        let record = record(&samples, &reasons);
        let written = text(&record, None, samples.seq);
        let value: Value = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&canonical(&expected(&record, &value, samples.seq)), &written);

        // The time is that of the record, to the microsecond.
        let format = time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        let moment = time::OffsetDateTime::UNIX_EPOCH + samples.at;
        prop_assert_eq!(&json!(moment.format(format).unwrap()), &value["timestamp"]);
        let id = value["event_id"].as_str().unwrap().replace('-', "");
        prop_assert_eq!(
            u64::from_str_radix(&id[..12], 16).unwrap(),
            u64::try_from(samples.at.as_millis()).unwrap()
        );
        prop_assert!(matches!(id.as_bytes()[16], b'8'..=b'b'));

        let head = read(written.as_bytes(), &mut Vec::new()).unwrap();
        prop_assert_eq!(head.seq, samples.seq);
        prop_assert_eq!(head.kind, record.kind);
        prop_assert_eq!(head.decision_id.as_deref(), record.decision_id);
        if let Some(id) = record.decision_id {
            prop_assert!(written.contains(&decision_id_member(id)));
        }
    }

    #[test]
    fn the_reader_takes_nothing_the_writer_would_not_write(
        at in 0_usize..400, byte in any::<u8>(), insert in any::<bool>()
    ) {
        let samples = [Reason { code: "c", message: "m" }];
        let record = Record {
            decision_id: Some("d"),
            client: Some(Client { name: "n", version: "v" }),
            source: Some("192.0.2.1".parse().unwrap()),
            reasons: &samples,
            result: Some(Outcome { bytes: Some(10), ..Outcome::new(Status::Ok) }),
            ..Record::new(Kind::CallOutcome, SystemTime::UNIX_EPOCH)
        };
        let mut bytes = text(&record, None, 3).into_bytes();
        let at = at % bytes.len();
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        // Whatever it takes, it takes in one form only.
        if read(&bytes, &mut Vec::new()).is_ok() {
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(canonical(&value).into_bytes(), bytes);
        }
    }

    #[test]
    fn the_reader_bears_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes, &mut Vec::new()).is_err());
    }
}

#[test]
fn what_is_not_canonical_is_refused() {
    let good = text(
        &Record::new(Kind::Heartbeat, SystemTime::UNIX_EPOCH),
        None,
        3,
    );
    let refused = |text: &str| read(text.as_bytes(), &mut Vec::new()).unwrap_err();
    assert!(read(good.as_bytes(), &mut Vec::new()).is_ok());
    for (from, to) in [
        ("\"seq\":3", "\"seq\": 3"),
        ("\"seq\":3", "\"seq\":3,\"tenant\":null"),
        ("\"kind\"", "\"k\\u0069nd\""),
        ("\"node\":\"node", "\"node\":\"\\u006eode"),
    ] {
        assert_eq!(
            refused(&good.replace(from, to)),
            NotRecord::Canonical,
            "{to}"
        );
    }
    for (from, to) in [
        ("\"seq\":3", "\"seq\":3.0"),
        ("\"seq\":3", "\"seq\":-3"),
        ("\"seq\":3", "\"seq\":3,\"seq\":3"),
        ("\"seq\":3", "\"seq\":3,\"shape\":\"round\""),
        ("\"seq\":3,", ""),
        ("}", "} "),
        ("}", "}{}"),
    ] {
        let text = good.replace(from, to);
        assert!(
            matches!(refused(&text), NotRecord::Form(_) | NotRecord::Canonical),
            "{text}"
        );
    }
    for (from, to) in [
        ("heartbeat", "call.intend"),
        ("\"v\":1", "\"v\":2"),
        ("1970-01-01T", "1970-01-01 "),
        ("-7", "-4"),
    ] {
        assert!(
            matches!(refused(&good.replace(from, to)), NotRecord::Word { .. }),
            "{to}"
        );
    }
}

#[test]
fn the_logs_own_members_are_read_back() {
    let note = LogNote {
        cut_bytes: Some(1),
        heartbeat_s: Some(60),
        lost: Some(2),
        origin: Some("gate.example/a"),
        rebuilt: Some(true),
        unsigned: Some(3),
    };
    let written = text(
        &Record::new(Kind::LogOpened, SystemTime::UNIX_EPOCH),
        Some(note),
        0,
    );
    assert!(written.contains(
        r#""log":{"cut_bytes":1,"heartbeat_s":60,"lost":2,"origin":"gate.example/a","rebuilt":true,"unsigned":3}"#
    ));
    assert!(read(written.as_bytes(), &mut Vec::new()).is_ok());
    let empty = text(
        &Record::new(Kind::LogOpened, SystemTime::UNIX_EPOCH),
        Some(LogNote::default()),
        0,
    );
    assert!(read(empty.as_bytes(), &mut Vec::new()).is_ok(), "{empty}");
}

#[test]
fn times_beyond_the_calendar_are_brought_within() {
    let year = |at: SystemTime| text(&Record::new(Kind::Heartbeat, at), None, 0);
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert!(year(before).contains("\"1970-01-01T00:00:00.000000Z\""));
    let after = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
    assert!(year(after).contains("\"9999-12-31T23:59:59.000000Z\""));
}

#[test]
fn ids_do_not_repeat() {
    let ids: std::collections::HashSet<u64> =
        (0..100_000).map(|counter| scatter(counter) >> 2).collect();
    assert!(ids.len() > 99_990);
}
