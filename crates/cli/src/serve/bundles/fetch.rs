//! Fetching: one look at a time, with the tag of what is in force, at a pause that nobody can foresee, longer after
//! every failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use keepgate_credential::Source;
use keepgate_net::ConnectorSettings;
use keepgate_policy::bundle::MAX_BYTES;
use keepgate_transport::http::client::{Client, ClientError, ClientSettings};
use keepgate_transport::http::upstream::{Endpoint, Fetched as Answer, Limits};
use tokio::sync::{Notify, mpsc, oneshot};

use super::standing::Standing;
use super::{Fetched, Held, News};
use crate::config::Remote;
use crate::failure::chain;

/// What a bundle is called: as a plain archive, and by a server that holds its answers back (OPA's bundle API).
const WANTED: &str = "application/gzip, application/vnd.openpolicyagent.bundles, */*;q=0.8";
/// Time until the head of an answer, beyond what the server may wait.
const HEAD: Duration = Duration::from_secs(15);
/// Time for a bundle after its head.
const BODY: Duration = Duration::from_secs(60);
/// The shortest pause, whatever was waited.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause after failures, unless the usual one is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Asks one server for one bundle.
#[derive(Debug)]
pub(super) struct Fetcher {
    endpoint: Endpoint,
    credential: Option<Arc<Source>>,
    pause: (Duration, Duration),
    wait: Option<Duration>,
}

/// What a look came to. What failed has been said and noted.
pub(super) enum Looked {
    /// Nothing new.
    Unchanged,
    /// A bundle.
    New(Fetched),
    /// Nothing.
    Failed,
}

impl Fetcher {
    /// Sets the way up; nothing is sent.
    pub(super) fn new(
        remote: &Remote,
        credential: Option<Arc<Source>>,
    ) -> Result<Self, ClientError> {
        let client = Client::new(ClientSettings {
            connector: ConnectorSettings {
                extra_roots: remote.ca.iter().cloned().collect(),
                egress: remote.egress.clone(),
                ..ConnectorSettings::default()
            },
            ..ClientSettings::default()
        })?;
        Ok(Self {
            endpoint: client.endpoint(&remote.url.to_string())?,
            credential,
            pause: remote.pause,
            wait: remote.wait,
        })
    }

    /// One look, which the server may answer late if `wait`.
    pub(super) async fn look(&self, name: &str, standing: &Standing, wait: bool) -> Looked {
        standing.asked();
        let known = standing.etag();
        match self.ask(known.as_deref(), wait).await {
            Ok(Answer::Unchanged) => {
                standing.unchanged();
                Looked::Unchanged
            }
            Ok(Answer::New { etag, media, body }) => {
                let media = media.as_ref().and_then(|media| media.to_str().ok());
                tracing::debug!(bundle = name, bytes = body.len(), media, "bundle fetched");
                standing.came();
                let etag = etag.as_ref().and_then(|etag| etag.to_str().ok());
                Looked::New(Fetched {
                    bytes: Arc::from(&*body),
                    etag: etag.map(str::to_owned),
                })
            }
            Err(why) => {
                let streak = standing.failed(why.clone());
                // One line an outage, then one each time the pause is at its longest.
                if streak == 1 || streak.is_multiple_of(10) {
                    tracing::warn!(
                        bundle = name,
                        why,
                        streak,
                        "the bundle could not be fetched"
                    );
                }
                Looked::Failed
            }
        }
    }

    async fn ask(&self, known: Option<&str>, wait: bool) -> Result<Answer, String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(WANTED));
        if let Some(tag) = known.and_then(|tag| HeaderValue::from_str(tag).ok()) {
            headers.insert(IF_NONE_MATCH, tag);
        }
        let mut head = HEAD;
        if let Some(longest) = self.wait.filter(|_| wait) {
            let wish = format!("modes=snapshot;wait={}", longest.as_secs());
            if let Ok(wish) = HeaderValue::from_str(&wish) {
                headers.insert(HeaderName::from_static("prefer"), wish);
            }
            head += longest;
        }
        if let Some(credential) = &self.credential {
            let held = credential.acquire().await.map_err(|error| chain(&error))?;
            let line = held.material().line();
            let (name, value) = line.ok_or("the credential is no header line")?;
            headers.insert(name, value.clone());
        }
        let limits = Limits {
            max_message: MAX_BYTES,
            head,
            body: BODY,
            ..Limits::default()
        };
        let fetched = self.endpoint.fetch(headers, &limits).await;
        fetched.map_err(|error| chain(&error))
    }

    /// How long to rest before the next look: somewhere between the two, twice as long after each failure.
    fn rest(&self, streak: u32) -> Duration {
        let (least, most) = self.pause;
        if streak == 0 {
            return between(least, most);
        }
        let longest = most.max(LONGEST_PAUSE);
        let grown = most.saturating_mul(1 << streak.min(12)).min(longest);
        between(grown / 2, grown)
    }
}

/// A time between the two, so that many gateways do not ask at once.
fn between(least: Duration, most: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness it is the longest: later is no danger.
    if getrandom::fill(&mut random).is_err() {
        return most;
    }
    let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
    least + most.saturating_sub(least).mul_f64(share)
}

/// Looks until it is ended. What comes is handed on, and decided before the next look.
pub(super) async fn keep_looking(held: Arc<Held>, look: Arc<Notify>, news: mpsc::Sender<News>) {
    let Some((fetcher, _)) = &held.remote else {
        return;
    };
    let mut waited = Duration::ZERO;
    loop {
        let rest = if held.is_due.swap(false, Ordering::Relaxed) {
            LEAST_PAUSE
        } else {
            // A server that held its answer back has let the time pass already.
            fetcher.rest(held.standing.streak()).saturating_sub(waited)
        };
        let rest = rest.max(LEAST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = look.notified() => {}
        }
        let kept = Arc::clone(&held);
        if let Err(error) = tokio::task::spawn_blocking(move || kept.keep_again()).await {
            tracing::error!(%error, "the bundle could not be kept");
        }
        let asked = Instant::now();
        let looked = held.look(true).await;
        waited = fetcher.wait.map_or(Duration::ZERO, |_| asked.elapsed());
        let Looked::New(fetched) = looked else {
            continue;
        };
        let (decided, decision) = oneshot::channel();
        let offer = News {
            held: Arc::clone(&held),
            fetched,
            decided,
        };
        if news.send(offer).await.is_err() || decision.await.is_err() {
            return;
        }
    }
}
