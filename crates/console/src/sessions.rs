//! Sessions of operators in a browser: ids kept hashed and in memory, so that a restart ends them all.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_admin::{Operator, Operators, TokenDigest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Connection the cookie of a session travels over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// TLS: browsers bind the cookie to the origin.
    Tls,
    /// Plain http of this machine. Cookies know no ports: a browser shows this one to every port of `localhost`, so whoever
    /// listens on another one may have it.
    Loopback,
}

impl Channel {
    /// Longest time a session lasts.
    pub(crate) fn max_age(self) -> Duration {
        match self {
            Self::Tls => Duration::from_secs(8 * 60 * 60),
            Self::Loopback => Duration::from_secs(60 * 60),
        }
    }

    /// Time without a request after which it ends.
    pub(crate) fn max_idle(self) -> Duration {
        match self {
            Self::Tls => Duration::from_secs(30 * 60),
            Self::Loopback => Duration::from_secs(5 * 60),
        }
    }

    /// Whether a cookie is too little for an act: each takes the operator's token, too.
    pub(crate) fn asks_token(self) -> bool {
        match self {
            Self::Tls => false,
            Self::Loopback => true,
        }
    }
}

/// Most sessions of one operator; the oldest ends for another.
const MAX_OF_ONE: usize = 8;
/// Most sessions in all: a login needs a token, so only operators can reach it.
const MAX: usize = 1024;

/// Most notices that wait for their page.
const MAX_NOTICES: usize = 16;

/// Hash of a session's id.
type SessionKey = [u8; 32];

/// One session.
#[derive(Debug)]
struct LoginSession {
    holder: TokenDigest,
    channel: Channel,
    /// Reports of acts for the page that comes next.
    notices: Vec<Notice>,
    /// Key of the tokens in its forms.
    form_key: Zeroizing<[u8; 32]>,
    began: Instant,
    used: Instant,
}

impl LoginSession {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.began) >= self.channel.max_age()
            || now.duration_since(self.used) >= self.channel.max_idle()
    }
}

/// Report of an act that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether it needs attention.
    pub(crate) is_warning: bool,
    /// The report.
    pub(crate) text: String,
}

/// Every session.
#[derive(Debug, Default)]
pub(crate) struct LoginSessions(Mutex<HashMap<SessionKey, LoginSession>>);

/// A session that was found, with who its operator is now.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The operator, with the roles of now.
    pub(crate) operator: Operator,
    /// The connection the cookie came over.
    pub(crate) channel: Channel,
    session: SessionKey,
    holder: TokenDigest,
    form_key: Zeroizing<[u8; 32]>,
}

impl LoginSessions {
    fn all(&self) -> MutexGuard<'_, HashMap<SessionKey, LoginSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session for the holder of a token, and gives its id, this once. `None` without random bytes, or when there are
    /// too many sessions.
    pub(crate) fn begin(
        &self,
        holder: TokenDigest,
        channel: Channel,
        now: Instant,
    ) -> Option<Zeroizing<String>> {
        let (mut id, mut form_key) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        getrandom::fill(id.as_mut()).ok()?;
        getrandom::fill(form_key.as_mut()).ok()?;
        let id = Zeroizing::new(URL_SAFE_NO_PAD.encode(id.as_ref()));
        let mut all = self.all();
        all.retain(|_, session| !session.is_over(now));
        let own = all.iter().filter(|(_, session)| session.holder == holder);
        let own: Vec<_> = own.map(|(key, session)| (session.used, *key)).collect();
        if own.len() >= MAX_OF_ONE
            && let Some((_, oldest)) = own.iter().min()
        {
            all.remove(oldest);
        }
        if all.len() >= MAX {
            return None;
        }
        let session = LoginSession {
            holder,
            channel,
            notices: Vec::new(),
            form_key,
            began: now,
            used: now,
        };
        all.insert(key_of(&id), session);
        Some(id)
    }

    /// The session with this id, if it still lasts and its operator is one still: whoever was removed, or got another token, is
    /// out with the next request. An id counts on the channel alone for which it was made.
    pub(crate) fn find(
        &self,
        id: &str,
        channel: Channel,
        operators: &Operators,
        now: Instant,
    ) -> Option<Visitor> {
        let visitor = self.peek(id, channel, operators, now)?;
        if let Some(session) = self.all().get_mut(&visitor.session) {
            session.used = now;
        }
        Some(visitor)
    }

    /// The same, for a request that nobody made: it keeps no session from its end.
    pub(crate) fn peek(
        &self,
        id: &str,
        channel: Channel,
        operators: &Operators,
        now: Instant,
    ) -> Option<Visitor> {
        let key = key_of(id);
        let mut all = self.all();
        let session = all.get(&key).filter(|it| it.channel == channel)?;
        let operator = operators.holder(&session.holder);
        let Some(operator) = operator.filter(|_| !session.is_over(now)) else {
            all.remove(&key);
            return None;
        };
        Some(Visitor {
            operator,
            channel,
            session: key,
            holder: session.holder,
            form_key: session.form_key.clone(),
        })
    }

    /// Time of the last request of the session with this id.
    #[cfg(test)]
    pub(crate) fn used(&self, id: &str) -> Instant {
        self.all().get(&key_of(id)).unwrap().used
    }

    /// Leaves notices for the page that comes next.
    pub(crate) fn leave(&self, visitor: &Visitor, notices: Vec<Notice>) {
        if let Some(session) = self.all().get_mut(&visitor.session) {
            session.notices.extend(notices);
            session.notices.truncate(MAX_NOTICES);
        }
    }

    /// Takes the notices that wait: each is shown once.
    pub(crate) fn take_notices(&self, visitor: &Visitor) -> Vec<Notice> {
        let mut all = self.all();
        let session = all.get_mut(&visitor.session);
        session.map_or_else(Vec::new, |it| std::mem::take(&mut it.notices))
    }

    /// Ends a session.
    pub(crate) fn end(&self, visitor: &Visitor) {
        self.all().remove(&visitor.session);
    }
}

impl Visitor {
    /// Whether this is the token the session was begun with.
    pub(crate) fn holds(&self, token: TokenDigest) -> bool {
        self.holder == token
    }

    /// Token of the form that is sent to `action`: no other session and no other form has the same.
    pub(crate) fn form_token(&self, action: &str) -> String {
        let tag = blake3::keyed_hash(&self.form_key, action.as_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_bytes())
    }

    /// Whether a token is that of the form for `action`.
    pub(crate) fn sent_form(&self, action: &str, token: &str) -> bool {
        self.form_token(action)
            .as_bytes()
            .ct_eq(token.as_bytes())
            .into()
    }
}

fn key_of(id: &str) -> SessionKey {
    *blake3::hash(id.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests;
