//! The whole life of an approval, through the public face.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use keepgate_audit::Log;
use keepgate_call::{
    Ask, Call, Caller, CallerKind, DecisionId, Proof, ServerName, Tenant, UpstreamId,
};
use keepgate_mcp::{Body, Limits, decode, revision::Revision};
use keepgate_store::{approvals::PageQuery, kill::Facts};

use super::{Approvals, Surroundings};
use crate::{
    DecideError, Denial, Destination, Duty, FrozenCall, Ineligible, Person, Settings, Unrelated,
    Use, Verdict, frozen::tests::call as frozen,
};

/// A gateway whose clock, operators and kills a test sets.
#[derive(Default)]
struct Around {
    now: Mutex<Option<SystemTime>>,
    gone: Mutex<Vec<&'static str>>,
    kills: Mutex<Vec<(SystemTime, &'static str)>>,
}

impl Around {
    fn pass(&self, time: Duration) {
        let now = self.now() + time;
        *self.now.lock().expect("a lock") = Some(now);
    }

    fn kill(&self, server: &'static str) {
        let now = self.now();
        self.kills.lock().expect("a lock").push((now, server));
    }
}

impl Surroundings for Around {
    fn now(&self) -> SystemTime {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        self.now.lock().expect("a lock").unwrap_or(start)
    }

    fn person(&self, id: &str) -> Option<Person> {
        let name = id.strip_prefix("op_")?;
        let gone = self.gone.lock().expect("a lock").contains(&name);
        (!gone).then(|| person(name))
    }

    fn is_operator(&self, _name: &str) -> bool {
        true
    }

    fn killed(&self, facts: &Facts<'_>, since: SystemTime) -> Option<Arc<str>> {
        let kills = self.kills.lock().expect("a lock");
        let mut covering = kills.iter();
        covering
            .any(|(at, server)| *at >= since && *server == facts.server)
            .then(|| "k_1".into())
    }

    fn kills(&self) -> (usize, Option<Arc<str>>) {
        (self.kills.lock().expect("a lock").len(), None)
    }
}

fn person(name: &str) -> Person {
    Person {
        id: format!("op_{name}").into(),
        name: name.into(),
        account: None,
        groups: vec![format!("group-of-{name}").into()],
    }
}

fn call() -> Arc<Call> {
    let body =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_account"}}"#;
    let Ok(Body::Single(message)) = decode(body.into(), &Limits::request()) else {
        panic!("a message");
    };
    let proof = Proof::new(Tenant::new("a"), CallerKind::Machine, "agent");
    Arc::new(Call::new(
        DecisionId::new(0, 0),
        UpstreamId::new(1),
        SystemTime::now(),
        Arc::new(Caller::new(proof)),
        ServerName::parse("crm").expect("a name"),
        Revision::LATEST_STATEFUL,
        Ask::Message(message),
    ))
}

/// Approvals with what is around them.
struct Gate {
    around: Arc<Around>,
    approvals: Approvals,
    log: Log,
    state: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let settings = keepgate_audit::Settings::new(
            state.path().join("audit"),
            "keepgate/test".to_owned(),
            "node".to_owned(),
        );
        let log = Log::open(settings).expect("a log");
        let around = Arc::new(Around::default());
        let approvals = open(state.path(), &log, &around);
        Self {
            around,
            approvals,
            log,
            state,
        }
    }

    /// The approvals of the next process on the same state.
    fn restarted(&self) -> Approvals {
        open(self.state.path(), &self.log, &self.around)
    }

    async fn enter(&self, frozen: FrozenCall) -> Result<Use, Denial> {
        self.approvals.enter(&call(), frozen, &()).await
    }

    /// Asks, and gives the id of what waits.
    async fn pending(&self, frozen: FrozenCall) -> Arc<str> {
        match self.enter(frozen).await {
            Err(Denial::Pending { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    async fn decide(
        &self,
        id: &str,
        who: &str,
        verdict: Verdict,
    ) -> Result<&'static str, DecideError> {
        let tenant = Tenant::new("a");
        let view = self.approvals.show(&tenant, id).await.expect("read");
        let shown = view.and_then(|view| view.shown).unwrap_or_default();
        let who = person(who);
        let decided = self
            .approvals
            .decide(&tenant, id, &who, verdict, "looked", &shown);
        decided.await.map(|view| view.state)
    }

    async fn state(&self, id: &str) -> &'static str {
        let view = self.approvals.show(&Tenant::new("a"), id).await;
        view.expect("read").expect("an approval").state
    }

    /// Kinds and first reasons of the records about approvals, in order.
    fn records(&self) -> Vec<String> {
        let mut found = Vec::new();
        keepgate_audit::look_back(
            &self.state.path().join("audit"),
            SystemTime::UNIX_EPOCH,
            1_000,
            |json| {
                let record: serde_json::Value = serde_json::from_str(json).expect("a record");
                let kind = record["kind"].as_str().unwrap_or_default().to_owned();
                if kind.starts_with("approval.") {
                    let code = record["reasons"][0]["code"].as_str().unwrap_or_default();
                    found.push(format!("{kind} {code}"));
                }
            },
        )
        .expect("a log");
        found
    }
}

fn settings() -> Settings {
    Settings {
        unrelated: Unrelated::Allow,
        ..Settings::default()
    }
}

fn open(state: &Path, log: &Log, around: &Arc<Around>) -> Approvals {
    let settings = settings();
    let around: Arc<dyn Surroundings> = Arc::clone(around) as _;
    Approvals::open(state, log.clone(), settings, around)
}

#[tokio::test]
async fn the_call_that_was_shown_is_made_once_and_no_other() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    // Asked again, also with members in another session: the same request.
    let mut retry = frozen();
    retry.session = None;
    assert_eq!(gate.pending(retry.clone()).await, id);
    assert_eq!(
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts"),
        "approved"
    );
    let mut other = frozen();
    other.arguments = Some(r#"{"id":8}"#.into());
    assert_ne!(gate.pending(other).await, id);
    let used = gate.enter(retry).await.expect("approved");
    assert_eq!(*used.approval(), id);
    let meanwhile = gate.enter(frozen()).await;
    assert!(
        matches!(meanwhile, Err(Denial::Ended { id: ref by, .. }) if *by == id),
        "{meanwhile:?}"
    );
    used.call.dispatch();
    drop(used);
    assert_ne!(gate.pending(frozen()).await, id, "it is used up");
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "consumed");
    assert_eq!(
        gate.records()[..2],
        ["approval.requested destructive", "approval.decided approve"]
    );
}

#[tokio::test]
async fn what_was_not_sent_is_given_back() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    drop(gate.enter(frozen()).await.expect("approved"));
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "approved");
    assert!(gate.enter(frozen()).await.is_ok());
}

#[tokio::test]
async fn several_uses_are_counted() {
    let gate = Gate::new();
    let mut twice = frozen();
    twice.requirement.uses = 2;
    let id = gate.pending(twice.clone()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let first = gate.enter(twice.clone()).await.expect("once");
    assert_eq!(gate.state(&id).await, "approved");
    let second = gate.enter(twice.clone()).await.expect("twice");
    assert_eq!(gate.state(&id).await, "consumed");
    for used in [first, second] {
        used.call.dispatch();
    }
    assert_ne!(gate.pending(twice).await, id);
}

#[tokio::test]
async fn a_denied_call_is_denied_at_once_for_a_while() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    assert_eq!(
        gate.decide(&id, "ann", Verdict::Deny)
            .await
            .expect("counts"),
        "denied"
    );
    let denied = gate.enter(frozen()).await;
    assert!(
        matches!(denied, Err(Denial::Denied { id: ref by, .. }) if *by == id),
        "{denied:?}"
    );
    gate.around.pass(Settings::default().cooldown);
    assert_ne!(gate.pending(frozen()).await, id);
}

#[tokio::test]
async fn time_never_approves() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.around.pass(Duration::from_secs(900));
    let late = gate.decide(&id, "ann", Verdict::Approve).await;
    assert!(matches!(late, Err(DecideError::Closed(_))), "{late:?}");
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "expired");
    let next = gate.pending(frozen()).await;
    gate.decide(&next, "ann", Verdict::Approve)
        .await
        .expect("counts");
    gate.around.pass(Duration::from_secs(900));
    assert_ne!(
        gate.pending(frozen()).await,
        next,
        "a yes is not used after its time"
    );
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&next).await, "expired");
    assert_eq!(
        gate.records()
            .iter()
            .filter(|it| *it == "approval.ended expired")
            .count(),
        2
    );
}

/// Something that changes between the decision and the use.
type Change = fn(&Around, &mut FrozenCall);

/// An approval is checked against the facts of its use: each of these takes it back, and the call asks again.
#[tokio::test]
async fn everything_is_checked_again_when_it_is_used() {
    let changes: [(&str, Change); 9] = [
        ("destination_changed", |_, call| {
            call.destination = Arc::new(Destination {
                address: "https://elsewhere.example".into(),
                ..Destination::default()
            });
        }),
        ("terms_changed", |around, call| {
            around.pass(Duration::from_secs(9));
            call.requirement.valid_for_s = 10;
        }),
        ("terms_changed", |_, call| call.requirement.uses = 0),
        ("killed", |around, _| around.kill("crm")),
        ("approver_ineligible", |around, _| {
            around.gone.lock().expect("a lock").push("ann");
        }),
        ("approver_ineligible", |_, call| {
            // Policy has become stricter.
            call.requirement.duties.push(Duty {
                approvers: vec!["user:zoe".into()],
                quorum: 1,
                step: 1,
            });
        }),
        ("approver_ineligible", |_, call| {
            call.caller.owner = Some("ann".into());
        }),
        ("credential_changed", |_, call| {
            call.credentials.push("file:other".into());
        }),
        ("arguments_changed", |_, call| {
            call.sent = Some(r#"{"id":9}"#.into());
        }),
    ];
    for (why, change) in changes {
        let gate = Gate::new();
        let id = gate.pending(frozen()).await;
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts");
        gate.around.pass(Duration::from_secs(1));
        let mut later = frozen();
        change(&gate.around, &mut later);
        assert_ne!(gate.pending(later).await, id, "{why}");
        assert_eq!(gate.state(&id).await, "revoked", "{why}");
        let ended = format!("approval.ended {why}");
        assert!(
            gate.records().contains(&ended),
            "{why}: {:?}",
            gate.records()
        );
    }
}

#[tokio::test]
async fn a_kill_voids_what_waits_and_what_may_be_used() {
    let gate = Gate::new();
    let waiting = gate.pending(frozen()).await;
    let mut other = frozen();
    other.arguments = None;
    let usable = gate.pending(other.clone()).await;
    gate.decide(&usable, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let mut elsewhere = frozen();
    elsewhere.server = "files".into();
    let spared = gate.pending(elsewhere).await;
    gate.around.pass(Duration::from_secs(1));
    gate.around.kill("crm");
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&waiting).await, "cancelled");
    assert_eq!(gate.state(&usable).await, "revoked");
    assert_eq!(gate.state(&spared).await, "pending");
    // What is asked for after the kill was cleared waits on its own.
    gate.around.pass(Duration::from_secs(1));
    let next = gate.pending(other).await;
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&next).await, "pending");
}

#[tokio::test]
async fn only_those_who_may_decide() {
    let gate = Gate::new();
    let mut named = frozen();
    named.requirement.duties = vec![
        Duty {
            approvers: vec!["group:group-of-ann".into(), "user:bob".into()],
            quorum: 2,
            step: 1,
        },
        Duty {
            approvers: vec!["user:zoe".into()],
            quorum: 1,
            step: 1,
        },
    ];
    let id = gate.pending(named.clone()).await;
    let decide = async |who| gate.decide(&id, who, Verdict::Approve).await;
    assert!(matches!(
        decide("eve").await,
        Err(DecideError::Ineligible(Ineligible::NotNamed))
    ));
    assert!(matches!(
        decide("agent").await,
        Err(DecideError::Ineligible(
            Ineligible::NotNamed | Ineligible::Requester
        ))
    ));
    assert_eq!(decide("ann").await.expect("counts"), "pending");
    assert!(matches!(decide("ann").await, Err(DecideError::Twice)));
    assert_eq!(decide("zoe").await.expect("counts"), "pending");
    assert_eq!(decide("bob").await.expect("counts"), "approved");
    assert!(gate.enter(named).await.is_ok());
}

#[tokio::test]
async fn a_decision_is_over_what_was_shown() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    let tenant = Tenant::new("a");
    let decide = async |tenant: Tenant, reason: &str, shown: &str| {
        let ann = person("ann");
        let decided = gate
            .approvals
            .decide(&tenant, &id, &ann, Verdict::Approve, reason, shown);
        decided.await.map(|view| view.state)
    };
    let shown = frozen().shown();
    let other = decide(tenant.clone(), "looked", &shown.replace('a', "b")).await;
    assert!(matches!(other, Err(DecideError::NotShown)), "{other:?}");
    let silent = decide(tenant.clone(), " ", &shown).await;
    assert!(matches!(silent, Err(DecideError::Reason)), "{silent:?}");
    let foreign = decide(Tenant::new("b"), "looked", &shown).await;
    assert!(matches!(foreign, Err(DecideError::Unknown)), "{foreign:?}");
}

#[tokio::test]
async fn the_admin_token_is_one_of_several_never() {
    let gate = Gate::new();
    let mut both = frozen();
    both.requirement.duties[0].quorum = 2;
    let id = gate.pending(both).await;
    assert_eq!(
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts"),
        "pending"
    );
    let bootstrap = gate.decide(&id, Person::NAMELESS, Verdict::Approve).await;
    assert!(
        matches!(
            bootstrap,
            Err(DecideError::Ineligible(Ineligible::Nameless))
        ),
        "{bootstrap:?}"
    );
}

#[tokio::test]
async fn a_list_shows_nothing_to_decide_over() {
    let gate = Gate::new();
    gate.pending(frozen()).await;
    let query = PageQuery {
        states: Vec::new(),
        after: None,
        limit: 10,
    };
    let page = gate
        .approvals
        .page(&Tenant::new("a"), &query)
        .await
        .expect("a page");
    let [view] = &page[..] else {
        panic!("{page:?}");
    };
    let call = view.call.as_ref().expect("a call");
    assert_eq!((&view.shown, &call.arguments), (&None, &None));
}

#[tokio::test]
async fn a_flood_of_requests_ends_at_the_limits() {
    let gate = Gate::new();
    let ask = async |number: u32| {
        let mut call = frozen();
        call.arguments = Some(format!("{{\"id\":{number}}}").into());
        gate.enter(call).await
    };
    for number in 0..10 {
        assert!(
            matches!(ask(number).await, Err(Denial::Pending { .. })),
            "{number}"
        );
    }
    let refused = ask(10).await;
    assert!(
        matches!(
            refused,
            Err(Denial::Limit("approvals.requests_per_minute", _))
        ),
        "{refused:?}"
    );
    gate.around.pass(Duration::from_secs(61));
    for number in 10..20 {
        assert!(
            matches!(ask(number).await, Err(Denial::Pending { .. })),
            "{number}"
        );
    }
    gate.around.pass(Duration::from_secs(61));
    let refused = ask(20).await;
    assert!(
        matches!(
            refused,
            Err(Denial::Limit("approvals.pending_per_caller", _))
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_restart_keeps_what_waits_and_alerts_what_was_under_way() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    // As a process that is killed would: the use is never settled.
    std::mem::forget(gate.enter(frozen()).await.expect("approved"));
    let mut other = frozen();
    other.subject = Some("close_account".into());
    let waiting = gate.pending(other.clone()).await;
    let next = gate.restarted();
    next.tend().await.expect("tended");
    assert!(
        gate.records()
            .contains(&"approval.ended indeterminate".to_owned())
    );
    let entered = next.enter(&call(), frozen(), &()).await;
    assert!(
        matches!(entered, Err(Denial::Pending { .. })),
        "never made twice: {entered:?}"
    );
    let again = next.enter(&call(), other, &()).await;
    assert!(
        matches!(again, Err(Denial::Pending { ref id, .. }) if *id == waiting),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_retries_at_once_one_is_made() {
    for _ in 0..20 {
        let gate = Arc::new(Gate::new());
        let id = gate.pending(frozen()).await;
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts");
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.enter(frozen()).await })
            })
            .collect();
        let mut made = Vec::new();
        for task in tasks {
            made.extend(task.await.expect("a task"));
        }
        assert_eq!(made.len(), 1);
    }
}

mod attempts;
mod grants;
mod held;
mod keys;
mod races;
mod recorded;
mod release;
mod steps;
