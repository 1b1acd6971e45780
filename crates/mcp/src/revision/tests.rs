//! The table of revisions, as a picture.

use expect_test::expect;

use super::{Era, Revision};
use crate::method::{Direction, Method};

/// `>` the client may send it, `<` the server may, `x` both.
fn cell(revision: Revision, method: &Method) -> &'static str {
    let up = revision.permits(method, Direction::ToServer);
    let down = revision.permits(method, Direction::ToClient);
    match (up, down) {
        (true, true) => "x",
        (true, false) => ">",
        (false, true) => "<",
        (false, false) => ".",
    }
}

#[test]
fn trap_10_each_revision_has_its_methods_and_no_others() {
    let lines: Vec<String> = Method::KNOWN
        .iter()
        .map(|method| {
            let cells: Vec<&str> = Revision::ALL
                .iter()
                .map(|revision| cell(*revision, method))
                .collect();
            format!("{} {}", cells.join(" "), method.as_str())
        })
        .collect();
    expect![[r#"
        > > > > . initialize
        x x x x . ping
        > > > > > tools/list
        > > > > > tools/call
        > > > > > prompts/list
        > > > > > prompts/get
        > > > > > resources/list
        > > > > > resources/templates/list
        > > > > > resources/read
        > > > > . resources/subscribe
        > > > > . resources/unsubscribe
        > > > > > completion/complete
        > > > > . logging/setLevel
        . . . . > server/discover
        . . . . > subscriptions/listen
        . . . x > tasks/get
        . . . x . tasks/result
        . . . x > tasks/cancel
        . . . x . tasks/list
        . . . . > tasks/update
        < < < < . sampling/createMessage
        . . < < . elicitation/create
        < < < < . roots/list
        > > > > . notifications/initialized
        x x x x x notifications/cancelled
        x x x x < notifications/progress
        < < < < < notifications/message
        < < < < < notifications/tools/list_changed
        < < < < < notifications/prompts/list_changed
        < < < < < notifications/resources/list_changed
        < < < < < notifications/resources/updated
        > > > > . notifications/roots/list_changed
        . . . < . notifications/elicitation/complete
        . . . x . notifications/tasks/status
        . . . . < notifications/tasks
        . . . . < notifications/subscriptions/acknowledged"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn trap_10_unknown_methods_travel_nowhere() {
    for name in [
        "tools/Call",
        "vendor/run",
        "notifications/vendor",
        "",
        "rpc.discover",
    ] {
        let method = Method::parse(name);
        assert_eq!(method, Method::Other(name.into()));
        for revision in Revision::ALL {
            assert_eq!(cell(*revision, &method), ".");
        }
    }
}

#[test]
fn a_method_travels_where_some_revision_lets_it() {
    for method in Method::KNOWN {
        assert_eq!(Method::parse(method.as_str()), *method);
        for direction in [Direction::ToServer, Direction::ToClient] {
            let somewhere = Revision::ALL
                .iter()
                .any(|revision| revision.permits(method, direction));
            assert_eq!(
                somewhere,
                method.travels(direction),
                "{method:?} {direction:?}"
            );
        }
    }
}

#[test]
fn revisions_are_known_by_their_exact_names() {
    for revision in Revision::ALL {
        assert_eq!(Revision::parse(revision.as_str()), Some(*revision));
        assert_eq!(revision.facts().sessions, revision.era() == Era::Stateful);
    }
    for name in [
        "2024-10-07",
        "2025-3-26",
        "2026-07-28 ",
        "DRAFT-2026-v1",
        "",
    ] {
        assert_eq!(Revision::parse(name), None);
    }
    assert!(Revision::ALL.is_sorted());
    assert_eq!(Revision::negotiate("2025-06-18"), Revision::V2025_06_18);
    assert_eq!(Revision::negotiate("2024-11-05"), Revision::V2024_11_05);
    assert_eq!(Revision::negotiate("2026-07-28"), Revision::LATEST_STATEFUL);
}
