//! One issuer: where its keys are, what they are now, and how often anybody may make us ask.
//!
//! One task fetches, so there is never more than one fetch, no fetch is cut short by a client that goes away, and however
//! many tokens with unknown keys come, there are two fetches in each [`PAUSE`] at most. The second one is for a key that was
//! rotated just after the first. Calls only ask the task for a fetch and wait for it; a token is refused for its key only after
//! one that began later than the token came.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use keepgate_jose::{Jwk, KeySet, MAX_KEYS, MAX_SET_BYTES};
use keepgate_mcp::json::{self, Limits};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    TokenError,
    fetch::{Fetch, FetchError},
    jwt::Jwt,
    settings::{IssuerSettings, is_fetchable},
};

/// Shortest time between two fetches.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// Shortest time between a fetch and an early one.
const EARLY: Duration = Duration::from_secs(1);
/// Ids of withdrawn keys that are remembered.
const MAX_WITHDRAWN: usize = 256;
/// Time after which keys are fetched again.
pub(super) const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Time after which a failed fetch is tried again, if nobody asks before.
const RETRY: Duration = Duration::from_secs(30);
/// How long keys count after the last time they were fetched.
pub(super) const OUTAGE: Duration = Duration::from_secs(60 * 60);
/// How long one fetch may take, metadata and keys together.
const FETCH: Duration = Duration::from_secs(10);
/// How long a call waits for a key it has not seen.
const WAIT: Duration = Duration::from_secs(5);
/// How many calls may wait for one at once.
const WAITING_MOST: usize = 64;
/// Most bytes of an issuer's metadata.
const LONGEST_METADATA: usize = 256 * 1024;

/// An issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    settings: IssuerSettings,
    /// Its URL; callers it has let in share it, which is how they are known to be its own.
    name: Arc<str>,
    /// Fetches its documents.
    client: ArcSwap<Arc<dyn Fetch>>,
    keys: ArcSwap<Keys>,
    /// What the task has to say: how many fetches it made, and how the last one went.
    said: watch::Sender<Said>,
    wanted: Notify,
    waiting: AtomicUsize,
}

/// The keys as they were last seen.
#[derive(Debug, Default)]
struct Keys {
    keys: Vec<Jwk>,
    /// Whether the issuer has more than are taken: then an unknown one may be one of its own.
    is_cut: bool,
    /// Ids of keys the issuer has withdrawn, the latest last.
    withdrawn: Vec<String>,
    /// Grows whenever a key is withdrawn: what it vouched for has to be verified anew.
    epoch: u64,
    /// When they were last fetched. Monotonic: however the clock is set, they do not count for longer.
    fetched: Option<Instant>,
}

/// How fetching goes.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    fetches: u64,
    failed: bool,
    /// No fetch is made for anybody before [`PAUSE`] is over: the last one failed, or was an early one.
    is_pausing: bool,
}

/// Keys that may have signed a token.
#[derive(Debug)]
pub(super) struct Found {
    /// Rarely more than one.
    pub(super) keys: Vec<Jwk>,
    /// The epoch they are of.
    pub(super) epoch: u64,
}

/// Why the keys could not be fetched. For the log alone.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("failed to fetch `{url}`")]
    Fetch {
        url: String,
        #[source]
        source: FetchError,
    },
    #[error("failed to fetch the issuer's documents in time: `{0:?}`")]
    Slow(Duration),
    #[error("not an issuer's metadata: `{url}`")]
    Metadata { url: String },
    #[error("the metadata are of another issuer: `{url}`")]
    Foreign { url: String },
    #[error("the issuer's keys are at a URL that is not fetched: `{url}`")]
    Location { url: String },
    #[error("no usable key: `{url}`")]
    Keys { url: String },
}

impl Keys {
    fn count(&self) -> bool {
        self.fetched
            .is_some_and(|fetched| fetched.elapsed() < OUTAGE)
    }

    /// Ids that are withdrawn once the issuer's keys are `keys`.
    fn withdrawn_by(&self, keys: &[Jwk]) -> Vec<String> {
        let before = self.withdrawn.iter().map(String::as_str);
        let gone = before.chain(self.keys.iter().filter_map(Jwk::id));
        let is_there = |id: &str| keys.iter().any(|key| key.id() == Some(id));
        let gone = gone.filter(|id| !is_there(id)).map(str::to_owned);
        let mut gone: Vec<String> = gone.collect();
        let excess = gone.len().saturating_sub(MAX_WITHDRAWN);
        gone.drain(..excess);
        gone
    }

    /// The keys that may have signed the token. One without `kid` is answered only where there is no choice.
    fn of(&self, jwt: &Jwt<'_>) -> Result<Vec<Jwk>, TokenError> {
        let fitting = self.keys.iter().filter(|key| jwt.fits(key));
        let id = jwt.key_id();
        let found: Vec<Jwk> = match id {
            Some(id) => fitting
                .filter(|key| key.id() == Some(id))
                .cloned()
                .collect(),
            None => fitting.cloned().collect(),
        };
        match (found.len(), id) {
            (1, _) | (2..=4, Some(_)) => Ok(found),
            _ => Err(TokenError::Key),
        }
    }
}

/// One call that waits; counted as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Issuer {
    pub(super) fn new(settings: IssuerSettings) -> Self {
        Self {
            name: Arc::from(settings.url.as_str()),
            client: ArcSwap::from_pointee(Arc::clone(&settings.fetch)),
            settings,
            keys: ArcSwap::default(),
            said: watch::Sender::default(),
            wanted: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Fetches its documents as `other` does from now on.
    pub(super) fn fetch_as(&self, other: &Self) {
        self.client.store(other.client.load_full());
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether what was verified under the keys of `epoch` still holds.
    pub(super) fn vouches(&self, epoch: u64) -> bool {
        let keys = self.keys.load();
        keys.epoch == epoch && keys.count()
    }

    /// The keys that may have signed a token. Waits for a fetch if none is known and one may be made.
    ///
    /// # Errors
    /// [`TokenError::Key`] when the issuer has no such key, [`TokenError::Unavailable`] when it cannot be asked.
    pub(super) async fn keys(&self, jwt: &Jwt<'_>) -> Result<Found, TokenError> {
        match self.known(jwt) {
            Err(TokenError::Key | TokenError::Unavailable) => {}
            other => return other,
        }
        let is_pausing = self.said.borrow().is_pausing;
        if !is_pausing {
            self.wait().await?;
        }
        let failed = self.said.borrow().failed;
        match self.known(jwt) {
            Err(TokenError::Key) if failed => Err(TokenError::Unavailable),
            // The issuer may have this key by now.
            Err(TokenError::Key) if is_pausing && self.may_be_new(jwt) => {
                Err(TokenError::Unavailable)
            }
            other => other,
        }
    }

    /// Whether the next fetch could bring the token's key: it names one that is neither known nor withdrawn.
    fn may_be_new(&self, jwt: &Jwt<'_>) -> bool {
        let Some(id) = jwt.key_id() else {
            return false;
        };
        let keys = self.keys.load();
        let mut withdrawn = keys.withdrawn.iter();
        !keys.keys.iter().any(|key| key.id() == Some(id)) && !withdrawn.any(|gone| gone == id)
    }

    fn known(&self, jwt: &Jwt<'_>) -> Result<Found, TokenError> {
        let keys = self.keys.load();
        if !keys.count() {
            return Err(TokenError::Unavailable);
        }
        match keys.of(jwt) {
            Err(TokenError::Key) if keys.is_cut => Err(TokenError::Unavailable),
            found => Ok(Found {
                keys: found?,
                epoch: keys.epoch,
            }),
        }
    }

    /// Has the task fetch, and waits until it has.
    async fn wait(&self) -> Result<(), TokenError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _counted = Waiting(&self.waiting);
        // A flood of tokens with made-up keys may not hold every place of the gateway.
        if before >= WAITING_MOST {
            return Err(TokenError::Unavailable);
        }
        let mut said = self.said.subscribe();
        let fetches = said.borrow_and_update().fetches;
        self.wanted.notify_one();
        let next = said.wait_for(|said| said.fetches != fetches);
        match timeout(WAIT, next).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(TokenError::Unavailable),
        }
    }

    /// Fetches the keys, again and again.
    pub(super) async fn keep_fresh(&self) {
        let mut is_early = false;
        loop {
            let fetched = match timeout(FETCH, self.fetch()).await {
                Ok(fetched) => fetched,
                Err(_elapsed) => Err(RefreshError::Slow(FETCH)),
            };
            let failed = fetched.is_err();
            match fetched {
                Ok(set) => self.take(set),
                Err(error) => tracing::warn!(
                    issuer = self.settings.url.as_str(),
                    error = keepgate_call::chain(&error),
                    "the keys of an issuer cannot be fetched; those known count for {OUTAGE:?} after their last fetch"
                ),
            }
            self.said.send_modify(|said| {
                said.fetches += 1;
                said.failed = failed;
                said.is_pausing = failed || is_early;
            });
            // Who asked while it ran has been answered by it.
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = std::future::ready(()) => {}
            }
            if failed || is_early {
                is_early = false;
                sleep(PAUSE).await;
                self.said.send_modify(|said| said.is_pausing = false);
            } else {
                sleep(EARLY).await;
                is_early = timeout(PAUSE - EARLY, self.wanted.notified()).await.is_ok();
                if is_early {
                    continue;
                }
            }
            let pause = if failed { RETRY } else { REFRESH };
            // Either somebody wants a key, or it is time anyway.
            drop(timeout(pause.saturating_sub(PAUSE), self.wanted.notified()).await);
        }
    }

    /// Activates freshly fetched keys.
    fn take(&self, KeySet { keys, left_out }: KeySet) {
        let before = self.keys.load_full();
        let withdrawn = before.keys.iter().any(|key| !keys.contains(key));
        if left_out > 0 {
            tracing::error!(
                issuer = self.settings.url.as_str(),
                left_out,
                limit = MAX_KEYS,
                "an issuer has more keys than are taken: tokens of those left out are refused with `authn_unavailable`"
            );
        }
        if keys != before.keys {
            tracing::info!(
                issuer = self.settings.url.as_str(),
                keys = keys.len(),
                withdrawn,
                "the keys of an issuer have changed"
            );
        }
        self.keys.store(Arc::new(Keys {
            withdrawn: before.withdrawn_by(&keys),
            keys,
            is_cut: left_out > 0,
            epoch: before.epoch + u64::from(withdrawn),
            fetched: Some(Instant::now()),
        }));
    }

    async fn fetch(&self) -> Result<KeySet, RefreshError> {
        let url = match &self.settings.keys {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        if !is_fetchable(&url, self.settings.url.is_plain()) {
            return Err(RefreshError::Location { url });
        }
        let document = self.document(&url, MAX_SET_BYTES).await?;
        KeySet::read(&document)
            .filter(|set| !set.keys.is_empty())
            .ok_or(RefreshError::Keys { url })
    }

    /// Where the issuer's metadata say that its keys are.
    async fn discover(&self) -> Result<String, RefreshError> {
        let mut told = None;
        for url in self.settings.url.metadata() {
            let found = match self.document(&url, LONGEST_METADATA).await {
                Ok(document) => self.location(&document, url),
                Err(error) => Err(error),
            };
            match found {
                Ok(location) => return Ok(location),
                // That there is nothing at one of the places is no news; what is wrong with what is there, is.
                Err(error) if matches!(error, RefreshError::Fetch { .. }) => {
                    told = told.or(Some(error));
                }
                Err(error) => told = Some(error),
            }
        }
        Err(told.unwrap_or(RefreshError::Metadata {
            url: self.settings.url.as_str().to_owned(),
        }))
    }

    /// Reads `jwks_uri` from metadata that must be of this very issuer (RFC 8414 §3.3).
    fn location(&self, document: &[u8], url: String) -> Result<String, RefreshError> {
        let limits = Limits {
            bytes: LONGEST_METADATA,
            depth: 16,
            nodes: 20_000,
        };
        let Ok(metadata) = json::parse(document, &limits) else {
            return Err(RefreshError::Metadata { url });
        };
        let issuer = metadata.member("issuer");
        if !issuer.is_some_and(|issuer| issuer.is_text(self.settings.url.as_str())) {
            return Err(RefreshError::Foreign { url });
        }
        match metadata.member("jwks_uri").and_then(|keys| keys.string()) {
            Some(keys) => Ok(keys.into_owned()),
            None => Err(RefreshError::Metadata { url }),
        }
    }

    async fn document(&self, url: &str, cap: usize) -> Result<Vec<u8>, RefreshError> {
        let client = self.client.load_full();
        client
            .fetch(url, cap)
            .await
            .map_err(|source| RefreshError::Fetch {
                url: url.to_owned(),
                source,
            })
    }
}
