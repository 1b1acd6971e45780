//! Logins by operator token: who comes in, how often that may fail, and the record of both.
//!
//! A token has 256 random bits, so nobody guesses one, and a wrong one must not lock out those who have a right one: whoever
//! reaches the listener could keep operators from the kill switch. Failures are therefore bounded in what they cost (a hash, and
//! records at a rate), not in what they forbid. A login by another way begins a session by the same [`Logins::begin`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use keepgate_admin::{Operator, Operators, TokenDigest};
use keepgate_audit::{Caller, Kind, Log, Reason, Record};
use zeroize::Zeroizing;

use crate::sessions::{Channel, LoginSessions, Visitor};

/// Span over which logins are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Failed logins in it that are on record, each.
const RECORDED_FAILURES: u32 = 10;
/// Failed logins in it before further ones are answered with 429.
const MAX_FAILURES: u32 = 30;
/// Logins of one operator in it.
const MAX_OF_ONE: u32 = 10;
/// Time a login waits for its record.
const RECORD: Duration = Duration::from_secs(2);

/// Reason nobody is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// No operator has this token.
    Token,
    /// Too many logins in a minute.
    Limited,
    /// There are no random bytes, or too many sessions.
    Unavailable,
    /// Too many logins are being sent at this moment.
    Busy,
}

/// Counts of one span.
#[derive(Debug)]
struct Counts {
    began: Instant,
    failures: u32,
    of: HashMap<Arc<str>, u32>,
}

/// Logins of the console.
#[derive(Debug)]
pub(crate) struct Logins {
    log: Log,
    counts: Mutex<Counts>,
}

impl Logins {
    /// Logins that go on record in `log`.
    pub(crate) fn new(log: Log) -> Self {
        let counts = Counts {
            began: Instant::now(),
            failures: 0,
            of: HashMap::new(),
        };
        Self {
            log,
            counts: Mutex::new(counts),
        }
    }

    /// Begins a session for the holder of `token`, and gives its id. A log that takes no record keeps nobody out: the console has
    /// the kill switch.
    pub(crate) async fn by_token(
        &self,
        token: &str,
        operators: &Operators,
        sessions: &LoginSessions,
        (channel, now): (Channel, Instant),
    ) -> Result<Zeroizing<String>, LoginError> {
        let Some((operator, digest)) = operators.login(token.trim().as_bytes()) else {
            return Err(self.failed(now).await);
        };
        self.begin(&operator, digest, sessions, (channel, now))
            .await
    }

    /// Whether `token` is the one the visitor's session was begun with; another one is a login that failed.
    pub(crate) async fn confirm(
        &self,
        token: &str,
        visitor: &Visitor,
        operators: &Operators,
        now: Instant,
    ) -> Result<(), LoginError> {
        let known = operators.login(token.trim().as_bytes());
        match known.filter(|(_, digest)| visitor.holds(*digest)) {
            Some(_) => Ok(()),
            // Nothing was typed: a mistake, not an attempt.
            None if token.trim().is_empty() => Err(LoginError::Token),
            None => Err(self.failed(now).await),
        }
    }

    async fn begin(
        &self,
        operator: &Operator,
        holder: TokenDigest,
        sessions: &LoginSessions,
        (channel, now): (Channel, Instant),
    ) -> Result<Zeroizing<String>, LoginError> {
        if !self.counts(now, |counts| {
            let count = counts.of.entry(Arc::clone(&operator.name)).or_default();
            *count += 1;
            *count <= MAX_OF_ONE
        }) {
            return Err(LoginError::Limited);
        }
        let message = "login to the console by operator token";
        if !self
            .record(
                Kind::OperatorLogin,
                &operator.name,
                "operator_token",
                message,
            )
            .await
        {
            tracing::error!(operator = %operator.name, "a login to the console is not on record");
        }
        tracing::info!(operator = %operator.name, "operator logged in to the console");
        sessions
            .begin(holder, channel, now)
            .ok_or(LoginError::Unavailable)
    }

    async fn failed(&self, now: Instant) -> LoginError {
        let failures = self.counts(now, |counts| {
            counts.failures = counts.failures.saturating_add(1);
            counts.failures
        });
        if failures <= RECORDED_FAILURES {
            tracing::warn!("login to the console with an unknown token");
            let message = "login to the console with an unknown token";
            self.record(Kind::AuthDenied, "unknown", "operator_token", message)
                .await;
        }
        if failures <= MAX_FAILURES {
            LoginError::Token
        } else {
            LoginError::Limited
        }
    }

    fn counts<T>(&self, now: Instant, count: impl FnOnce(&mut Counts) -> T) -> T {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(counts.began) >= WINDOW {
            *counts = Counts {
                began: now,
                failures: 0,
                of: HashMap::new(),
            };
        }
        count(&mut counts)
    }

    /// Whether the record was written. Aside, so that a disk that hangs holds up this login alone.
    async fn record(
        &self,
        kind: Kind,
        name: &str,
        code: &'static str,
        message: &'static str,
    ) -> bool {
        let (log, name) = (self.log.clone(), name.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            let reasons = [Reason { code, message }];
            let record = Record {
                caller: Some(Caller {
                    kind: "operator",
                    user_id: &name,
                    key_id: None,
                    issuer: None,
                    client_id: None,
                }),
                reasons: &reasons,
                ..Record::new(kind, SystemTime::now())
            };
            log.append(&record).wait().is_ok()
        });
        matches!(tokio::time::timeout(RECORD, written).await, Ok(Ok(true)))
    }
}
