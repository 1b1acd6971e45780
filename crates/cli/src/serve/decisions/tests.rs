//! What waits, what is written, and what has to go.

use super::{Pace, Pending, upload};

#[test]
fn the_oldest_make_room_and_messages_are_bounded() {
    let pending = Pending::new(10, true);
    assert_eq!(pending.push("aaaa".into()), 0);
    assert_eq!(pending.push("bbbb".into()), 0);
    assert_eq!(pending.push("cccc".into()), 1);
    // One that is larger than everything that may wait pushes itself out too.
    assert_eq!(pending.push("d".repeat(11)), 3);
    assert!(pending.take(100).is_empty());

    let pending = Pending::new(100, true);
    for event in ["aaaa", "bbbb", "cccc"] {
        pending.push(event.to_owned());
    }
    assert_eq!(pending.take(8), ["aaaa", "bbbb"]);
    // A larger one travels alone.
    assert_eq!(pending.take(1), ["cccc"]);
    assert!(pending.take(8).is_empty());

    let off = Pending::new(100, false);
    off.push("aaaa".into());
    assert!(off.take(upload::BATCH).is_empty());
}

#[test]
fn so_many_a_second_and_no_more() {
    let mut pace = Pace::new(2);
    assert_eq!([(); 4].map(|()| pace.allows()), [true, true, false, false]);
    pace.began -= std::time::Duration::from_secs(1);
    assert_eq!([(); 3].map(|()| pace.allows()), [true, true, false]);
}
