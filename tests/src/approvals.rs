//! Approvals of a gateway in this process, and the one operator who decides.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use keepgate_approval::{Approvals, Person, Settings, Surroundings, Verdict};
use keepgate_audit::Log;
use keepgate_call::Tenant;
use keepgate_store::{
    approvals::{ApprovalState, PageQuery},
    kill::Facts,
};

/// Interval in which what has ended is settled.
const TEND: Duration = Duration::from_millis(100);

/// A gateway without kills, whose one operator may approve.
struct Around;

fn ann() -> Person {
    Person {
        id: "op_ann".into(),
        name: "ann".into(),
        account: None,
        groups: Vec::new(),
    }
}

impl Surroundings for Around {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn person(&self, id: &str) -> Option<Person> {
        Some(ann()).filter(|ann| &*ann.id == id)
    }

    fn is_operator(&self, name: &str) -> bool {
        name == "ann"
    }

    fn killed(&self, _facts: &Facts<'_>, _since: SystemTime) -> Option<Arc<str>> {
        None
    }

    fn kills(&self) -> (usize, Option<Arc<str>>) {
        (0, None)
    }
}

/// Opens them, and looks after them from now on.
pub(crate) fn open(state: &std::path::Path, log: &Log, settings: Settings) -> Approvals {
    let approvals = Approvals::open(state, log.clone(), settings, Arc::new(Around));
    let tended = approvals.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TEND).await;
            let _next_time = tended.tend().await;
        }
    });
    approvals
}

/// The id of the one request that waits, once there is one.
///
/// # Panics
/// When the store does not answer.
pub async fn waiting(approvals: &Approvals) -> Arc<str> {
    let query = PageQuery {
        states: vec![ApprovalState::Pending],
        after: None,
        limit: 1,
    };
    loop {
        let page = approvals.page(&Tenant::default(), &query).await;
        let page = page.expect("a page");
        if let Some(view) = page.first() {
            return Arc::clone(&view.id);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// State of a request.
///
/// # Panics
/// When there is none.
pub async fn state(approvals: &Approvals, id: &str) -> &'static str {
    let view = approvals.show(&Tenant::default(), id).await;
    view.expect("a view").expect("a request").state
}

/// Ann decides over a request as it is shown now.
///
/// # Panics
/// When the decision does not count.
pub async fn decide(approvals: &Approvals, id: &str, verdict: Verdict) {
    let tenant = Tenant::default();
    let view = approvals.show(&tenant, id).await;
    let view = view.expect("a view").expect("a request");
    let shown = view.shown.expect("a digest");
    let person = ann();
    let decided = approvals.decide(&tenant, id, &person, verdict, "looked at it", &shown);
    decided.await.expect("a decision");
}
