//! Tests of list filtering.

use bytes::Bytes;
use expect_test::{Expect, expect};

use super::Listing;
use crate::json::Limits;
use crate::message::{Body, Message, Response, decode};
use crate::method::ListKind;
use crate::revision::Revision;

fn response(result: &str) -> Response {
    let text = format!(r#"{{"jsonrpc":"2.0","id":"\u0061","result":{result}}}"#);
    match decode(Bytes::from(text), &Limits::reply()) {
        Ok(Body::Single(Message::Response(response))) => response,
        other => panic!("not a response: {other:?}"),
    }
}

fn check(kind: ListKind, revision: Revision, result: &str, mask: &[bool], expected: &Expect) {
    let response = response(result);
    let shown = match Listing::read(&response, kind) {
        None => "unreadable".to_owned(),
        Some(listing) => {
            let kept = listing.keep(mask, revision).expect("a legal reply");
            let keys: Vec<&str> = listing
                .items()
                .iter()
                .map(|item| item.key.as_ref())
                .collect();
            format!("{keys:?}\n{}", String::from_utf8_lossy(kept.bytes()))
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn refused_items_are_cut_out_and_the_rest_stays() {
    check(
        ListKind::Tools,
        Revision::V2025_11_25,
        r#"{ "tools" : [ {"name":"a","x":[1.0]} , {"name" : "b"},{"name":"\u0063"} ] , "nextCursor":"n", "_meta":{"k":1e5} }"#,
        &[true, false, true],
        &expect![[r#"
            ["a", "b", "c"]
            {"jsonrpc":"2.0","id":"\u0061","result":{"tools":[{"name":"a","x":[1.0]},{"name":"\u0063"}],"nextCursor":"n","_meta":{"k":1e5}}}"#]],
    );
}

#[test]
fn a_place_the_mask_lacks_is_refused() {
    let two = r#"{"prompts":[{"name":"a"},{"name":"b"}]}"#;
    check(
        ListKind::Prompts,
        Revision::V2025_11_25,
        two,
        &[true],
        &expect![[r#"
            ["a", "b"]
            {"jsonrpc":"2.0","id":"\u0061","result":{"prompts":[{"name":"a"}]}}"#]],
    );
    check(
        ListKind::Prompts,
        Revision::V2025_11_25,
        two,
        &[],
        &expect![[r#"
            ["a", "b"]
            {"jsonrpc":"2.0","id":"\u0061","result":{"prompts":[]}}"#]],
    );
}

#[test]
fn an_unfiltered_list_is_the_same_reply() {
    let whole = response(r#"{ "tools":[ {"name":"a"} ] }"#);
    let listing = Listing::read(&whole, ListKind::Tools).expect("a list");
    let kept = listing.keep(&[true], Revision::V2025_11_25).expect("legal");
    assert_eq!(kept.bytes(), whole.bytes());
}

#[test]
fn trap_29_a_filtered_list_is_private() {
    let scoped =
        r#"{"resources":[{"uri":"f:///a"},{"uri":"f:///b"}],"ttlMs":5,"cacheScope":"public"}"#;
    check(
        ListKind::Resources,
        Revision::V2026_07_28,
        scoped,
        &[true, false],
        &expect![[r#"
            ["f:///a", "f:///b"]
            {"jsonrpc":"2.0","id":"\u0061","result":{"resources":[{"uri":"f:///a"}],"ttlMs":5,"cacheScope":"private"}}"#]],
    );
    // Nothing was cut out, but for another caller something might be.
    check(
        ListKind::Resources,
        Revision::V2026_07_28,
        scoped,
        &[true, true],
        &expect![[r#"
            ["f:///a", "f:///b"]
            {"jsonrpc":"2.0","id":"\u0061","result":{"resources":[{"uri":"f:///a"},{"uri":"f:///b"}],"ttlMs":5,"cacheScope":"private"}}"#]],
    );
    let bare = r#"{"resourceTemplates":[{"uriTemplate":"f:///{x}"}]}"#;
    check(
        ListKind::ResourceTemplates,
        Revision::V2026_07_28,
        bare,
        &[true],
        &expect![[r#"
            ["f:///{x}"]
            {"jsonrpc":"2.0","id":"\u0061","result":{"resourceTemplates":[{"uriTemplate":"f:///{x}"}],"cacheScope":"private"}}"#]],
    );
    check(
        ListKind::ResourceTemplates,
        Revision::V2025_06_18,
        bare,
        &[false],
        &expect![[r#"
            ["f:///{x}"]
            {"jsonrpc":"2.0","id":"\u0061","result":{"resourceTemplates":[]}}"#]],
    );
    check(
        ListKind::Tasks,
        Revision::V2026_07_28,
        r#"{"tasks":[],"cacheScope":"private"}"#,
        &[],
        &expect![[r#"
            []
            {"jsonrpc":"2.0","id":"\u0061","result":{"tasks":[],"cacheScope":"private"}}"#]],
    );
}

#[test]
fn lists_that_cannot_be_judged_are_not_read() {
    for result in [
        "{}",
        r#"{"tools":{}}"#,
        r#"{"tools":[1]}"#,
        r#"{"tools":[{"name":1}]}"#,
        r#"{"tools":[{"title":"x"}]}"#,
        r#"{"prompts":[]}"#,
    ] {
        assert!(
            Listing::read(&response(result), ListKind::Tools).is_none(),
            "{result}"
        );
    }
}
