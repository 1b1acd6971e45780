//! Bounds of what a stream may cost: bytes of one turn, messages of one turn, and bytes that bring no message.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use http_body::Frame;

use super::*;
use crate::turn::TURN;

/// The size of one frame, as hyper's buffer bounds it.
const FRAME: usize = 16 * 1024;

/// A body that always has more of the same.
struct Endless {
    frame: Bytes,
    given: usize,
}

impl Endless {
    fn new(piece: &str) -> Self {
        let frame = piece.repeat(FRAME / piece.len());
        Self {
            frame: frame.into(),
            given: 0,
        }
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.given += self.frame.len();
        Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))))
    }
}

/// Everything a server can send without end, and the whole events in it.
const PIECES: [(&str, usize); 10] = [
    ("\n", 0),
    ("\r\n", 0),
    (":\n", 0),
    (": still here\r\n", 0),
    ("x\n", 0),
    ("event: x\n\n", 0),
    ("retry: 1\n\n", 1),
    ("id\n\n", 1),
    ("data\n\n", 1),
    ("data: {}\n\n", 1),
];

/// Counts what wakes the task.
#[derive(Default)]
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_turn_ends_after_so_many_bytes_or_messages_whatever_comes() {
    for (piece, events) in PIECES {
        let mut stream = Inner::new(Endless::new(piece), &Limits::default());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        for turn in 1..=4 {
            let before = stream.body.as_ref().map_or(0, |body| body.given);
            let mut taken = 0;
            // A task that asks for ever, as a filter or a relay does.
            while let Poll::Ready(event) = stream.poll_event(&mut context) {
                assert!(matches!(event, Some(Ok(_))), "{piece:?}: {event:?}");
                taken += 1;
            }
            let given = stream.body.as_ref().map_or(0, |body| body.given) - before;
            assert!(given <= TURN + FRAME, "{piece:?}: {given} bytes in a turn");
            assert!(taken <= 64, "{piece:?}: {taken} messages in a turn");
            assert_eq!(taken > 0, events > 0, "{piece:?}");
            assert_eq!(woken.0.load(Ordering::Relaxed), turn, "{piece:?}");
        }
    }
}

/// Bytes taken until the stream ends, and how it does.
async fn until_the_end(piece: &str, limits: &Limits, most: usize) -> (usize, Option<StreamError>) {
    let mut stream = Inner::new(Endless::new(piece), limits);
    let mut given = 0;
    while given < most {
        match std::future::poll_fn(|context| stream.poll_event(context)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return (given, Some(error)),
            None => return (given, None),
        }
        given = stream.body.as_ref().map_or(0, |body| body.given);
    }
    (given, None)
}

#[tokio::test(start_paused = true)]
async fn bytes_that_bring_no_message_end_a_stream() {
    let limits = Limits {
        noise: 4 * TURN,
        ..Limits::default()
    };
    for (piece, _) in PIECES {
        let (given, error) = until_the_end(piece, &limits, 4 * limits.noise).await;
        if piece.contains("{}") {
            assert!(error.is_none(), "{piece:?}: {error:?}");
            continue;
        }
        assert!(
            matches!(error, Some(StreamError::Noise { most }) if most == limits.noise),
            "{piece:?}: {error:?}"
        );
        assert!(given <= limits.noise + TURN, "{piece:?}: {given}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_of_comments_lives() {
    let limits = Limits {
        noise: 4 * FRAME,
        ..Limits::default()
    };
    let mut stream = Inner::new(Endless::new(":\n"), &limits);
    let mut noise = |count: usize| {
        for _ in 0..count {
            stream.noise.received += FRAME as u64;
            if stream.noise.is_too_much(0) {
                return true;
            }
        }
        false
    };
    for _ in 0..9 {
        assert!(!noise(3));
        tokio::time::advance(NOISE_WINDOW).await;
    }
    assert!(noise(9));
}
