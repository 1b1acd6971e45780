//! Every secret is searched for from before its first use until long after its last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Holder, KEPT, Live, PAST, SHARED, Tails};
use crate::{MASK, secret::Secret};

fn holder(text: &str) -> Arc<dyn Holder> {
    Arc::new(Secret::new(text.into()))
}

fn live() -> Arc<Live> {
    Live::new()
}

fn shown(live: &Live, text: &str) -> String {
    let json = serde_json::json!({ "text": text }).to_string();
    let masked = live.message(json.as_bytes(), &mut Tails::default());
    let bytes = masked.map_or_else(|| json.into_bytes(), |masked| masked.bytes.to_vec());
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    value["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_secret_is_searched_for_from_the_moment_it_is_added() {
    let live = live();
    let mut kept = Vec::new();
    for number in 0..(SHARED * 3) {
        let secret = format!("secret-number-{number:04}");
        assert_eq!(shown(&live, &secret), secret);
        kept.push(live.add("a", holder(&secret)).unwrap());
        for earlier in 0..=number {
            let secret = format!("secret-number-{earlier:04}");
            assert_eq!(shown(&live, &secret), MASK, "{secret} after {number}");
        }
    }
    assert_eq!(live.layers.load().len(), 3);
    assert_eq!(live.builds(), 0);
    // And all of them become one mask, once.
    while live.builds() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while live.layers.load().len() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(live.builds(), 1);
    assert_eq!(shown(&live, "secret-number-0007"), MASK);
    assert_eq!(shown(&live, "secret-number-0023"), MASK);
}

#[tokio::test]
async fn a_secret_of_the_past_is_searched_for_as_long_as_it_is_said() {
    let live = live();
    let old = live.add("a", holder("the-old-secret")).unwrap();
    let _new = live.add("a", holder("the-new-secret")).unwrap();
    drop(old);
    live.settle();
    assert_eq!(shown(&live, "the-old-secret"), MASK);
    let later = Instant::now() + KEPT + Duration::from_secs(1);
    live.known().forget(later);
    live.settle();
    assert_eq!(shown(&live, "the-old-secret"), "the-old-secret");
    assert_eq!(shown(&live, "the-new-secret"), MASK, "in use, however old");
}

#[tokio::test]
async fn a_server_that_changes_its_secret_all_the_time_takes_no_more_than_its_share() {
    let live = live();
    let _other = live.add("b", holder("of-another-server")).unwrap();
    for number in 0..(PAST * 3) {
        drop(live.add("a", holder(&format!("secret-number-{number:04}"))));
    }
    live.settle();
    assert_eq!(live.known().entries.len(), PAST + 1);
    let last = PAST * 3 - 1;
    assert_eq!(shown(&live, &format!("secret-number-{last:04}")), MASK);
    let oldest = format!("secret-number-{:04}", 0);
    assert_eq!(shown(&live, &oldest), oldest);
    assert_eq!(shown(&live, "of-another-server"), MASK);
}

#[tokio::test]
async fn a_cut_outlives_the_masks_it_was_seen_by() {
    let live = live();
    let _first = live.add("a", holder("x7Qp-2LdV9mZ_kTa81+cReW")).unwrap();
    let mut tails = Tails::default();
    let mut say = |text: &str| {
        let json = serde_json::json!({ "text": text }).to_string();
        let masked = live.message(json.as_bytes(), &mut tails)?;
        Some(String::from_utf8(masked.bytes.to_vec()).unwrap())
    };
    assert!(say("a x7Qp-2LdV9").is_some());
    let _second = live.add("b", holder("another-secret")).unwrap();
    live.settle();
    let rest = say("mZ_kTa81+cReW and more").unwrap();
    assert_eq!(rest, format!(r#"{{"text":"{MASK} and more"}}"#));
    assert_eq!(say("mZ_kTa81+cReW and more"), None);
}

#[tokio::test]
async fn what_cannot_be_searched_for_is_not_taken() {
    let live = live();
    let _kept = live.add("a", holder("the-old-secret")).unwrap();
    for short in ["short", "a\n\n\n\n\n\n\nb"] {
        assert!(live.add("a", holder(short)).is_err(), "{short:?}");
    }
    assert_eq!(shown(&live, "the-old-secret"), MASK);
}
