//! States of calls that wait (`requestState`, 2026-07-28 `basic/patterns/mrtr`): sealed here and carried by clients, so that any
//! replica with the key goes on with them.
//!
//! A state decides nothing: the digest of the call and the store do. It is bound to the caller, its client and the server; a
//! client can lose it, send it again, or give it to somebody else, and gains nothing by that.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_call::{CallState, Caller, ServerName, Tenant};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{Approvals, CallDigest, FrozenCall, StoreKey, approvals::millis, digest};

/// Beginning of the states of all gateways. The id of the key follows, by which a state of ours differs from one of a gateway
/// behind this one.
const STATE_PREFIX: &str = "keepgate.1.";
/// Longest state that is read, in bytes.
const MAX_STATE: usize = 1024;
/// Bytes before the id: kind, round, two times, digest.
const FIXED: usize = 1 + 1 + 8 + 8 + 32;

/// Kind of a call that waits for a decision.
const WAITING: u8 = 1;

impl Approvals {
    /// The digest that binds a decision to this call; `None` while there is no key.
    pub fn digest(&self, tenant: &Tenant, call: &FrozenCall) -> Option<CallDigest> {
        Some(CallDigest::of(&*self.key()?, tenant, call))
    }

    /// The time of the store, in milliseconds of Unix time.
    pub fn now_ms(&self) -> u64 {
        millis(self.now())
    }

    /// Seals a state for this caller and server. `None` when the system gives no random bytes.
    pub fn seal_state(
        &self,
        caller: &Caller,
        server: &ServerName,
        state: &CallState,
    ) -> Option<String> {
        sealed(&*self.key()?, (caller, server), state)
    }

    /// Whether a text is a state that was sealed with the key of this store, and not a server's own or another gateway's. None
    /// is while there is no key: calls that need an approval are refused then.
    pub async fn is_own_state(&self, text: &str) -> bool {
        if !text.starts_with(STATE_PREFIX) {
            return false;
        }
        // The first use of a process finds the key. What cannot be read now leaves the key that is known.
        let _is_whole = self.resume().await.is_ok();
        self.key()
            .is_some_and(|key| sealed_with(&key, text).is_some())
    }

    /// Opens what [`Self::seal_state`] made for this caller and server. `None` for everything else, and when it is over.
    pub async fn open_state(
        &self,
        caller: &Caller,
        server: &ServerName,
        text: &str,
    ) -> Option<CallState> {
        // The first use of a process finds the key.
        self.resume().await.ok()?;
        let state = opened(&*self.key()?, (caller, server), text)?;
        (state.expires_ms > self.now_ms()).then_some(state)
    }
}

/// Whom and what a state is for.
type Holder<'a> = (&'a Caller, &'a ServerName);

fn sealed(key: &StoreKey, holder: Holder<'_>, state: &CallState) -> Option<String> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).ok()?;
    let mut body = written(state)?;
    let tag = state_key(key, &holder.0.tenant)?.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(&bound_to(key, holder)),
        &mut body,
    );
    let sealed = [&nonce[..], &body, tag.ok()?.as_ref()].concat();
    let id = key.id();
    Some(format!(
        "{STATE_PREFIX}{id}.{}",
        URL_SAFE_NO_PAD.encode(sealed)
    ))
}

/// The sealed part of a state, if its prefix names this key.
fn sealed_with<'a>(key: &StoreKey, text: &'a str) -> Option<&'a str> {
    let named = text.strip_prefix(STATE_PREFIX)?;
    named.strip_prefix(key.id())?.strip_prefix('.')
}

fn opened(key: &StoreKey, holder: Holder<'_>, text: &str) -> Option<CallState> {
    let text = sealed_with(key, text)?;
    if text.len() > MAX_STATE {
        return None;
    }
    let mut sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let own = state_key(key, &holder.0.tenant)?;
    let opened = own.open_in_place(nonce, Aad::from(&bound_to(key, holder)), body);
    read(opened.ok()?)
}

/// The key of a tenant's states.
fn state_key(key: &StoreKey, tenant: &Tenant) -> Option<LessSafeKey> {
    let own = blake3::derive_key(
        "keepgate 2026 approvals, states of requests",
        &key.digest_key(tenant),
    );
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &own).ok()?))
}

/// Digest of whom and what a state is for.
fn bound_to(key: &StoreKey, (caller, server): Holder<'_>) -> [u8; 32] {
    digest::hash(
        key,
        &caller.tenant,
        &[
            Some(b"keepgate approval state 1"),
            Some(server.as_str().as_bytes()),
            Some(caller.kind.as_str().as_bytes()),
            caller.issuer.as_deref().map(str::as_bytes),
            Some(caller.subject.as_bytes()),
            caller.client.as_deref().map(str::as_bytes),
        ],
    )
}

fn written(state: &CallState) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(FIXED + 48);
    body.extend([WAITING, state.round]);
    body.extend(state.began_ms.to_le_bytes());
    body.extend(state.expires_ms.to_le_bytes());
    body.extend(state.digest);
    body.push(u8::try_from(state.approval.len()).ok()?);
    body.extend(state.approval.as_bytes());
    Some(body)
}

fn read(body: &[u8]) -> Option<CallState> {
    let (&[kind, round], rest) = body.split_first_chunk()?;
    let (began, rest) = rest.split_first_chunk()?;
    let (expires, rest) = rest.split_first_chunk()?;
    let (digest, rest) = rest.split_first_chunk()?;
    let (&length, approval) = rest.split_first()?;
    if kind != WAITING || approval.len() != usize::from(length) {
        return None;
    }
    Some(CallState {
        approval: Arc::from(std::str::from_utf8(approval).ok()?),
        digest: *digest,
        expires_ms: u64::from_le_bytes(*expires),
        round,
        began_ms: u64::from_le_bytes(*began),
    })
}

#[cfg(test)]
mod tests;
