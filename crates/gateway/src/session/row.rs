//! The row of a session: all a later process needs to resume it, sealed, so that who reads the database learns nothing and who
//! writes to it makes no session.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use keepgate_call::{Caller, CallerKind, Proof, ServerName, Tenant};
use keepgate_mcp::{Era, revision::Revision};
use keepgate_policy::{ClientFacts, ClientFields};
use keepgate_store::sessions::{MAX_SEALED, SessionDigest, SessionRow};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use super::Session;
use crate::{
    layers::session::Lists,
    oblige::{Rules, WrittenRules},
    upstream::{Link, LinkState},
};

/// The key rows are sealed with. It shows nothing of itself.
#[derive(Clone)]
pub(crate) struct RowKey([u8; 32]);

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowKey").finish_non_exhaustive()
    }
}

/// The content of a row. A member another version does not know makes it unreadable there: it may restrict the session.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    server: String,
    definition: [u8; 32],
    revision: String,
    began_ms: u64,
    caller: WrittenCaller,
    client: Option<(String, String)>,
    link: WrittenLink,
    rules: Vec<WrittenRules>,
    #[serde(default)]
    lists: Lists,
    /// Whether its client shows links.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    links: bool,
}

/// The caller, without the claims of its token: each call brings its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCaller {
    tenant: String,
    kind: String,
    subject: Arc<str>,
    issuer: Option<Arc<str>>,
    client: Option<Arc<str>>,
    grant: Option<Arc<str>>,
    key: Option<Arc<str>>,
    roles: Arc<[Arc<str>]>,
    groups: Arc<[Arc<str>]>,
    scopes: Arc<[Arc<str>]>,
    servers: Option<Arc<[Arc<str>]>>,
    expires_s: Option<(u64, u32)>,
}

/// The server's side.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLink {
    session: Option<String>,
    reference: Option<Arc<str>>,
}

/// A session as a row has it.
pub(super) struct Opened {
    pub(super) server: ServerName,
    pub(super) definition: [u8; 32],
    pub(super) revision: Revision,
    pub(super) age: Duration,
    pub(super) caller: Arc<Caller>,
    pub(super) client: Option<ClientFacts>,
    pub(super) link: LinkState,
    pub(super) rules: Vec<Arc<Rules>>,
    pub(super) lists: Lists,
    pub(super) shows_links: bool,
}

impl RowKey {
    /// The key with these bytes.
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key of its own for each session: a row opens under its own id alone.
    fn of(&self, id: &SessionDigest) -> Option<LessSafeKey> {
        let key = blake3::keyed_hash(&self.0, id);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).ok()?;
        Some(LessSafeKey::new(key))
    }

    fn sealed(&self, id: &SessionDigest, mut content: Vec<u8>) -> Option<Box<[u8]>> {
        let mut nonce = [0; NONCE_LEN];
        // Random: a row is written a few times in the life of a session.
        getrandom::fill(&mut nonce).ok()?;
        let key = self.of(id)?;
        let tag = key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut content,
        );
        let sealed = [&nonce[..], &content, tag.ok()?.as_ref()].concat();
        (sealed.len() <= MAX_SEALED).then(|| sealed.into())
    }

    fn opened(&self, row: &SessionRow) -> Option<Vec<u8>> {
        let (nonce, sealed) = row.sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .of(&row.id)?
            .open_in_place(nonce, Aad::empty(), &mut sealed);
        Some(opened.ok()?.to_vec())
    }

    /// The row of a session under `rules`. `None` for one that ends with the process, or whose row would be too long.
    pub(super) fn row(
        &self,
        session: &Session,
        rules: &[Arc<Rules>],
        now: SystemTime,
    ) -> Option<SessionRow> {
        let link = session.link.get().and_then(Link::state)?;
        let now_ms = millis(now);
        let content = Content {
            server: session.server.to_string(),
            definition: session.definition.digest()?,
            revision: session.revision().as_str().to_owned(),
            began_ms: now_ms.saturating_sub(as_millis(session.age())),
            caller: WrittenCaller::of(&session.caller),
            client: session.client.get().map(ClientFacts::name_and_version),
            link: WrittenLink {
                session: link.session.map(|id| STANDARD.encode(id.as_bytes())),
                reference: link.reference,
            },
            rules: rules.iter().map(|rules| rules.written()).collect(),
            lists: session.lists.get().copied().unwrap_or_default(),
            links: session.links.is_declared(),
        };
        let content = serde_json::to_vec(&content).ok()?;
        Some(SessionRow {
            id: session.digest,
            used_ms: now_ms,
            sealed: self.sealed(&session.digest, content)?,
        })
    }

    /// The session of a row; `None` for a row of another gateway, or one this version cannot carry out whole.
    pub(super) fn session(&self, row: &SessionRow, now: SystemTime) -> Option<Opened> {
        let content: Content = serde_json::from_slice(&self.opened(row)?).ok()?;
        let caller = content.caller.caller()?;
        let revision = Revision::parse(&content.revision)?;
        let client = content.client.map(|(name, version)| {
            ClientFacts::new(&ClientFields {
                id: caller.client.as_deref(),
                name: &name,
                version: &version,
            })
        });
        let id = match content.link.session {
            None => None,
            Some(text) => {
                let mut id = HeaderValue::from_bytes(&STANDARD.decode(text).ok()?).ok()?;
                id.set_sensitive(true);
                Some(id)
            }
        };
        let rules = content.rules.into_iter().map(WrittenRules::rules);
        Some(Opened {
            server: ServerName::parse(&content.server)?,
            definition: content.definition,
            revision: Some(revision).filter(|revision| revision.era() == Era::Stateful)?,
            age: Duration::from_millis(millis(now).saturating_sub(content.began_ms)),
            caller: Arc::new(caller),
            client,
            link: LinkState {
                session: id,
                reference: content.link.reference,
            },
            rules: rules
                .map(|rules| rules.map(Arc::new))
                .collect::<Option<_>>()?,
            lists: content.lists,
            shows_links: content.links,
        })
    }
}

impl WrittenCaller {
    fn of(caller: &Caller) -> Self {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = caller.expires.map(since);
        Self {
            tenant: caller.tenant.as_str().to_owned(),
            kind: caller.kind.as_str().to_owned(),
            subject: Arc::clone(&caller.subject),
            issuer: caller.issuer.clone(),
            client: caller.client.clone(),
            grant: caller.grant.clone(),
            key: caller.key_id.clone(),
            roles: Arc::clone(&caller.roles),
            groups: Arc::clone(&caller.groups),
            scopes: Arc::clone(&caller.scopes),
            servers: caller.servers.clone(),
            expires_s: expires.map(|since| (since.as_secs(), since.subsec_nanos())),
        }
    }

    fn caller(self) -> Option<Caller> {
        let kinds = [CallerKind::Anonymous, CallerKind::Machine, CallerKind::User];
        let kind = kinds.into_iter().find(|kind| kind.as_str() == self.kind)?;
        let expires = match self.expires_s {
            None => None,
            Some((seconds, nanos)) => {
                Some(UNIX_EPOCH.checked_add(Duration::new(seconds, nanos.min(999_999_999)))?)
            }
        };
        Some(Caller::new(Proof {
            issuer: self.issuer,
            client: self.client,
            grant: self.grant,
            key_id: self.key,
            roles: self.roles,
            groups: self.groups,
            scopes: self.scopes,
            servers: self.servers,
            expires,
            ..Proof::new(Tenant::new(self.tenant), kind, self.subject)
        }))
    }
}

/// Milliseconds of Unix time.
pub(super) fn millis(time: SystemTime) -> u64 {
    as_millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use keepgate_store::sessions::SessionRow;

    use super::RowKey;

    fn row(key: &RowKey, id: [u8; 32], content: &str) -> SessionRow {
        SessionRow {
            id,
            used_ms: 0,
            sealed: key.sealed(&id, content.into()).unwrap(),
        }
    }

    /// The content of a row, as one version of the program writes it.
    const CONTENT: &str = r#"{"server":"up","definition":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"revision":"2025-11-25","began_ms":0,"caller":{"tenant":"default","kind":"machine","subject":"ada","issuer":null,"client":null,"grant":null,"key":"k1","roles":[],"groups":[],"scopes":[],"servers":null,"expires_s":null},"client":["test","1"],"link":{"session":"c2VjcmV0","reference":null},"rules":[]}"#;

    #[test]
    fn a_row_opens_under_its_own_id_and_key_alone() {
        let key = RowKey::new([1; 32]);
        let own = row(&key, [2; 32], CONTENT);
        let now = SystemTime::now();
        let opened = key.session(&own, now).unwrap();
        assert_eq!(&*opened.caller.subject, "ada");
        assert_eq!(opened.link.session.unwrap(), "secret");
        assert!(!String::from_utf8_lossy(&own.sealed).contains("ada"));
        assert_ne!(own.sealed, row(&key, [2; 32], CONTENT).sealed);
        assert!(RowKey::new([9; 32]).session(&own, now).is_none());
        let moved = SessionRow {
            id: [3; 32],
            ..own.clone()
        };
        assert!(key.session(&moved, now).is_none());
        for at in 0..own.sealed.len() {
            let mut changed = own.clone();
            changed.sealed[at] ^= 1;
            assert!(key.session(&changed, now).is_none(), "changed at {at}");
            changed.sealed = own.sealed[..at].into();
            assert!(key.session(&changed, now).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn what_this_version_cannot_carry_out_is_no_session() {
        let key = RowKey::new([1; 32]);
        for (known, other) in [
            ("\"rules\":[]", "\"rules\":[],\"budget\":7"),
            ("\"rules\":[]", "\"rules\":[{\"hash\":1}]"),
            ("2025-11-25", "2026-07-28"),
            ("2025-11-25", "2031-01-01"),
            ("\"up\"", "\"Up!\""),
            ("machine", "robot"),
            ("c2VjcmV0", "###"),
            ("c2VjcmV0", "Cg=="),
            ("\"tenant\":\"default\",", ""),
        ] {
            let content = CONTENT.replace(known, other);
            let row = row(&key, [2; 32], &content);
            assert!(key.session(&row, SystemTime::now()).is_none(), "{other}");
        }
    }
}
