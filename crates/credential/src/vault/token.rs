//! Our own token: got by login or given, renewed at two thirds of its time, got again when it is gone.

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::Method;
use tokio::sync::{Mutex, Notify};
use zeroize::Zeroizing;

use super::{
    answer::{Auth, Itself, part, text},
    http::Way,
    wrapping::{Content, Unwrapper},
};
use crate::{
    error::Fault,
    live::{Holder, InUse, Live},
    local,
    reference::Reference,
    secret::Secret,
    settings::{Login, VaultSettings},
};

/// How long to wait after a renewal that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Whose secret a token is, among those of servers.
const OWN: &str = "vault";

/// What a token says of itself.
const LOOKUP: &str = "auth/token/lookup-self";

/// A token in use.
pub(super) struct Token {
    secret: Secret,
    /// When it was got or renewed, and for how long; `None` for one that never ends.
    life: Option<(Instant, Duration)>,
    renewable: bool,
}

impl Token {
    fn is_over(&self) -> bool {
        self.life
            .is_some_and(|(since, length)| since.elapsed() >= length)
    }

    /// When to renew it: at two thirds of its time, a little before or after, so that gateways started together do not
    /// all come at once.
    fn renewal(&self) -> Option<Duration> {
        let (since, length) = self.life.filter(|_| self.renewable)?;
        let at = length.mul_f64(0.6 + 0.13 * jitter());
        Some(at.saturating_sub(since.elapsed()))
    }
}

impl Holder for Token {
    fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// Between 0 and 1.
fn jitter() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(random) / f64::from(u32::MAX)
}

/// Gets and keeps the token.
pub(super) struct Tokens {
    login: Login,
    unwrapper: Option<Unwrapper>,
    /// Whether another vault's settings go on with what we unwrapped.
    inherited: AtomicBool,
    current: ArcSwapOption<Token>,
    /// One login at a time. Has the token of now searched for.
    flight: Mutex<Option<InUse>>,
    /// The last login that failed, and its end: whoever waited for it shares the failure. Behind a vault that does not answer, the
    /// servers would otherwise log in one after the other, each for as long as that may take.
    failed: std::sync::Mutex<Option<(Instant, Fault)>>,
    live: Arc<Live>,
    changed: Notify,
}

impl Tokens {
    /// `before` are the tokens of the same login until now: what they unwrapped cannot be unwrapped again.
    pub(super) fn new(settings: &VaultSettings, before: Option<&Self>, live: &Arc<Live>) -> Self {
        let path = settings.wrapped_by.as_deref();
        let inherited = before.and_then(|before| {
            before.inherited.store(true, Ordering::Release);
            before.unwrapper.clone()
        });
        Self {
            login: settings.login.clone(),
            unwrapper: path.map(|path| inherited.unwrap_or_else(|| Unwrapper::new(path))),
            inherited: AtomicBool::new(false),
            current: ArcSwapOption::empty(),
            flight: Mutex::default(),
            failed: std::sync::Mutex::default(),
            live: Arc::clone(live),
            changed: Notify::new(),
        }
    }

    /// The token; logs in if there is none.
    pub(super) async fn current(&self, way: &Way) -> Result<Arc<Token>, Fault> {
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        let came = Instant::now();
        let mut in_use = self.flight.lock().await;
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fault)) = failed().as_ref().filter(|(ended, _)| *ended >= came) {
            return Err(fault.clone());
        }
        let login = self.login(way).await;
        *failed() = login
            .as_ref()
            .err()
            .map(|fault| (Instant::now(), fault.clone()));
        let token = Arc::new(login?);
        // One too short to be searched for opens a vault all the same: no server is ever given it.
        let holder = Arc::clone(&token);
        *in_use = self.live.add(OWN, holder).ok();
        self.current.store(Some(Arc::clone(&token)));
        self.changed.notify_one();
        Ok(token)
    }

    async fn login(&self, way: &Way) -> Result<Token, Fault> {
        match &self.login {
            Login::Token(reference) => {
                given(way, self.secret(way, reference, Content::Token).await?).await
            }
            Login::AppRole {
                mount,
                role_id,
                secret_id,
            } => {
                let role_id = login_secret(role_id).await?;
                let secret_id = match secret_id {
                    Some(reference) => Some(self.secret(way, reference, Content::SecretId).await?),
                    None => None,
                };
                let members = [
                    ("role_id", Some(&role_id)),
                    ("secret_id", secret_id.as_ref()),
                ];
                logged_in(way, mount, &members).await
            }
            Login::Jwt { mount, role, token } => {
                let role = Secret::new(role.clone().into_bytes());
                let token = login_secret(token).await?;
                logged_in(way, mount, &[("role", Some(&role)), ("jwt", Some(&token))]).await
            }
        }
    }

    /// The secret behind a reference of the login, out of its wrapping if it has one.
    async fn secret(
        &self,
        way: &Way,
        reference: &Reference,
        content: Content,
    ) -> Result<Secret, Fault> {
        let read = login_secret(reference).await;
        match &self.unwrapper {
            Some(unwrapper) => unwrapper.content(way, read, content).await,
            None => read,
        }
    }

    fn usable(&self) -> Option<Arc<Token>> {
        self.current.load_full().filter(|token| !token.is_over())
    }

    /// After a refusal: whether the token itself is gone. If so it is forgotten.
    pub(super) async fn is_gone(&self, way: &Way, token: &Arc<Token>) -> bool {
        let looked = way
            .send(Method::GET, LOOKUP, Some(&token.secret), None)
            .await;
        let gone = looked.is_ok_and(|answer| answer.status.as_u16() == 403);
        if gone {
            // Unless somebody has replaced it meanwhile.
            self.current.compare_and_swap(token, None::<Arc<Token>>);
        }
        gone
    }

    /// Renews for ever.
    pub(super) async fn keep(&self, way: &Way) {
        loop {
            let due = self.current.load_full().and_then(|token| {
                let after = token.renewal()?;
                Some((token, after))
            });
            let Some((token, after)) = due else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = self.changed.notified() => continue,
                () = tokio::time::sleep(after) => {}
            }
            match renewed(way, &token).await {
                Ok(fresh) => {
                    tracing::debug!("vault token renewed");
                    self.current.compare_and_swap(&token, Some(Arc::new(fresh)));
                }
                Err(fault) => {
                    tracing::warn!(
                        fault = fault.word(),
                        hint = fault.hint(),
                        "vault token not renewed"
                    );
                    if matches!(fault, Fault::Forbidden) {
                        self.current.compare_and_swap(&token, None::<Arc<Token>>);
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Revokes a token that a login gave us, or that came in a wrapping: nobody else has it.
    pub(super) async fn leave(&self, way: &Way) {
        let Some(token) = self.current.swap(None) else {
            return;
        };
        let is_own = self.unwrapper.is_some() && !self.inherited.load(Ordering::Acquire);
        if matches!(self.login, Login::Token(_)) && !is_own {
            return;
        }
        let path = "auth/token/revoke-self";
        let left = way
            .send(Method::POST, path, Some(&token.secret), None)
            .await;
        if let Err(fault) = left.and_then(|answer| answer.success()) {
            tracing::warn!(
                fault = fault.word(),
                "the vault token could not be given back; it ends by itself"
            );
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

async fn login_secret(reference: &Reference) -> Result<Secret, Fault> {
    let own = reference.clone();
    // Files can be slow (a mount that hangs).
    let read = tokio::task::spawn_blocking(move || local::of(&own)).await;
    read.unwrap_or(Err(Fault::Ended))
        .map_err(|fault| Fault::LoginReference {
            reference: reference.text(),
            source: Arc::new(fault),
        })
}

/// A token that was given to us; Vault is asked how long it lives.
async fn given(way: &Way, secret: Secret) -> Result<Token, Fault> {
    let answer = way.send(Method::GET, LOOKUP, Some(&secret), None).await?;
    answer.success().map_err(refused)?;
    let itself: Itself = part(answer.envelope()?.data)?;
    Ok(Token {
        secret,
        life: life(itself.ttl),
        renewable: itself.renewable,
    })
}

/// A token by the login of a method, which is asked with these members.
async fn logged_in(
    way: &Way,
    mount: &str,
    members: &[(&str, Option<&Secret>)],
) -> Result<Token, Fault> {
    // With room for all of it, so that nothing is moved and left behind while it grows.
    let longest: usize = members
        .iter()
        .map(|(name, secret)| name.len() + 6 * secret.map_or(0, Secret::len) + 8)
        .sum();
    let mut body = Zeroizing::new(Vec::with_capacity(longest));
    let mut before = b'{';
    for (name, secret) in members {
        let Some(secret) = secret else { continue };
        body.push(before);
        body.extend_from_slice(format!("\"{name}\":").as_bytes());
        quote(secret, &mut body)?;
        before = b',';
    }
    body.push(b'}');
    let path = format!("auth/{mount}/login");
    let answer = way.send(Method::POST, &path, None, Some(body)).await?;
    answer.success().map_err(refused)?;
    let auth: Auth<'_> = part(answer.envelope()?.auth)?;
    Ok(Token {
        secret: text(auth.client_token).map_err(|_| Fault::Invalid)?,
        life: life(auth.lease_duration),
        renewable: auth.renewable,
    })
}

/// Zero stands for ever.
fn life(seconds: u64) -> Option<(Instant, Duration)> {
    (seconds > 0).then(|| (Instant::now(), Duration::from_secs(seconds)))
}

/// Refusals mean something else where we log in.
fn refused(fault: Fault) -> Fault {
    let is_refusal = matches!(
        fault,
        Fault::Forbidden | Fault::NotFound | Fault::Unexpected { status: 400 | 401 }
    );
    if is_refusal {
        Fault::LoginRefused
    } else {
        fault
    }
}

pub(super) fn quote(secret: &Secret, out: &mut Vec<u8>) -> Result<(), Fault> {
    let text = secret.expose_text().ok_or(Fault::Unsendable)?;
    serde_json::to_writer(out, text).map_err(|_| Fault::Unsendable)
}

async fn renewed(way: &Way, token: &Token) -> Result<Token, Fault> {
    let path = "auth/token/renew-self";
    let body = Zeroizing::new(b"{}".to_vec());
    let answer = way
        .send(Method::POST, path, Some(&token.secret), Some(body))
        .await?;
    answer.success()?;
    let auth: Auth<'_> = part(answer.envelope()?.auth)?;
    Ok(Token {
        secret: Secret::new(token.secret.expose().to_vec()),
        life: life(auth.lease_duration),
        renewable: auth.renewable,
    })
}
