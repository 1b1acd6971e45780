//! Bodies: what the bench's servers send, and how they read what was sent to them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use thiserror::Error;

/// A body of one piece, of announced or of unannounced length.
#[derive(Debug)]
pub(crate) struct Reply {
    bytes: Option<Bytes>,
    announced: bool,
}

impl Reply {
    /// Sent with a `Content-Length`.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            bytes: (!bytes.is_empty()).then_some(bytes),
            announced: true,
        }
    }

    /// Sent chunked, as a server does that does not know yet whether more will come.
    pub(crate) fn stream(bytes: Bytes) -> Self {
        Self {
            bytes: Some(bytes),
            announced: false,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced {
            SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
        } else {
            SizeHint::default()
        }
    }
}

/// Why a body could not be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError<E> {
    /// The connection failed.
    #[error("failed to read a body")]
    Peer(#[source] E),
    /// The body is longer than the cap, given in bytes.
    #[error("body is longer than: `{0}`")]
    TooLong(usize),
}

/// Reads a body of at most `cap` bytes. One that arrives in one piece is not copied.
pub(crate) async fn read<B>(mut body: B, cap: usize) -> Result<Bytes, ReadError<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadError::Peer)?.into_data() else {
            continue;
        };
        if first.len() + all.len() + data.len() > cap {
            return Err(ReadError::TooLong(cap));
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_above_the_cap_is_refused() {
        let body = || Reply::stream(Bytes::from_static(b"four"));
        assert_eq!(read(body(), 4).await.unwrap(), "four");
        assert!(matches!(read(body(), 3).await, Err(ReadError::TooLong(3))));
    }
}
