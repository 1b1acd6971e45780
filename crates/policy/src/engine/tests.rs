//! What one evaluator does when a rule goes wrong.

use super::*;

/// Evaluates the set `deny` of a text, with a function that panics at hand.
fn denied(text: &str, limit: Duration) -> (Evaluator, Result<Value, Failure>) {
    let plan = Plan {
        modules: vec![(
            "a.rego".to_owned(),
            format!("package mcp.authz\n{text}\n").into(),
        )],
        deny: vec![Unit {
            guards: Vec::new(),
            then: Then::Ask("data.mcp.authz.deny".to_owned()),
        }],
        ..Plan::default()
    };
    let mut evaluator =
        Evaluator::build(&Arc::new(plan), &Value::new_object(), Wanted::ALL).unwrap();
    let boom = |_: Vec<Value>| panic!("as a built-in function might");
    evaluator
        .engine
        .add_extension("boom".to_owned(), 1, Box::new(boom))
        .unwrap();
    let mut document = Document::whole(Value::from_json_str(r#"{"a": 1}"#).unwrap());
    let plan = evaluator.plan();
    let answer = evaluator.gather(&plan.deny, &mut document, Instant::now() + limit);
    (evaluator, answer)
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn each_failure_has_its_code() {
    let (_, answer) = denied("deny contains \"x\" if input.a == 1", LONG);
    assert_eq!(answer.unwrap().to_string(), "[\"x\"]");
    for (text, limit, code) in [
        ("deny contains \"x\" if boom(1)", LONG, Reason::POLICY_PANIC),
        (
            "deny contains \"x\" if not boom(1)",
            LONG,
            Reason::POLICY_PANIC,
        ),
        (
            "deny contains \"x\" if lower(input.a) == \"x\"",
            LONG,
            Reason::POLICY_ERROR,
        ),
        (
            "deny contains \"x\" if not lower(input.a) == \"x\"",
            LONG,
            Reason::POLICY_ERROR,
        ),
        (
            "deny contains \"x\" if count(numbers.range(1, 2000000)) > 1",
            LONG,
            Reason::POLICY_ERROR,
        ),
        (
            "other contains \"x\" if input.a",
            LONG,
            Reason::POLICY_ERROR,
        ),
        ("deny := 5", LONG, Reason::POLICY_INVALID_RESULT),
        ("deny := {\"x\": 1}", LONG, Reason::POLICY_INVALID_RESULT),
        ("deny := 5 if input.b", LONG, Reason::POLICY_UNDEFINED),
        (
            "deny contains \"x\" if input.a == 1",
            Duration::ZERO,
            Reason::POLICY_TIMEOUT,
        ),
    ] {
        assert_eq!(denied(text, limit).1, Err(code), "{text}");
    }
}

#[test]
fn a_timeout_leaves_a_usable_evaluator() {
    let loops = "deny contains \"x\" if {\n some a in numbers.range(1, input.n)\n some b in numbers.range(1, input.n)\n \
                 a + b == input.sum\n}";
    let (mut evaluator, _) = denied(loops, LONG);
    let mut ask = |n: u32, sum: u32, limit: Duration| {
        let input = format!("{{\"n\": {n}, \"sum\": {sum}}}");
        let mut document = Document::whole(Value::from_json_str(&input).unwrap());
        let plan = evaluator.plan();
        evaluator
            .gather(&plan.deny, &mut document, Instant::now() + limit)
            .map(|set| set.to_string())
    };
    assert_eq!(ask(2, 2, LONG).as_deref(), Ok("[\"x\"]"));
    assert_eq!(
        ask(9_999, 0, Duration::from_millis(20)),
        Err(Reason::POLICY_TIMEOUT)
    );
    assert_eq!(ask(3, 2, LONG).as_deref(), Ok("[\"x\"]"));
}
