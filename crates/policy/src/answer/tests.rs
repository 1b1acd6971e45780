//! What entries may look like.

use super::*;

fn set(json: &str) -> Value {
    let items = Value::from_json_str(json).unwrap();
    Value::from(
        items
            .as_array()
            .unwrap()
            .iter()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>(),
    )
}

fn told(json: &str) -> Result<String, Odd> {
    let reasons = reasons(&set(json), "denied")?;
    Ok(reasons
        .iter()
        .map(|reason| format!("{}: {}", reason.code, reason.message))
        .collect::<Vec<_>>()
        .join(" | "))
}

#[test]
fn texts_and_objects_are_reasons() {
    assert_eq!(told("[]").unwrap(), "");
    assert_eq!(told(r#"["b", "a"]"#).unwrap(), "denied: a | denied: b");
    assert_eq!(
        told(r#"[{"code": "x.y-1"}, {"code": "a", "message": "m"}]"#).unwrap(),
        "a: m | x.y-1: "
    );
}

#[test]
fn scopes_lift_what_only_they_deny() {
    let lifting = |json: &str| denials(&set(json)).map(|denials| denials.scopes.join(" "));
    for (json, scopes) in [
        ("[]", ""),
        (r#"["a"]"#, ""),
        (r#"[{"code": "a", "scopes": ["w"]}]"#, "w"),
        (
            r#"[{"code": "a", "scopes": ["w", "r"]}, {"code": "b", "scopes": ["w", "x:y"]}]"#,
            "r w x:y",
        ),
        (r#"[{"code": "a", "scopes": ["w"]}, {"code": "b"}]"#, ""),
        (r#"[{"code": "a", "scopes": ["w"]}, "b"]"#, ""),
    ] {
        assert_eq!(lifting(json).as_deref(), Ok(scopes), "{json}");
    }
    for scopes in [
        "[]",
        "null",
        "\"w\"",
        "[1]",
        "[\"\"]",
        "[\"a b\"]",
        r#"["a\"b"]"#,
        "[\"a\\nb\"]",
        "[\"é\"]",
    ] {
        let json = format!(r#"[{{"code": "a", "scopes": {scopes}}}]"#);
        assert!(lifting(&json).is_err(), "{json}");
    }
    // Only a denial can be lifted.
    assert!(told(r#"[{"code": "a", "scopes": ["w"]}]"#).is_err());
}

#[test]
fn anything_else_is_odd() {
    for json in [
        "[1]",
        "[true]",
        "[null]",
        "[[\"a\"]]",
        "[{}]",
        r#"[{"message": "m"}]"#,
        r#"[{"code": ""}]"#,
        r#"[{"code": "a b"}]"#,
        r#"[{"code": 5}]"#,
        r#"[{"code": "a", "message": 5}]"#,
        r#"[{"code": "a", "mesage": "m"}]"#,
        r#"["a", 1]"#,
    ] {
        assert!(told(json).is_err(), "{json}");
    }
    assert_eq!(reasons(&Value::Undefined, "denied"), Err(UNDEFINED));
    assert!(reasons(&Value::Bool(true), "denied").is_err());
    assert!(reasons(&Value::new_object(), "denied").is_err());
}

#[test]
fn long_messages_are_cut_at_a_character() {
    let told = told(&format!(r#"["{}"]"#, "é".repeat(2_000))).unwrap();
    assert!(
        told.len() <= MAX_MESSAGE + "denied: ".len(),
        "{}",
        told.len()
    );
}

#[test]
fn questions_join() {
    let (approval, reasons) = approval(&set(
        r#"[{"code": "a", "approvers": ["group:x", "user:y"], "ttl": "2h"},
            {"code": "b", "approvers": ["group:x"], "quorum": 3, "ttl": "15m", "step": 2}, "plain"]"#,
    ))
    .unwrap();
    assert_eq!(approval.approvers, ["group:x".into(), "user:y".into()]);
    assert_eq!(
        (approval.quorum, approval.ttl),
        (3, Some(Duration::from_secs(900)))
    );
    assert_eq!(reasons.len(), 3);
    let steps: Vec<_> = approval.duties.iter().map(|duty| duty.step).collect();
    assert_eq!(steps, [1, 1, 2]);
}

#[test]
fn grants_join_by_the_strictest() {
    let (approval, _) = approval(&set(
        r#"[{"code": "a", "grant": {"kind": "session"}},
            {"code": "b", "grant": {"kind": "window", "not_before": "22:00", "until": "02:00", "timezone": "Europe/Berlin", "uses": 3}},
            {"code": "c", "grant": {"kind": "uses", "uses": 5, "valid_for": "2h"}}]"#,
    ))
    .unwrap();
    assert!(approval.is_session_bound);
    assert_eq!((approval.uses, approval.windows.len()), (3, 1));
    let hours = |count: u64| Duration::from_secs(count * 3600);
    assert_eq!(approval.valid_for_or(hours(1), hours(8)), hours(2));
    // A grant with an end of its own has that; one without is as long as the default.
    let valid_for = |json: &str| {
        super::approval(&set(json))
            .unwrap()
            .0
            .valid_for_or(hours(1), hours(8))
    };
    assert_eq!(
        valid_for(r#"[{"code": "a", "grant": {"kind": "session"}}]"#),
        hours(8)
    );
    assert_eq!(
        valid_for(r#"[{"code": "a", "grant": {"kind": "session"}}, "plain"]"#),
        hours(1)
    );
}

#[test]
fn questions_that_cannot_be_put_are_odd() {
    for json in [
        r#"[{"code": "a", "quorum": 0}]"#,
        r#"[{"code": "a", "step": 0}]"#,
        r#"[{"code": "a", "step": 11}]"#,
        r#"[{"code": "a", "step": "1"}]"#,
        r#"[{"code": "a", "quorum": -1}]"#,
        r#"[{"code": "a", "quorum": 1.5}]"#,
        r#"[{"code": "a", "ttl": "15"}]"#,
        r#"[{"code": "a", "ttl": "m"}]"#,
        r#"[{"code": "a", "ttl": "0m"}]"#,
        r#"[{"code": "a", "ttl": "-1m"}]"#,
        r#"[{"code": "a", "ttl": "99999999999999999999d"}]"#,
        r#"[{"code": "a", "ttl": "31d"}]"#,
        r#"[{"code": "a", "ttl": 15}]"#,
        r#"[{"code": "a", "ttl": "1é"}]"#,
        r#"[{"code": "a", "approvers": []}]"#,
        r#"[{"code": "a", "approvers": ["bob"]}]"#,
        r#"[{"code": "a", "approvers": "group:x"}]"#,
        r#"[{"code": "a", "approver": ["group:x"]}]"#,
        r#"[{"quorum": 2}]"#,
        r#"[{"code": "a", "grant": {}}]"#,
        r#"[{"code": "a", "grant": {"kind": "forever"}}]"#,
        r#"[{"code": "a", "grant": {"kind": "once", "uses": 2}}]"#,
        r#"[{"code": "a", "grant": {"kind": "uses"}}]"#,
        r#"[{"code": "a", "grant": {"kind": "session", "uses": 0}}]"#,
        r#"[{"code": "a", "grant": {"kind": "session", "until": "2026-12-01T22:00:00Z"}}]"#,
        r#"[{"code": "a", "grant": {"kind": "window"}}]"#,
        r#"[{"code": "a", "grant": {"kind": "window", "until": 5}}]"#,
        r#"[{"code": "a", "grant": {"kind": "window", "until": "soon"}}]"#,
        r#"[{"code": "a", "grant": {"kind": "window", "until": "02:00", "not_before": "22:00"}}]"#,
    ] {
        assert!(approval(&set(json)).is_err(), "{json}");
    }
}
