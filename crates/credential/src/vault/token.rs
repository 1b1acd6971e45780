//! Our own token: got by login or given, renewed at two thirds of its time, got again when it is gone.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::Method;
use tokio::sync::{Mutex, Notify};
use zeroize::Zeroizing;

use super::{
    answer::{Auth, Itself, part, text},
    http::Way,
};
use crate::{
    error::Fault,
    local,
    reference::{Place, Reference},
    secret::Secret,
    settings::{Login, VaultSettings},
};

/// How long to wait after a renewal that failed.
const AGAIN: Duration = Duration::from_secs(5);

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
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

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

/// Between 0 and 1.
fn jitter() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(random) / f64::from(u32::MAX)
}

/// Gets and keeps the token.
pub(super) struct Tokens {
    login: Login,
    current: ArcSwapOption<Token>,
    /// One login at a time.
    flight: Mutex<()>,
    changed: Notify,
}

impl Tokens {
    pub(super) fn new(settings: &VaultSettings) -> Self {
        Self {
            login: settings.login.clone(),
            current: ArcSwapOption::empty(),
            flight: Mutex::new(()),
            changed: Notify::new(),
        }
    }

    /// The token; logs in if there is none.
    pub(super) async fn current(&self, way: &Way) -> Result<Arc<Token>, Fault> {
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        let _turn = self.flight.lock().await;
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        let token = Arc::new(match &self.login {
            Login::Token(reference) => given(way, reference).await?,
            Login::AppRole {
                mount,
                role_id,
                secret_id,
            } => app_role(way, mount, role_id, secret_id.as_ref()).await?,
        });
        self.current.store(Some(Arc::clone(&token)));
        self.changed.notify_one();
        Ok(token)
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

    /// Revokes a token that a login gave us.
    pub(super) async fn leave(&self, way: &Way) {
        let Some(token) = self.current.swap(None) else {
            return;
        };
        if matches!(self.login, Login::Token(_)) {
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

/// What a login needs, from this machine: Vault cannot be asked before the login.
fn local_secret(reference: &Reference) -> Result<Secret, Fault> {
    match reference.place() {
        Place::File(path) => local::file(path),
        Place::Systemd(name) => local::systemd(name),
        Place::Environment(name) => local::environment(name),
        Place::Vault { .. } => Err(Fault::Invalid),
    }
}

async fn login_secret(reference: &Reference) -> Result<Secret, Fault> {
    let own = reference.clone();
    // Files can be slow (a mount that hangs).
    let read = tokio::task::spawn_blocking(move || local_secret(&own)).await;
    read.unwrap_or(Err(Fault::Ended))
        .map_err(|fault| Fault::LoginReference {
            reference: reference.text(),
            source: Arc::new(fault),
        })
}

/// A token that was given to us; Vault is asked how long it lives.
async fn given(way: &Way, reference: &Reference) -> Result<Token, Fault> {
    let secret = login_secret(reference).await?;
    let answer = way.send(Method::GET, LOOKUP, Some(&secret), None).await?;
    answer.success().map_err(refused)?;
    let itself: Itself = part(answer.envelope()?.data)?;
    Ok(Token {
        secret,
        life: life(itself.ttl),
        renewable: itself.renewable,
    })
}

async fn app_role(
    way: &Way,
    mount: &str,
    role_id: &Reference,
    secret_id: Option<&Reference>,
) -> Result<Token, Fault> {
    let mut body = Zeroizing::new(Vec::with_capacity(1024));
    body.extend_from_slice(b"{\"role_id\":");
    quote(&login_secret(role_id).await?, &mut body)?;
    if let Some(reference) = secret_id {
        body.extend_from_slice(b",\"secret_id\":");
        quote(&login_secret(reference).await?, &mut body)?;
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

fn quote(secret: &Secret, out: &mut Vec<u8>) -> Result<(), Fault> {
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
