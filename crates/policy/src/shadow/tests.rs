//! The covered functions answer as before where that is cheap, and fail where it is not.

use std::time::{Duration, Instant};

use crate::engine::bare;
use regorus::Value;

fn evaluated(expression: &str, input: &str) -> Result<String, String> {
    let mut engine = bare().unwrap();
    engine
        .add_policy(
            "t.rego".to_owned(),
            format!("package t\nx := {expression}\n"),
        )
        .unwrap();
    engine.set_input(Value::from_json_str(input).unwrap());
    let started = Instant::now();
    let result = engine.eval_rule("data.t.x".to_owned());
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{expression} took {:?}",
        started.elapsed()
    );
    result
        .map(|value| value.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn cheap_uses_are_as_before() {
    for (expression, answer) in [
        ("numbers.range(1, 3)", "[1,2,3]"),
        ("numbers.range(3, 1)", "[3,2,1]"),
        ("numbers.range_step(0, 10, 5)", "[0,5,10]"),
        ("strings.replace_n({\"a\": \"b\"}, \"aa\")", "\"bb\""),
        ("replace(\"a.b\", \".\", \"/\")", "\"a/b\""),
        ("regex.replace(\"abc\", \"b\", \"x\")", "\"axc\""),
        ("concat(\"/\", [\"a\", \"b\"])", "\"a/b\""),
        ("sprintf(\"%s-%d\", [\"a\", 5])", "\"a-5\""),
        ("bits.lsh(1, 4)", "16"),
        ("to_number(\"1.5\")", "1.5"),
        ("to_number(\"-12\")", "-12"),
        ("units.parse_bytes(\"10MB\")", "10000000"),
        ("json.unmarshal(\"{\\\"a\\\": 1}\")", "{\"a\":1}"),
        ("yaml.unmarshal(\"a: 1\")", "{\"a\":1}"),
        ("count(net.cidr_expand(\"10.0.0.0/30\"))", "4"),
        (
            "json.patch({\"a\": 1}, [{\"op\": \"remove\", \"path\": \"/a\"}])",
            "{}",
        ),
    ] {
        assert_eq!(
            evaluated(expression, "{}").as_deref(),
            Ok(answer),
            "{expression}"
        );
    }
}

#[test]
fn costly_uses_fail_at_once() {
    let long = "x".repeat(100_000);
    let input =
        format!("{{\"long\": \"{long}\", \"huge\": \"1e2147483647\", \"unit\": \"1e999999999E\"}}");
    for expression in [
        "numbers.range(1, 200000000)",
        "numbers.range(-9000000000000000000, 9000000000000000000)",
        "numbers.range(1, 123456789012345678901234567890)",
        "numbers.range_step(1, 200000000, 1)",
        "strings.replace_n({\"x\": input.long}, input.long)",
        "replace(input.long, \"x\", input.long)",
        "replace(input.long, \"\", input.long)",
        "regex.replace(input.long, \"x\", input.long)",
        "concat(input.long, split(input.long, \"\"))",
        "sprintf(\"%100000000d\", [1])",
        "bits.lsh(1, 4000000000)",
        "to_number(input.huge)",
        "units.parse(input.unit)",
        "units.parse_bytes(input.huge)",
        "json.unmarshal(input.huge)",
        "net.cidr_expand(\"10.0.0.0/8\")",
        "net.cidr_expand(\"::/0\")",
    ] {
        assert!(evaluated(expression, &input).is_err(), "{expression}");
    }
}

#[test]
fn patterns_match_as_before() {
    for (expression, answer) in [
        (r"regex.match(`^a+$`, `aaa`)", "true"),
        (r"regex.match(`^a+$`, `aab`)", "false"),
        (r"regex.match(`(?i)É`, `é`)", "true"),
        (
            r"[m | some s in [`a`, `b`, `a`]; m := regex.match(`a`, s)]",
            "[true,false,true]",
        ),
    ] {
        assert_eq!(
            evaluated(expression, "{}").as_deref(),
            Ok(answer),
            "{expression}"
        );
    }
    assert!(evaluated(r"regex.match(`(`, `a`)", "{}").is_err());
    assert!(evaluated(r"regex.match(`a`, 5)", "{}").is_err());
    assert!(evaluated(r"regex.match(`(\\w{1000}){1000}`, `a`)", "{}").is_err());
}

/// A pattern written for RE2 takes no more here.
#[test]
fn patterns_are_read_as_in_re2() {
    for (pattern, subject, answer) in [
        (r"^\w+@acme\.example$", "é@acme.example", "false"),
        (r"^\w+@acme\.example$", "e@acme.example", "true"),
        (r"^\d+$", "٣", "false"),
        (r"\s", "\u{2003}", "false"),
        (r"\bé", "é", "false"),
        (r"^[\w.]+$", "é", "false"),
        (r"^[^\W]+$", "é", "false"),
        (r"(?i)^\w$", "\u{212a}", "true"),
        ("^[a&&b]$", "&", "true"),
        ("^[[a]$", "[", "true"),
        (r"\<b", "a<b", "true"),
        ("^a{,2}$", "aa", "false"),
        (r"^\Qa.b\E$", "axb", "false"),
        (r"^\101$", "A", "true"),
    ] {
        let input = serde_json::json!({ "p": pattern, "s": subject }).to_string();
        for call in [
            "regex.match(input.p, input.s)",
            "count(regex.find_n(input.p, input.s, 1)) == 1",
        ] {
            assert_eq!(
                evaluated(call, &input).as_deref(),
                Ok(answer),
                "{pattern} {subject}"
            );
        }
    }
    for pattern in [
        r"\u0041", "(?x) a", "(?=a)", "a**", r"(a)\1", r"\b{", "x{1001}", "[[:no:]]", r"\", "[a",
        r"\x{", r"\p{", "(?",
    ] {
        let input = serde_json::json!({ "p": pattern }).to_string();
        let answer = evaluated("regex.match(input.p, `a`)", &input);
        assert!(
            answer.is_err() || pattern == r"\b{",
            "{pattern}: {answer:?}"
        );
    }
}

#[test]
fn undefined_stays_undefined() {
    assert_eq!(
        evaluated("replace(input.no, \"a\", \"b\")", "{}").as_deref(),
        Ok("\"<undefined>\"")
    );
}
