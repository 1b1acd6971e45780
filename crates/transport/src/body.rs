//! The one response body, and the only way to read a request body: up to a cap, within a deadline.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{
    memory::{Budget, Spent, Weighed},
    turn::{CHUNK, Turn},
};

/// An error of somebody else's type.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The most that is reserved on a peer's word alone; beyond it the buffer grows with the bytes that came.
const RESERVE: usize = 256 * 1024;

/// Why a response body ended before its end. The connection is cut, so that no reader takes the part for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the response body broke off")]
pub struct BodyError(#[source] BoxError);

impl BodyError {
    /// Wraps what went wrong.
    pub fn new(source: impl Into<BoxError>) -> Self {
        Self(source.into())
    }
}

/// The body of every response this gateway gives.
///
/// One concrete type, so that no layer is placed by what its body type allows.
#[derive(Default)]
pub struct Body(Kind);

type Frames = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Frames(Frames),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is there already; sent with its length, in one write with the head where it fits.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self(Kind::Full(bytes))
        }
    }

    /// A body that comes piece by piece; every item is flushed on its own.
    pub fn stream<S>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    {
        Self::frames(Streamed { stream })
    }

    /// Whether all of it is there already.
    pub fn is_there(&self) -> bool {
        match self.0 {
            Kind::Empty | Kind::Full(_) => true,
            Kind::Frames(_) => false,
        }
    }

    /// The same body, with a guard that is dropped at its end. A body that is there already has ended: the guard goes at
    /// once.
    #[must_use]
    pub fn guarded<G: Send + 'static>(self, guard: G) -> Self {
        match self.0 {
            kind @ (Kind::Empty | Kind::Full(_)) => Self(kind),
            Kind::Frames(frames) => Self::frames(Guarded {
                frames,
                guard: Some(guard),
            }),
        }
    }

    /// Any other body.
    pub fn frames<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self(Kind::Frames(Box::pin(body)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Frames(frames) => frames.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Frames(frames) => frames.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Frames(frames) => frames.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => formatter.write_str("Body::Empty"),
            Kind::Full(bytes) => write!(formatter, "Body::Full({})", bytes.len()),
            Kind::Frames(_) => formatter.write_str("Body::Frames"),
        }
    }
}

/// A body with what lives as long as it.
struct Guarded<G> {
    frames: Frames,
    guard: Option<G>,
}

// The frames are boxed, so nothing in here is pinned in place.
impl<G> Unpin for Guarded<G> {}

impl<G> http_body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(this.frames.as_mut().poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            this.guard = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.frames.size_hint()
    }
}

pin_project_lite::pin_project! {
    /// A stream of pieces as a body.
    struct Streamed<S> {
        #[pin]
        stream: S,
    }
}

impl<S> http_body::Body for Streamed<S>
where
    S: Stream<Item = Result<Bytes, BodyError>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let item = ready!(self.project().stream.poll_next(context));
        Poll::Ready(item.map(|piece| piece.map(Frame::data)))
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is, or says it is, longer than the cap.
    #[error("the body is longer than the cap in bytes: `{cap}`")]
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// It was not whole in time.
    #[error("the body was not read in time: `{deadline:?}`")]
    TooSlow {
        /// The time it had.
        deadline: Duration,
    },
    /// Too much is held already, for all peers together.
    #[error("there is no memory left for the body")]
    NoMemory(#[source] Spent),
    /// The peer went away or broke the framing.
    #[error("the body broke off")]
    Broken(#[source] BoxError),
}

/// Reads a whole body of at most `cap` bytes within `deadline`.
///
/// A length the peer announces is checked before anything is read. A body that comes in one frame is not copied.
///
/// # Errors
/// [`ReadError`]: too large, too slow, or broken off.
pub async fn read_capped<B>(body: B, cap: usize, deadline: Duration) -> Result<Bytes, ReadError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    read_within(body, cap, deadline, &Budget::default())
        .await
        .map(Weighed::tied)
}

/// [`read_capped`] within a budget that others use too; what is read comes with its share of it.
///
/// # Errors
/// [`ReadError`]: too large, too slow, no memory, or broken off.
pub async fn read_within<B>(
    body: B,
    cap: usize,
    deadline: Duration,
    memory: &Budget,
) -> Result<Weighed, ReadError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > cap as u64 {
        return Err(ReadError::TooLarge { cap });
    }
    if body.is_end_stream() {
        return Ok(Weighed::new(Bytes::new(), memory.share()));
    }
    let mut reading = pin!(collect(body, cap, memory));
    // Mostly the body came with its head: then the first look finds it, or the second, since hyper hands out a body only
    // when it was asked for once. A timer is made for the others.
    let mut looked = false;
    let early = poll_fn(|context| match reading.as_mut().poll(context) {
        Poll::Ready(read) => Poll::Ready(Some(read)),
        Poll::Pending if looked => Poll::Ready(None),
        Poll::Pending => {
            looked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    if let Some(read) = early.await {
        return read;
    }
    match tokio::time::timeout(deadline, reading).await {
        Ok(read) => read,
        Err(_elapsed) => Err(ReadError::TooSlow { deadline }),
    }
}

/// Collects the data frames of a body; trailers are dropped.
async fn collect<B>(body: B, cap: usize, memory: &Budget) -> Result<Weighed, ReadError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut share = memory.share();
    // What is announced is taken before it is read: a peer that does not fit is told at once.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    share.grow(announced).map_err(ReadError::NoMemory)?;
    let Some(first) = next_data(&mut body).await? else {
        return Ok(Weighed::new(Bytes::new(), share));
    };
    if first.len() > cap {
        return Err(ReadError::TooLarge { cap });
    }
    share.grow(first.len()).map_err(ReadError::NoMemory)?;
    if body.is_end_stream() {
        return Ok(Weighed::new(first, share));
    }
    // The hint counts what is still to come.
    let rest = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let Some(second) = next_data(&mut body).await? else {
        return Ok(Weighed::new(first, share));
    };
    let wanted = first.len().saturating_add(rest.max(second.len())).min(cap);
    // Where the announced length was taken from a budget it can be reserved, and no buffer has to grow.
    let reserved = match memory.left() {
        Some(_) => wanted,
        None => wanted.min(RESERVE.max(first.len() + second.len())),
    };
    let mut whole = BytesMut::with_capacity(reserved);
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    let mut turn = Turn::default();
    while let Some(data) = next {
        turn.charge(data.len() + CHUNK);
        turn.pass().await;
        if data.len() > cap - whole.len() {
            return Err(ReadError::TooLarge { cap });
        }
        let held = whole.len() + data.len();
        share.grow(held).map_err(ReadError::NoMemory)?;
        whole.extend_from_slice(&data);
        next = if body.is_end_stream() {
            None
        } else {
            next_data(&mut body).await?
        };
    }
    Ok(Weighed::new(whole.freeze(), share))
}

/// The next data frame, if any; trailers are skipped.
async fn next_data<B>(body: &mut Pin<&mut B>) -> Result<Option<Bytes>, ReadError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Err(source) => return Err(ReadError::Broken(source.into())),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
