//! Bodies: no bytes make the reader panic, and what is read is what was meant.

use proptest::prelude::*;

use super::*;

#[test]
fn times_have_one_unit() {
    assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
    assert_eq!(duration("2d"), Some(Duration::from_secs(2 * 86_400)));
    for text in [
        "",
        "s",
        "9",
        "1w",
        "1.5h",
        "-1h",
        "+1h",
        " 1h",
        "1hh",
        "1 h",
        "99999999999999999999s",
        "ü",
    ] {
        assert_eq!(duration(text), None, "{text}");
    }
}

#[test]
fn a_query_is_read_strictly() {
    let page = |all, after: Option<&str>, limit| {
        Ok(KillListing {
            all,
            after: after.map(str::to_owned),
            limit,
        })
    };
    for (query, expected) in [
        (None, page(false, None, MAX_PAGE)),
        (Some("all=true"), page(true, None, MAX_PAGE)),
        (Some("after=k_1&limit=1"), page(false, Some("k_1"), 1)),
        (Some("limit=2000&all=true"), page(true, None, 2000)),
    ] {
        assert_eq!(KillListing::parse(query), expected, "{query:?}");
    }
    for query in [
        "",
        "all",
        "all=false",
        "all=true&",
        "all=true&all=true",
        "limit=0",
        "limit=2001",
        "limit=x",
        "limit=-1",
        "after=a&after=b",
        "ALL=true",
        "page=2",
    ] {
        assert!(KillListing::parse(Some(query)).is_err(), "{query}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_a_wish(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(setting) = parse::<KillSetting>(&bytes) {
            let _wish_or_not = setting.wish(&"op".into()).is_ok();
        }
    }

    #[test]
    fn what_is_sent_is_what_is_wished(
        server in "[a-z][a-z0-9]{0,9}",
        tool in "[^\\p{C}]{1,30}",
        reason in "[^\\p{C}]{1,100}",
        minutes in 1_u64..1000,
    ) {
        let body = serde_json::json!({
            "scope": "tool", "target": format!("{server}/{tool}"), "reason": reason,
            "expires_in": format!("{minutes}m"),
        });
        let setting: KillSetting = parse(body.to_string().as_bytes()).unwrap();
        let wish = setting.wish(&"op".into()).unwrap();
        prop_assert_eq!(wish.scope.target().unwrap(), format!("{server}/{tool}"));
        prop_assert_eq!(wish.lasts, Some(Duration::from_secs(minutes * 60)));
        prop_assert_eq!((&*wish.reason, &*wish.by), (&*reason, "op"));
    }
}
