//! The shipped policy's picture.

use super::*;
use crate::policy::tests::{policy, settings, starter};

#[test]
fn the_shipped_policy_looks_as_its_golden_picture() {
    let directories = [starter()];
    let policy = Policy::load(&directories, &settings()).unwrap();
    let found = find(&directories);
    assert_eq!(found.len(), 1);
    let comparison = compare(&policy, &found[0]).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&comparison.golden, &comparison.drawn).unwrap();
        return;
    }
    assert_eq!(
        comparison.expected.as_deref(),
        Some(&*comparison.drawn),
        "draw it anew with UPDATE=1"
    );
}

#[test]
fn all_signs_are_drawn() {
    let policy = policy(
        "package mcp.authz\n\
         allow contains \"a\" if input.tool.name == \"a\"\n\
         approve contains \"b\" if input.tool.name == \"b\"\n\
         deny contains \"c\" if lower(input.tool.annotations.x) == \"c\"\n",
    );
    let drawn = render(
        &policy,
        "{callers: {me: {}}, servers: {s: {}}, calls: [{server: s, tool: a}, {server: s, tool: b}, \
         {server: s, tool: c}, {server: s, tool: a, annotations: {x: 5}}, {server: s, request: roots/list}]}",
    )
    .unwrap();
    assert!(drawn.contains("  me       ✔   ?   ✘   !   ✘\n"), "{drawn}");
    assert!(drawn.ends_with("  me       ✔   ✔   ✘   !   -\n"), "{drawn}");
}

#[test]
fn what_it_does_not_understand_it_says() {
    let policy = policy("package mcp.authz\nallow contains \"a\" if input.tool.name == \"a\"\n");
    let error = |description| render(&policy, description).unwrap_err().to_string();
    assert!(error("{callers: {}, servers: {}, calls: [], oops: 1}").contains("oops"));
    assert_eq!(
        error("{callers: {a: {}}, servers: {}, calls: [{server: s, tool: a}]}"),
        "no such server: `s`"
    );
    assert!(error("{callers: {a: {}}, servers: {s: {}}, calls: [{server: s}]}").contains("`1`"));
}
