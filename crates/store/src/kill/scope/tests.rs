//! Which calls a kill covers, by table and by property.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use keepgate_call::Tenant;
use proptest::prelude::*;

use super::*;
use crate::kill::{Kill, Wish, index::Index};

static CREDENTIALS: LazyLock<[Arc<str>; 2]> =
    LazyLock::new(|| ["vault:secret/crm#token", "env:CRM_KEY"].map(Arc::from));

fn facts() -> Facts<'static> {
    Facts {
        tenant: "acme",
        server: "crm",
        tool: Some("delete".into()),
        caller: "agent-7",
        client: Some("desk"),
        grant: Some("sid-1"),
        key: Some("0123"),
        session: Some("abcd"),
        credentials: &*CREDENTIALS,
    }
}

fn kill(scope: Scope, tenant: Option<&str>) -> Arc<Kill> {
    let wish = Wish {
        scope,
        tenant: tenant.map(Tenant::new),
        reason: "test".to_owned(),
        by: "op".to_owned(),
        lasts: None,
    };
    Arc::new(Kill::new(wish, SystemTime::now()).unwrap())
}

#[test]
fn a_kill_covers_what_it_names() {
    let table: [(&str, Option<&str>, bool); 23] = [
        ("everything", None, true),
        ("tenant", Some("acme"), true),
        ("tenant", Some("other"), false),
        ("server", Some("crm"), true),
        ("server", Some("cr"), false),
        ("tool", Some("crm/delete"), true),
        ("tool", Some("crm/delet"), false),
        ("tool", Some("files/delete"), false),
        ("tool", Some("crm/Delete"), false),
        ("caller", Some("agent-7"), true),
        ("caller", Some("agent-70"), false),
        ("caller", Some("client:desk"), true),
        ("caller", Some("desk"), false),
        ("session", Some("abcd"), true),
        ("session", Some("grant:sid-1"), true),
        ("session", Some("sid-1"), false),
        ("credential", Some("vault:secret/crm#token"), true),
        ("credential", Some("env:CRM_KEY"), true),
        (
            "credential",
            Some("vault:secret/crm#token env:CRM_KEY"),
            false,
        ),
        ("credential", Some("vault:secret/crm"), false),
        ("credential", Some("key:0123"), true),
        ("credential", Some("0123"), false),
        ("credential", Some("key:012"), false),
    ];
    for (word, target, expected) in table {
        let scope = Scope::parse(word, target).unwrap();
        assert_eq!(scope.covers(&facts()), expected, "{word} {target:?}");
        assert_eq!(
            (scope.word(), scope.target().as_deref()),
            (word, target),
            "it is written as it was read"
        );
        assert!(!kill(scope.clone(), Some("other")).covers(&facts()));
        assert_eq!(kill(scope, Some("acme")).covers(&facts()), expected);
    }
}

#[test]
fn a_call_without_a_name_is_not_covered_by_one() {
    let bare = Facts {
        tool: None,
        client: None,
        grant: None,
        key: None,
        session: None,
        credentials: &[],
        ..facts()
    };
    for (word, target) in [
        ("tool", "crm/delete"),
        ("caller", "client:desk"),
        ("session", "abcd"),
        ("session", "grant:sid-1"),
        ("credential", "key:0123"),
        ("credential", "vault:secret/crm#token"),
        ("credential", "env:CRM_KEY"),
    ] {
        assert!(!Scope::parse(word, Some(target)).unwrap().covers(&bare));
    }
}

#[test]
fn targets_that_make_no_sense_are_refused() {
    for (word, target) in [
        ("all", None),
        ("Everything", None),
        ("everything", Some("crm")),
        ("server", None),
        ("server", Some("CRM")),
        ("server", Some("")),
        ("tool", Some("crm")),
        ("tool", Some("crm/")),
        ("tool", Some("/delete")),
        ("caller", Some("a\nb")),
        ("session", Some("")),
    ] {
        assert!(Scope::parse(word, target).is_err(), "{word} {target:?}");
    }
    let long = "x".repeat(LONGEST + 1);
    assert!(Scope::parse("caller", Some(&long)).is_err());
    let slashes = Scope::parse("tool", Some("crm/a/b")).unwrap();
    assert!(matches!(slashes, Scope::Tool { tool, .. } if &*tool == "a/b"));
}

/// Few names, so that they meet.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "key:a", "grant:a", "client:a"]).prop_map(str::to_owned)
}

fn scope() -> impl Strategy<Value = Scope> {
    let server = prop::sample::select(vec!["a", "b"]);
    prop_oneof![
        Just(Scope::Everything),
        name().prop_map(|name| Scope::Tenant(Tenant::new(name))),
        server
            .clone()
            .prop_map(|name| Scope::Server(ServerName::parse(name).unwrap())),
        (server, name()).prop_map(|(server, tool)| Scope::Tool {
            server: ServerName::parse(server).unwrap(),
            tool: tool.into()
        }),
        name().prop_map(|name| Scope::Caller(name.into())),
        name().prop_map(|name| Scope::Session(name.into())),
        name().prop_map(|name| Scope::Credential(name.into())),
    ]
}

proptest! {
    /// The index finds a kill exactly where one of the kills covers the call, and only one that does.
    #[test]
    fn the_index_tells_what_the_scopes_say(
        kills in prop::collection::vec((scope(), prop::option::of(name()), any::<bool>()), 0..12),
        names in prop::collection::vec(name(), 4),
        optional in prop::collection::vec(prop::option::of(name()), 5),
        given in prop::collection::vec(name(), 0..4),
    ) {
        let kills: Vec<Arc<Kill>> = kills
            .into_iter()
            .map(|(scope, tenant, over)| {
                let mut kill = Kill::clone(&kill(scope, tenant.as_deref()));
                kill.deadline = over.then(Instant::now);
                Arc::new(kill)
            })
            .collect();
        let given: Vec<Arc<str>> = given.into_iter().map(Arc::from).collect();
        let facts = Facts {
            tenant: &names[0],
            server: if names[1] == "a" { "a" } else { "b" },
            tool: optional[0].as_deref().map(Into::into),
            caller: &names[2],
            client: optional[1].as_deref(),
            grant: optional[2].as_deref(),
            key: optional[3].as_deref(),
            session: optional[4].as_deref(),
            credentials: &given,
        };
        let now = Instant::now() + Duration::from_millis(1);
        let expected = kills.iter().any(|kill| kill.is_in_force(now) && kill.covers(&facts));
        let index = Index::new(kills.iter());
        let found = index.find(&facts, now);
        prop_assert_eq!(found.is_some(), expected);
        if let Some(found) = found {
            prop_assert!(found.covers(&facts) && found.is_in_force(now));
        }
    }
}
