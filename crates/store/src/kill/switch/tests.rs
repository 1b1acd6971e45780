//! No call slips through, whoever comes first.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use keepgate_call::{
    Ask, Call, Caller, CallerKind, DecisionId, Proof, ServerName, Tenant, UpstreamId,
};
use keepgate_mcp::{Body, Limits, decode, revision::Revision};

use super::*;
use crate::kill::{Scope, Wish};

fn call(caller: &str, tool: &str) -> Arc<Call> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    );
    let Ok(Body::Single(message)) = decode(body.into(), &Limits::request()) else {
        panic!("a message");
    };
    let proof = Proof::new(Tenant::default(), CallerKind::Machine, caller);
    Arc::new(Call::new(
        DecisionId::new(0, 0),
        UpstreamId::new(1),
        SystemTime::now(),
        Arc::new(Caller::new(proof)),
        ServerName::parse("crm").unwrap(),
        Revision::LATEST_STATEFUL,
        Ask::Message(message),
    ))
}

fn running(caller: &str, tool: &str) -> Running {
    Running {
        call: call(caller, tool),
        session: Some(Arc::from(format!("session of {caller}"))),
        credentials: None,
    }
}

fn kill(word: &str, target: Option<&str>) -> Kill {
    lasting(word, target, None)
}

fn lasting(word: &str, target: Option<&str>, lasts: Option<Duration>) -> Kill {
    let wish = Wish {
        scope: Scope::parse(word, target).unwrap(),
        tenant: None,
        reason: "test".to_owned(),
        by: "op".to_owned(),
        lasts,
    };
    Kill::new(wish, SystemTime::now()).unwrap()
}

#[test]
fn a_kill_refuses_cuts_and_lets_go() {
    let switch = Switch::new();
    let hit = switch.admit(running("agent-7", "delete")).unwrap();
    let spared = switch.admit(running("agent-8", "delete")).unwrap();
    assert_eq!(switch.running(), 2);
    let mut listener = switch.subscribe();
    let applied = switch.set(kill("caller", Some("agent-7")));
    assert_eq!(applied.cut, 1);
    assert_eq!(hit.cut().unwrap().id, applied.kill.id);
    assert!(spared.cut().is_none());
    assert_eq!(listener.try_recv().unwrap().id, applied.kill.id);
    let refused = switch.admit(running("agent-7", "read")).unwrap_err();
    assert_eq!(refused.id, applied.kill.id);
    assert_eq!(switch.running(), 2, "a refused call is not running");
    assert!(switch.clear(&applied.kill.id) && !switch.clear(&applied.kill.id));
    assert!(switch.admit(running("agent-7", "read")).is_ok());
    assert!(hit.cut().is_some(), "what was cut stays cut");
    drop((hit, spared));
    assert_eq!(switch.running(), 0);
}

#[test]
fn a_kill_is_over_when_its_time_is() {
    let switch = Switch::new();
    let mut short = lasting("everything", None, Some(Duration::from_secs(60)));
    short.deadline = Instant::now().checked_add(Duration::from_millis(30));
    switch.set(short);
    assert!(switch.admit(running("a", "t")).is_err());
    while switch.admit(running("a", "t")).is_err() {
        thread::yield_now();
    }
    assert!(switch.in_force().is_empty());
    assert_eq!(switch.expire().len(), 1);
    assert!(switch.expire().is_empty());
}

#[test]
fn a_tool_kill_hides_that_tool_alone() {
    let switch = Switch::new();
    switch.set(kill("tool", Some("crm/delete")));
    assert!(switch.hides("crm", "delete", "default"));
    assert!(!switch.hides("crm", "read", "default") && !switch.hides("files", "delete", "default"));
    assert!(switch.admit(running("a", "delete")).is_err());
    assert!(switch.admit(running("a", "read")).is_ok());
}

#[test]
fn a_drill_counts_and_changes_nothing() {
    let switch = Switch::new();
    let held: Vec<Ticket> = [("a", "x"), ("a", "y"), ("b", "x")]
        .map(|(caller, tool)| switch.admit(running(caller, tool)).unwrap())
        .into();
    let blast = switch.blast(&kill("tool", Some("crm/x")));
    assert_eq!((blast.running, blast.sessions.len()), (2, 2));
    assert_eq!(blast.tools["crm/x"], 2);
    assert_eq!((blast.callers["a"], blast.callers["b"]), (1, 1));
    assert!(held.iter().all(|ticket| ticket.cut().is_none()));
    assert_eq!(switch.blast(&kill("everything", None)).running, 3);
    assert!(switch.in_force().is_empty());
}

/// Threads admit calls as fast as they can; after `set` has returned not one of them gets in, and every one that is in is
/// cut.
#[test]
fn no_call_passes_after_the_acknowledgement() {
    for _ in 0..40 {
        let switch = Switch::new();
        let acknowledged = Arc::new(AtomicBool::new(false));
        let slipped = Arc::new(AtomicUsize::new(0));
        let (sender, tickets) = mpsc::channel();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (switch, acknowledged) = (Arc::clone(&switch), Arc::clone(&acknowledged));
                let (slipped, sender) = (Arc::clone(&slipped), sender.clone());
                let call = call("a", "t");
                thread::spawn(move || {
                    loop {
                        let after = acknowledged.load(Ordering::SeqCst);
                        let running = Running {
                            call: Arc::clone(&call),
                            session: None,
                            credentials: None,
                        };
                        match switch.admit(running) {
                            Ok(_) if after => {
                                slipped.fetch_add(1, Ordering::SeqCst);
                                return;
                            }
                            Ok(ticket) => sender.send(ticket).unwrap(),
                            Err(_) if after => return,
                            Err(_) => {}
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        // Some are in before the kill.
        let first = tickets.recv().unwrap();
        switch.set(kill("server", Some("crm")));
        acknowledged.store(true, Ordering::SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(slipped.load(Ordering::SeqCst), 0);
        assert!(first.cut().is_some());
        assert!(
            tickets.iter().all(|ticket| ticket.cut().is_some()),
            "a call that was let in while the kill was set is cut"
        );
    }
}

#[tokio::test]
async fn work_is_dropped_when_its_call_is_cut() {
    let switch = Switch::new();
    let ticket = switch.admit(running("a", "t")).unwrap();
    assert_eq!(ticket.hold(async { 7 }).await.unwrap(), 7);
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let work = async move {
        std::future::pending::<()>().await;
        drop(held);
    };
    let cutter = Arc::clone(&switch);
    let (cut, ()) = tokio::join!(ticket.hold(work), async move {
        tokio::task::yield_now().await;
        cutter.set(kill("everything", None));
    });
    assert!(cut.is_err());
    assert_eq!(Arc::strong_count(&alive), 1, "the work is gone");
    let late = ticket.hold(async { 7 }).await;
    assert!(late.is_err(), "nothing gets out of a call that is cut");
}
