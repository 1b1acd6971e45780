//! Streams that nobody reads are cut all the same.

use std::{
    sync::Weak,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use keepgate_call::{Caller, CallerKind, DecisionId, Proof, Tenant, UpstreamId};
use keepgate_mcp::{Body, Limits, decode, revision::Revision};
use keepgate_store::kill::{Scope, Wish};

use super::*;

fn call(body: Option<&str>) -> Arc<Call> {
    let ask = body.map_or(Ask::Listen, |body| {
        let Ok(Body::Single(message)) = decode(body.to_owned().into(), &Limits::request()) else {
            panic!("a message");
        };
        Ask::Message(message)
    });
    let proof = Proof::new(Tenant::default(), CallerKind::Machine, "alice");
    Arc::new(Call::new(
        DecisionId::new(0, 0),
        UpstreamId::new(1),
        SystemTime::now(),
        Arc::new(Caller::new(proof)),
        ServerName::parse("crm").unwrap(),
        Revision::LATEST_STATEFUL,
        ask,
    ))
}

/// A registered stream of a silent call, and what its server's side holds.
fn held(switch: &Arc<Switch>, call: &Arc<Call>) -> (Events, Weak<()>) {
    let running = Running {
        call: Arc::clone(call),
        session: None,
        credentials: None,
    };
    let ticket = switch.admit(running).expect("no kill");
    let server = Arc::new(());
    let side = Arc::downgrade(&server);
    let silence = stream::pending().map(move |never: Result<Item, Broken>| {
        let _held = &server;
        never
    });
    (Cut::held(ticket, call, Box::pin(silence)), side)
}

fn kill() -> Kill {
    let wish = Wish {
        scope: Scope::Everything,
        tenant: None,
        reason: "leaked".to_owned(),
        by: "bob".to_owned(),
        lasts: None,
    };
    Kill::new(wish, SystemTime::now()).unwrap()
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;

#[tokio::test]
async fn a_cut_does_not_wait_for_a_reader() {
    let over = Duration::from_secs(1);
    for (body, is_killed, last) in [
        (Some(CALL), true, Some("killed")),
        (None, true, Some("killed")),
        (Some(CALL), false, Some("ended")),
        (None, false, None),
    ] {
        let (switch, call) = (Switch::new(), call(body));
        let (mut events, side) = held(&switch, &call);
        assert_eq!(switch.running(), 1);
        if is_killed {
            let applied = switch.set(kill());
            assert_eq!((applied.cut, switch.running()), (1, 1));
            switch.end_unread(&applied.kill);
        } else {
            let look = |_: &Running, _| Some(CallEnd::Limit("limits.call_life"));
            assert_eq!(switch.expire_calls(over, look), 1);
            // Its reader had the time until the next look.
            assert_eq!(switch.running(), 1);
            assert_eq!(switch.expire_calls(over, look), 0);
        }
        assert_eq!(switch.running(), 0, "{body:?} {is_killed}");
        assert!(side.upgrade().is_none(), "its server still has it");
        // Whoever reads after all learns why, once.
        let said = match events.next().await {
            Some(Err(Broken::Killed(_))) => Some("killed"),
            Some(Err(Broken::Ended(_))) => Some("ended"),
            Some(_) => Some("other"),
            None => None,
        };
        assert_eq!(said, last, "{body:?} {is_killed}");
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn what_was_not_cut_goes_on() {
    let (switch, call) = (Switch::new(), call(Some(CALL)));
    let (events, side) = held(&switch, &call);
    switch.end_unread(&kill());
    switch.expire_calls(Duration::from_secs(1), |_, _| None);
    assert_eq!(switch.running(), 1);
    assert!(side.upgrade().is_some());
    drop(events);
    assert_eq!(switch.running(), 0);
}
