//! One way to a collector: OTLP over gRPC or over HTTP with protobuf.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use keepgate_net::{Connector, ConnectorSettings, Versions};

use super::{Collector, ExportError, Protocol};

/// The longest answer of a collector that is read.
const ANSWER_LONGEST: usize = 64 * 1024;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// The gRPC method (`collector/*/v1/*_service.proto`).
    fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// Why a message was not taken. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct SendError {
    why: String,
    /// Whether trying again may help (OTLP, "failures").
    pub(super) may_pass: bool,
}

impl SendError {
    fn new(why: impl Into<String>, may_pass: bool) -> Self {
        Self {
            why: why.into(),
            may_pass,
        }
    }
}

/// The way to one collector.
pub(super) struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    collector: Collector,
}

impl Client {
    pub(super) fn new(collector: &Collector) -> Result<Self, ExportError> {
        let connector = Connector::new(&ConnectorSettings {
            timeout: collector.timeout,
            extra_roots: collector.ca.iter().cloned().collect(),
            egress: collector.egress.clone(),
            versions: match collector.protocol {
                Protocol::Grpc => Versions::Http2,
                Protocol::Http => Versions::Both,
            },
            ..ConnectorSettings::default()
        })
        .map_err(ExportError::Connector)?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(2)
            .http2_only(collector.protocol == Protocol::Grpc)
            .build(connector);
        Ok(Self {
            http,
            collector: collector.clone(),
        })
    }

    /// Sends one message, once; gives the collector's answer.
    pub(super) async fn send(&self, signal: Signal, message: &[u8]) -> Result<Bytes, SendError> {
        let sent = async {
            match self.collector.protocol {
                Protocol::Grpc => self.grpc(signal, message).await,
                Protocol::Http => self.plain(message).await,
            }
        };
        let timeout = self.collector.timeout;
        tokio::time::timeout(timeout, sent)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(SendError::new(
                    format!("no answer within {timeout:?}"),
                    true,
                ))
            })
    }

    async fn plain(&self, message: &[u8]) -> Result<Bytes, SendError> {
        let request = self.request(
            self.collector.url.clone(),
            "application/x-protobuf",
            Bytes::copy_from_slice(message),
        )?;
        let response = self.exchange(request).await?;
        let status = response.status();
        if !status.is_success() {
            let passing = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            return Err(SendError::new(
                format!("HTTP {status}"),
                passing.contains(&status),
            ));
        }
        Ok(response.into_body().0)
    }

    async fn grpc(&self, signal: Signal, message: &[u8]) -> Result<Bytes, SendError> {
        let mut parts = self.collector.url.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(signal.method()));
        let url =
            Uri::from_parts(parts).map_err(|error| SendError::new(error.to_string(), false))?;
        let mut framed = BytesMut::with_capacity(5 + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        framed.put_slice(message);
        let mut request = self.request(url, "application/grpc", framed.freeze())?;
        request
            .headers_mut()
            .insert(header::TE, header::HeaderValue::from_static("trailers"));
        let response = self.exchange(request).await?;
        let (head, (body, trailers)) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(SendError::new(format!("HTTP {}", head.status), true));
        }
        let status = |headers: &HeaderMap| {
            let status = headers.get("grpc-status")?.to_str().ok()?;
            status.parse::<u8>().ok()
        };
        match status(&trailers).or_else(|| status(&head.headers)) {
            Some(0) => Ok(body.get(5..).map(|_| body.slice(5..)).unwrap_or_default()),
            Some(code) => Err(SendError::new(
                format!("gRPC status {code}"),
                // Cancelled, deadline exceeded, resource exhausted, aborted, out of range, unavailable, data loss.
                [1, 4, 8, 10, 11, 14, 15].contains(&code),
            )),
            None => Err(SendError::new("no gRPC status", true)),
        }
    }

    fn request(
        &self,
        url: Uri,
        media: &'static str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, SendError> {
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, media)
            .header(
                header::USER_AGENT,
                concat!("keepgate/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(body))
            .map_err(|error| SendError::new(error.to_string(), false))?;
        for (name, value) in &self.collector.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<(Bytes, HeaderMap)>, SendError> {
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| SendError::new(keepgate_call::chain(&error), true))?;
        let (head, body) = response.into_parts();
        #[expect(
            clippy::disallowed_methods,
            reason = "the length is capped, and trailers are wanted"
        )]
        let collected = Limited::new(body, ANSWER_LONGEST)
            .collect()
            .await
            .map_err(|error| SendError::new(error.to_string(), true))?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Response::from_parts(head, (collected.to_bytes(), trailers)))
    }
}
