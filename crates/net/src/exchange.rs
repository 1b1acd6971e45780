//! One request on a connection of its own, bounded in time and length, never redirected.
//!
//! For who asks so seldom that connections are not worth keeping.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinSet, time::timeout};
use zeroize::Zeroizing;

use crate::{
    connect::{ConnectError, Connector, ConnectorError, ConnectorSettings, Versions},
    target::Target,
};

/// Bytes an answer has room for before any of it came.
const ROOM: usize = 64 * 1024;

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No connection; nothing was sent.
    #[error("could not connect")]
    Connect(#[source] ConnectError),
    /// No whole answer in time.
    #[error("no answer in time: `{after:?}`")]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the answer broke off")]
    Broken(#[source] hyper::Error),
    /// The answer is longer than the cap.
    #[error("the answer is longer than the cap in bytes: `{cap}`")]
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
}

/// A connector for single requests: HTTP/1.1 is all it offers, since it is what [`exchange`] speaks.
#[derive(Debug, Clone)]
pub struct OneShot(Connector);

impl OneShot {
    /// Reads certificates; connects to nobody. The versions of the settings have no meaning here.
    ///
    /// # Errors
    /// [`ConnectorError`] when a file cannot be used.
    pub fn new(settings: ConnectorSettings) -> Result<Self, ConnectorError> {
        let connector = Connector::new(&ConnectorSettings {
            versions: Versions::Http1,
            ..settings
        });
        connector.map(Self)
    }
}

/// Sends `request` to `target` and reads the whole answer: at most `cap` bytes, connecting and all within `patience`. The request
/// has its path; `Host` is added.
///
/// # Errors
/// [`ExchangeError`].
pub async fn exchange(
    OneShot(connector): &OneShot,
    target: &Target,
    mut request: Request<Full<Bytes>>,
    cap: usize,
    patience: Duration,
) -> Result<Response<Zeroizing<Vec<u8>>>, ExchangeError> {
    request.headers_mut().insert(HOST, target.host().clone());
    let exchanged = async {
        let connected = connector.connect(target).await;
        let connected = connected.map_err(ExchangeError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(connected))
            .await
            .map_err(ExchangeError::Broken)?;
        // Ends with this function: dropped, the set aborts what is in it.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answered = sender.send_request(request).await;
        let (head, body) = answered.map_err(ExchangeError::Broken)?.into_parts();
        Ok(Response::from_parts(head, read(body, cap).await?))
    };
    timeout(patience, exchanged)
        .await
        .unwrap_or(Err(ExchangeError::TimedOut { after: patience }))
}

async fn read(mut body: Incoming, cap: usize) -> Result<Zeroizing<Vec<u8>>, ExchangeError> {
    // With room for all of it as a rule, so that nothing is moved and left behind while it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(cap.min(ROOM)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(ExchangeError::Broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > cap {
            return Err(ExchangeError::TooLarge { cap });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
