//! Reading bodies.

use std::{collections::VecDeque, convert::Infallible};

use futures_util::stream;

use super::*;

/// A body of frames, with or without an announced length.
struct Frames {
    frames: VecDeque<Bytes>,
    announced: Option<u64>,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn frames(frames: &[&'static str]) -> Frames {
    let frames = frames
        .iter()
        .map(|text| Bytes::from_static(text.as_bytes()))
        .collect();
    Frames {
        frames,
        announced: None,
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_frame_is_not_copied() {
    let bytes = Bytes::from(vec![b'x'; 1000]);
    let body = Frames {
        frames: [bytes.clone()].into(),
        announced: None,
    };
    let read = read_capped(body, 1000, LONG).await.unwrap();
    assert_eq!(read.as_ptr(), bytes.as_ptr());
}

#[tokio::test]
async fn frames_are_joined_up_to_the_cap() {
    assert_eq!(
        read_capped(frames(&["ab", "", "cd", "e"]), 5, LONG)
            .await
            .unwrap(),
        "abcde"
    );
    assert_eq!(read_capped(frames(&[]), 0, LONG).await.unwrap(), "");
}

#[tokio::test]
async fn one_byte_over_the_cap_is_refused() {
    for body in [
        frames(&["abc"]),
        frames(&["ab", "c"]),
        frames(&["a", "b", "c"]),
    ] {
        let error = read_capped(body, 2, LONG).await.unwrap_err();
        assert!(matches!(error, ReadError::TooLarge { cap: 2 }), "{error}");
    }
}

#[tokio::test]
async fn announced_length_over_the_cap_is_refused_unread() {
    let mut body = frames(&["a"]);
    body.announced = Some(3);
    let error = read_capped(body, 2, LONG).await.unwrap_err();
    assert!(matches!(error, ReadError::TooLarge { cap: 2 }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_too_slow() {
    let body = Body::stream(stream::pending());
    let error = read_capped(body, 2, LONG).await.unwrap_err();
    assert!(
        matches!(error, ReadError::TooSlow { deadline: LONG }),
        "{error}"
    );
}

#[tokio::test]
async fn a_broken_body_is_not_taken_for_a_whole_one() {
    let pieces = [Ok(Bytes::from_static(b"a")), Err(BodyError::new("gone"))];
    let error = read_capped(Body::stream(stream::iter(pieces)), 9, LONG)
        .await
        .unwrap_err();
    assert!(matches!(error, ReadError::Broken(_)), "{error}");
}

#[test]
fn full_bodies_know_their_length() {
    use http_body::Body as _;
    assert_eq!(Body::full("abc").size_hint().exact(), Some(3));
    assert!(Body::full("").is_end_stream());
    assert!(Body::default().is_end_stream());
}

/// A body of one byte a frame or many, always there.
struct Always {
    frame: Bytes,
    given: usize,
}

impl http_body::Body for Always {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.given += 1;
        Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))))
    }
}

#[tokio::test]
async fn a_body_that_is_always_there_lets_others_run() {
    use crate::turn::{CHUNK, TURN};
    for size in [1, 1024, 64 * 1024] {
        let mut body = Always {
            frame: vec![b'x'; size].into(),
            given: 0,
        };
        let most = TURN / (size + CHUNK) + 2;
        let (cap, budget) = (64 * TURN, Budget::default());
        let turns = 8;
        for _ in 0..turns {
            let reading = collect(&mut body, cap, &budget);
            let mut reading = pin!(reading);
            let waker = std::task::Waker::noop();
            assert!(
                reading
                    .as_mut()
                    .poll(&mut Context::from_waker(waker))
                    .is_pending()
            );
        }
        assert!(
            body.given > 0 && body.given <= turns * most,
            "{size}: {} frames in {turns} turns",
            body.given
        );
    }
}
