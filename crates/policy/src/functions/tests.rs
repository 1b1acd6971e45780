//! The functions answer what OPA documents, and stay within their bounds.

use std::time::{Duration, Instant};

use regorus::Value;

use super::{FUNCTIONS, names};
use crate::engine::bare;

/// What an expression comes to, as JSON.
pub(super) fn evaluated(expression: &str, input: Value) -> Result<Value, String> {
    let mut engine = bare().unwrap();
    let text = format!("package t\nx := {expression}\n");
    engine.add_policy("t.rego".to_owned(), text).unwrap();
    engine.set_input(input);
    engine
        .eval_rule("data.t.x".to_owned())
        .map_err(|error| error.to_string())
}

fn rows() -> Vec<Value> {
    let table = include_str!("../../tests/opa_builtins.yaml");
    let table = Value::from_yaml_str(table).unwrap();
    table.as_array().unwrap().iter().cloned().collect()
}

#[test]
fn answers_are_those_of_opa() {
    let mut asked = std::collections::BTreeSet::new();
    for row in rows() {
        let expression = row["call"].as_string().unwrap();
        assert!(row["source"].as_string().is_ok(), "{expression}: no source");
        let answer = evaluated(expression, row["input"].clone());
        if row["error"] == Value::Bool(true) {
            assert!(answer.is_err(), "{expression}: {answer:?}");
        } else {
            let answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
            let plain = Value::from_json_str(&answer.to_string()).unwrap();
            assert_eq!(plain, row["want"], "{expression}");
        }
        let function = names().find(|name| expression.contains(&format!("{name}(")));
        asked.insert(function.unwrap_or_else(|| panic!("{expression}: none of ours")));
    }
    let apart = [
        "facts.leaves",
        "facts.mentions",
        "facts.words",
        "net.url",
        "sql.parse",
        "soql.parse",
    ];
    let forgotten: Vec<_> = names()
        .filter(|name| !asked.contains(name) && !apart.contains(name))
        .collect();
    assert!(forgotten.is_empty(), "without a row: {forgotten:?}");
}

/// No function may answer nothing, panic or take long, whatever it is given.
#[test]
fn odd_arguments_fail_at_once() {
    let long = "x".repeat(5 * 1024 * 1024);
    let many: Vec<Value> = (0..20_000_u32)
        .map(|at| Value::from(format!("10.{}.{}.0/24", at / 250, at % 250).as_str()))
        .collect();
    let odd = [
        Value::Null,
        Value::Bool(true),
        Value::from(5_u64),
        Value::from(""),
        Value::from("a.b.c"),
        Value::from("[[["),
        Value::from("\u{0}'\\"),
        Value::from(long.as_str()),
        Value::from(many),
        Value::new_object(),
        Value::new_set(),
    ];
    for function in FUNCTIONS {
        for one in &odd {
            for other in &odd {
                let started = Instant::now();
                let values = [one.clone(), other.clone()];
                let answer = (function.call)(&values[..usize::from(function.arity)]);
                assert!(answer != Ok(Value::Undefined), "{}", function.name);
                let took = started.elapsed();
                assert!(took < Duration::from_secs(2), "{}: {took:?}", function.name);
            }
        }
        assert!((function.call)(&[]).is_err(), "{}", function.name);
    }
}

#[test]
fn long_patterns_are_told_apart_in_time() {
    let one = ".*a".repeat(170);
    let other = "[a-z]+b*".repeat(64);
    let started = Instant::now();
    let expression = format!("regex.globs_match(`{one}`, `{other}`)");
    evaluated(&expression, Value::Null).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn facts_about_arguments() {
    for (expression, answer) in [
        (
            "facts.words(`getAccount_by-ID2x.crm`)",
            r#"["account","by","crm","get","id2x"]"#,
        ),
        ("facts.words(``)", "[]"),
        (
            r#"facts.leaves({"Object_Name": ["a", {"x": 1}]})"#,
            r#"[{"name":"objectname","value":"a"},{"name":"x","value":1},{"name":"objectname","value":{"x":1}}]"#,
        ),
        (
            r#"facts.mentions({"a": ["x.SSN__c desc"], "salary__C": 1, "n": "BankAccount__cx"}, ["SSN__c", "Salary__c", "BankAccount__c"])"#,
            r#"["SSN__c","Salary__c"]"#,
        ),
        (
            r#"facts.mentions("my Bank Account", {"bank account", "ssn"})"#,
            r#"["bank account"]"#,
        ),
        (r#"facts.mentions("\u017fsn", {"sn"})"#, r#"["sn"]"#),
        (
            r#"facts.mentions({"deep": [[{"ssn": null}]]}, {"ssn"})"#,
            r#"["ssn"]"#,
        ),
    ] {
        let told = evaluated(expression, Value::Null).unwrap();
        assert_eq!(told.to_string(), answer, "{expression}");
    }
    assert!(evaluated("facts.mentions(`x`, [5])", Value::Null).is_err());
}

/// With a listener for both families every IPv4 peer is in the form of IPv6.
#[test]
fn mapped_addresses_are_those_of_ipv4() {
    for (expression, answer) in [
        ("net.cidr_contains(`10.0.0.0/8`, `::ffff:10.1.2.3`)", "true"),
        (
            "net.cidr_contains(`::ffff:10.0.0.0/104`, `10.1.2.3`)",
            "true",
        ),
        ("net.cidr_contains(`::/0`, `::ffff:10.1.2.3`)", "false"),
        (
            "net.cidr_contains_matches([`10.0.0.0/8`], [`::ffff:10.1.2.3`])",
            "[[0,0]]",
        ),
        (
            "net.cidr_intersects(`10.0.0.0/8`, `::ffff:10.1.0.0/112`)",
            "true",
        ),
        (
            "net.cidr_merge([`::ffff:10.0.0.0/104`])",
            "[\"10.0.0.0/8\"]",
        ),
        (
            "net.cidr_expand(`::ffff:10.0.0.0/127`)",
            "[\"10.0.0.0\",\"10.0.0.1\"]",
        ),
    ] {
        let found = evaluated(expression, Value::Null).unwrap();
        assert_eq!(found.to_string(), answer, "{expression}");
    }
}
