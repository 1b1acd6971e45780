//! Whatever the arguments are.

use proptest::prelude::*;

use super::*;

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        prop_oneof![
            Just("select 1"),
            Just("SELECT"),
            Just("drop"),
            Just(""),
            Just("é\u{0}")
        ]
        .prop_map(Into::into),
        ".{0,12}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::hash_map("(sql|limit|path|to|[a-z]{1,4})", inner, 0..5).prop_map(
                |members| members
                    .into_iter()
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            ),
        ]
    })
}

thread_local! {
    static GUARDED: Policy = policy(
        "package mcp.authz\nallow contains \"all\" if input.tool\n\
         deny contains {\"code\": \"sql_not_select\"} if not reads\n\
         reads if startswith(lower(input.arguments.sql), \"select\")\n\
         deny contains {\"code\": \"always\"} if input.tool.name == \"blocked\"\n",
    );
    static STARTER: Policy =
        Policy::load(&[starter()], &settings()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the arguments are, a refusal on them holds unless they are what the rule asks for.
    #[test]
    fn no_arguments_get_past_a_refusal(value in json()) {
        let text = value.to_string();
        let (caller, server) = (caller(&["analyst"]), server("crm"));
        let fine = value.get("sql").and_then(|sql| sql.as_str())
            .is_some_and(|sql| sql.to_lowercase().starts_with("select"));
        GUARDED.with(|policy| {
            let judge = |tool| policy.judge(&Facts { arguments: Some(&text), ..facts(&caller, &server, tool) });
            let decision = judge("query_database");
            prop_assert_eq!(decision.effect == Effect::Allow, fine, "{}", text);
            prop_assert_eq!(judge("blocked").effect, Effect::Deny);
            Ok(())
        })?;
        STARTER.with(|policy| {
            let judge = |tool| policy.judge(&Facts { arguments: Some(&text), ..facts(&caller, &server, tool) });
            if judge("query_database").effect == Effect::Allow {
                prop_assert!(fine || value["sql"].as_str().is_some_and(|sql| sql.trim().to_lowercase().starts_with("select")));
            }
            prop_assert_eq!(judge("drop_database").effect, Effect::Deny);
            Ok(())
        })?;
    }

    /// Whatever stands where JSON should, the answer is a refusal and not a panic.
    #[test]
    fn no_text_gets_past_as_arguments(text in ".{0,60}") {
        let (caller, server) = (caller(&[]), server("crm"));
        GUARDED.with(|policy| {
            let decision = policy.judge(&Facts { arguments: Some(&text), ..facts(&caller, &server, "t") });
            prop_assert_eq!(decision.effect, Effect::Deny);
            Ok(())
        })?;
    }
}
