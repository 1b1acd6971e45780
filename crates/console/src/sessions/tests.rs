//! Sessions that last, end, and are somebody else's.

use std::{sync::Arc, time::SystemTime};

use keepgate_admin::{Role, Token, add, revoke};

use super::*;

struct Office {
    state: tempfile::TempDir,
    operators: Operators,
}

impl Office {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let token = Arc::new(Token::open(state.path()).unwrap());
        let operators = Operators::open(state.path(), token).unwrap();
        Self { state, operators }
    }

    fn add(&self, name: &str) -> TokenDigest {
        let roles = vec![Role::Approver];
        let now = SystemTime::now();
        let (_, token) = add(self.state.path(), name, roles, Vec::new(), now).unwrap();
        self.operators.reload().unwrap();
        let (operator, digest) = self.operators.login(token.as_bytes()).unwrap();
        assert_eq!(&*operator.name, name);
        digest
    }
}

#[test]
fn sessions_end_after_their_time_without_requests_and_with_their_operator() {
    let office = Office::new();
    let (ann, bob) = (office.add("ann"), office.add("bob"));
    let sessions = LoginSessions::default();
    let start = Instant::now();
    let begin = |holder| sessions.begin(holder, Channel::Tls, start).unwrap();
    let find = |id: &str, after: u64| {
        let now = start + Duration::from_secs(after);
        let found = sessions.find(id, Channel::Tls, &office.operators, now);
        found.map(|visitor| visitor.operator.name.to_string())
    };
    let minutes = |minutes: u64| minutes * 60;

    let id = begin(ann);
    assert_eq!(find(&id, 0).as_deref(), Some("ann"));
    assert_eq!(find("", 0), None);
    assert_eq!(find(&id[1..], 0), None);
    // Idle.
    assert_eq!(find(&id, minutes(29)).as_deref(), Some("ann"));
    assert_eq!(find(&id, minutes(58)).as_deref(), Some("ann"));
    assert_eq!(find(&id, minutes(88)), None);
    assert_eq!(find(&id, minutes(1)), None, "an end is one");
    // Old, however often it is used.
    let id = begin(ann);
    for after in (0..minutes(480)).step_by(1200) {
        assert!(find(&id, after).is_some(), "{after}");
    }
    assert_eq!(find(&id, minutes(480)), None);
    // Its operator is removed.
    let (ann, bob) = (begin(ann), begin(bob));
    revoke(office.state.path(), "ann", SystemTime::now()).unwrap();
    office.operators.reload().unwrap();
    assert_eq!(find(&ann, 0), None);
    assert_eq!(find(&bob, 0).as_deref(), Some("bob"));
}

#[test]
fn an_operator_has_few_sessions_and_the_one_used_longest_ago_ends() {
    let office = Office::new();
    let ann = office.add("ann");
    let sessions = LoginSessions::default();
    let start = Instant::now();
    let at = |seconds: usize| start + Duration::from_secs(seconds as u64);
    let ids: Vec<_> = (0..=MAX_OF_ONE)
        .map(|seconds| sessions.begin(ann, Channel::Tls, at(seconds)).unwrap())
        .collect();
    for (place, id) in ids.iter().enumerate() {
        let found = sessions.find(id, Channel::Tls, &office.operators, at(60));
        assert_eq!(found.is_some(), place > 0, "{place}");
    }
}

#[test]
fn a_form_token_is_of_one_session_and_one_action() {
    let office = Office::new();
    let ann = office.add("ann");
    let sessions = LoginSessions::default();
    let now = Instant::now();
    let visit = || {
        let id = sessions.begin(ann, Channel::Tls, now).unwrap();
        sessions
            .find(&id, Channel::Tls, &office.operators, now)
            .unwrap()
    };
    let (one, two) = (visit(), visit());
    let token = one.form_token("/console/kills");
    assert!(one.sent_form("/console/kills", &token));
    assert!(!one.sent_form("/console/kills/preview", &token));
    assert!(!one.sent_form("/console/kills", ""));
    assert!(!two.sent_form("/console/kills", &token));
}

/// A page that is read again by itself does not keep its session from the end.
#[test]
fn a_look_that_nobody_made_is_no_presence() {
    let office = Office::new();
    let ann = office.add("ann");
    let sessions = LoginSessions::default();
    let start = Instant::now();
    let id = sessions.begin(ann, Channel::Tls, start).unwrap();
    let peek = |minutes: u64| {
        let now = start + Duration::from_secs(60 * minutes);
        sessions
            .peek(&id, Channel::Tls, &office.operators, now)
            .is_some()
    };
    assert!(peek(10) && peek(29) && !peek(30));
}

/// A cookie that every port of this machine sees is good for minutes, and for no other channel.
#[test]
fn a_session_over_http_is_short_and_of_its_channel() {
    let office = Office::new();
    let ann = office.add("ann");
    let sessions = LoginSessions::default();
    let start = Instant::now();
    let find = |id: &str, channel, after: u64| {
        let now = start + Duration::from_secs(after);
        sessions.find(id, channel, &office.operators, now).is_some()
    };
    let (plain, tls) = (Channel::Loopback, Channel::Tls);
    let id = sessions.begin(ann, plain, start).unwrap();
    assert!(!find(&id, tls, 0) && find(&id, plain, 0));
    assert!(find(&id, plain, 299) && !find(&id, plain, 599));
    let id = sessions.begin(ann, plain, start).unwrap();
    for after in (0..3600).step_by(240) {
        assert!(find(&id, plain, after), "{after}");
    }
    assert!(!find(&id, plain, 3600));
    let id = sessions.begin(ann, tls, start).unwrap();
    assert!(!find(&id, plain, 0) && find(&id, tls, 0));
}

#[test]
fn a_notice_is_for_its_session_and_is_shown_once() {
    let office = Office::new();
    let ann = office.add("ann");
    let sessions = LoginSessions::default();
    let now = Instant::now();
    let visit = || {
        let id = sessions.begin(ann, Channel::Tls, now).unwrap();
        sessions
            .find(&id, Channel::Tls, &office.operators, now)
            .unwrap()
    };
    let (one, two) = (visit(), visit());
    let notice = Notice {
        is_warning: true,
        text: "partial".to_owned(),
    };
    sessions.leave(&one, vec![notice.clone(); 2 * MAX_NOTICES]);
    assert_eq!(sessions.take_notices(&two), []);
    assert_eq!(sessions.take_notices(&one), vec![notice; MAX_NOTICES]);
    assert_eq!(sessions.take_notices(&one), []);
}
