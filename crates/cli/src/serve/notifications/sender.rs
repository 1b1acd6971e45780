//! The way to a target: one request on a connection of its own, bounded in time, redirected nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Live, Settings, Use};
use keepgate_gateway::settings::travels_clear;
use keepgate_jose::hmac_sha256;
use keepgate_net::{ConnectorSettings, OneShot, Target, exchange};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::message::Message;
use crate::config::{NotifyTarget, NotifyUrl};
use crate::exit::Exit;
use crate::failure::{Failure, chain};

/// Bytes of an answer that are read. Nobody looks at them.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest wait that an answer may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10 * 60);
/// Shortest secret, in bytes: as Standard Webhooks has it.
const MIN_SECRET: usize = 24;
/// Prefix of secrets that are written in Base64.
const WHSEC: &str = "whsec_";

/// The reason a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// The target answered with this status, and perhaps asks to be left alone for a time.
    Status(u16, Option<Duration>),
    /// No answer, or no way to ask for one.
    Unreached(String),
}

impl Undelivered {
    /// Whether another attempt would get the same answer: the target does not want this message.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Status(400 | 413 | 422, _))
    }

    /// Time the target asks to be left alone for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(_, wait) => *wait,
            Self::Unreached(_) => None,
        }
    }
}

impl std::fmt::Display for Undelivered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status @ 300..=399, _) => {
                write!(f, "HTTP {status}: redirects are not followed")
            }
            Self::Status(status, _) => write!(f, "HTTP {status}"),
            Self::Unreached(reason) => f.write_str(reason),
        }
    }
}

/// A place of the secrets of a target.
const URL: &str = "notify-url";
const SECRET: &str = "notify-secret";

/// The way to one target.
pub(super) struct Sender {
    connector: OneShot,
    settings: NotifyTarget,
    credentials: Credentials,
}

impl Sender {
    /// Sets the way up; nothing is sent. Within the runtime that sends.
    pub(super) fn new(
        settings: &NotifyTarget,
        providers: &Settings,
        live: &Arc<Live>,
    ) -> Result<Self, Failure> {
        let connector = OneShot::new(ConnectorSettings {
            timeout: settings.timeout,
            extra_roots: settings.ca.iter().cloned().collect(),
            egress: settings.egress.clone(),
            ..ConnectorSettings::default()
        })
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let credentials = Credentials::sharing(&TaskTracker::new(), live);
        let url = match &settings.url {
            NotifyUrl::Secret(wanted) => Some(wanted),
            NotifyUrl::Plain(_) => None,
        };
        let uses: BTreeMap<ServerName, Vec<Use>> = [(URL, url), (SECRET, settings.secret.as_ref())]
            .into_iter()
            .filter_map(|(name, wanted)| Some((ServerName::parse(name)?, vec![wanted?.clone()])))
            .collect();
        credentials
            .configure(providers, &uses)
            .map_err(|error| Failure::caused(Exit::Start, &error))?;
        Ok(Self {
            connector,
            settings: settings.clone(),
            credentials,
        })
    }

    /// Sends a message, once.
    pub(super) async fn send(&self, message: &Message) -> Result<(), Undelivered> {
        // Over all of it: also a vault may hang.
        let sent = tokio::time::timeout(self.settings.timeout, self.attempt(message)).await;
        sent.unwrap_or_else(|_elapsed| {
            let after = self.settings.timeout;
            Err(Undelivered::Unreached(format!("no answer in {after:?}")))
        })
    }

    async fn attempt(&self, message: &Message) -> Result<(), Undelivered> {
        let (target, path) = self.place().await?;
        let mut request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("keepgate/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(message.body.clone()))
            .map_err(|error| Undelivered::Unreached(error.to_string()))?;
        if self.settings.secret.is_some() {
            let secret = self.value(SECRET).await?;
            let headers = request.headers_mut();
            for (name, value) in signed(&secret, message)? {
                let value = HeaderValue::try_from(value);
                let value = value.map_err(|error| Undelivered::Unreached(error.to_string()))?;
                headers.insert(name, value);
            }
        }
        let patience = self.settings.timeout;
        let answered = exchange(&self.connector, &target, request, MAX_ANSWER, patience);
        let answer = answered
            .await
            .map_err(|error| Undelivered::Unreached(chain(&error)))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let wait = (answer.status() == StatusCode::TOO_MANY_REQUESTS
            || answer.status() == StatusCode::SERVICE_UNAVAILABLE)
            .then(|| {
                answer
                    .headers()
                    .get(RETRY_AFTER)?
                    .to_str()
                    .ok()?
                    .parse()
                    .ok()
            })
            .flatten();
        let wait = wait.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        Err(Undelivered::Status(answer.status().as_u16(), wait))
    }

    /// Place of the target as of now, and the path on it.
    async fn place(&self) -> Result<(Target, Uri), Undelivered> {
        let unusable = |why: &str| Undelivered::Unreached(why.to_owned());
        // Not repeated in any message: it may be the secret.
        let url: Uri = match &self.settings.url {
            NotifyUrl::Plain(url) => url.clone(),
            NotifyUrl::Secret(_) => {
                let value = self.value(URL).await?;
                let text = std::str::from_utf8(&value).unwrap_or_default();
                let url = text.trim().parse();
                url.map_err(|_invalid| unusable("the secret is no URL"))?
            }
        };
        if travels_clear(&url) {
            return Err(unusable("the URL is http, and another machine's"));
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let path = path
            .parse()
            .map_err(|_invalid| unusable("the URL has no usable path"))?;
        let target = Target::new(url).ok_or_else(|| {
            unusable("the secret is no http or https URL, or has a user or password in it")
        })?;
        Ok((target, path))
    }

    /// A secret as of now.
    async fn value(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, Undelivered> {
        let missing = || Undelivered::Unreached("a secret is missing".to_owned());
        let name = ServerName::parse(name).ok_or_else(missing)?;
        let source = self.credentials.of(&name).ok_or_else(missing)?;
        let held = source.acquire().await;
        let held = held.map_err(|error| Undelivered::Unreached(chain(&error)))?;
        let value = held.material().variables().next();
        value
            .map(|(_, value)| Zeroizing::new(value.to_vec()))
            .ok_or_else(missing)
    }

    /// Gives back what was needed.
    pub(super) async fn close(&self) {
        self.credentials.close().await;
    }
}

/// The header lines of Standard Webhooks: id, time, and the HMAC-SHA256 over both and the body.
fn signed(secret: &[u8], message: &Message) -> Result<[(&'static str, String); 3], Undelivered> {
    let unusable = |why: &str| Undelivered::Unreached(why.to_owned());
    let encoded = std::str::from_utf8(secret).ok();
    let encoded = encoded.and_then(|text| text.strip_prefix(WHSEC));
    let decoded = encoded.map(|text| STANDARD.decode(text.trim()).map(Zeroizing::new));
    let decoded = decoded.transpose();
    let decoded = decoded.map_err(|_invalid| unusable("the secret after `whsec_` is no Base64"))?;
    let key = decoded.as_deref().map_or(secret, Vec::as_slice);
    if key.len() < MIN_SECRET {
        return Err(Undelivered::Unreached(format!(
            "the secret is shorter than {MIN_SECRET} bytes"
        )));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = now.unwrap_or_default().as_secs().to_string();
    let body: &Bytes = &message.body;
    let parts: [&[u8]; 5] = [message.id.as_bytes(), b".", time.as_bytes(), b".", body];
    let signature = format!("v1,{}", STANDARD.encode(hmac_sha256(key, &parts)));
    Ok([
        ("webhook-id", message.id.clone()),
        ("webhook-timestamp", time),
        ("webhook-signature", signature),
    ])
}
