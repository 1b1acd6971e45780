//! Lines.

use proptest::prelude::*;

use super::*;

fn flat(text: &str) -> Option<String> {
    flatten(&Bytes::copy_from_slice(text.as_bytes()))
        .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn a_message_without_line_breaks_is_not_copied() {
    let message = Bytes::from(br#"{"a":1}"#.to_vec());
    assert_eq!(flatten(&message).unwrap().as_ptr(), message.as_ptr());
}

#[test]
fn line_breaks_become_spaces_between_tokens_and_are_refused_inside() {
    assert_eq!(flat("{\n\"a\"\r\n:\t1}").unwrap(), "{ \"a\"  :\t1}");
    assert_eq!(flat("{\"a\\\"\":\n1}").unwrap(), "{\"a\\\"\": 1}");
    assert_eq!(flat("{\"a\\\\\":\n\"\"}").unwrap(), "{\"a\\\\\": \"\"}");
    assert_eq!(flat("{\"a\n\":1}"), None);
    assert_eq!(flat("{\"a\\\n\":1}"), None);
}

async fn lines(text: &[u8], cap: usize, chunk: usize) -> Vec<Result<String, ()>> {
    let pieces: Vec<_> = text
        .chunks(chunk)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let source = Chunks(pieces.into_iter().map(Result::unwrap).collect());
    let mut lines = Lines::new(source, cap);
    let mut seen = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        let over = line.is_err();
        seen.push(
            line.map(|line| String::from_utf8(line.to_vec()).unwrap())
                .map_err(|TooLong| ()),
        );
        if over {
            break;
        }
    }
    seen
}

/// A source that gives one piece per read.
struct Chunks(std::collections::VecDeque<Bytes>);

impl AsyncRead for Chunks {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if let Some(piece) = self.0.pop_front() {
            buffer.put_slice(&piece);
        }
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn the_cap_holds_with_and_without_a_line_end() {
    assert_eq!(
        lines(b"abc\nabcd\nx\n", 3, 100).await,
        [Ok("abc".to_owned()), Err(())]
    );
    assert_eq!(lines(b"abcd", 3, 1).await, [Err(())]);
    assert_eq!(lines(b"abc", 3, 1).await, []);
}

proptest! {
    #[test]
    fn lines_are_the_same_whatever_the_chunking(text in "[a-c\n\r ]{0,200}", chunk in 1_usize..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seen = runtime.block_on(lines(text.as_bytes(), 1000, chunk));
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let expected: Vec<_> = whole
            .split('\n')
            .map(str::trim_ascii)
            .filter(|line| !line.is_empty())
            .map(|line| Ok(line.to_owned()))
            .collect();
        prop_assert_eq!(seen, expected);
    }
}

/// A source that always has more of the same, and counts it.
struct Endless {
    piece: Vec<u8>,
    given: usize,
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let count = buffer.remaining() / self.piece.len();
        for _ in 0..count {
            let piece = self.piece.clone();
            buffer.put_slice(&piece);
        }
        self.given += count * self.piece.len();
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_process_that_never_pauses_lets_others_run() {
    use crate::turn::{MESSAGE, TURN};
    use std::future::Future;
    for (piece, lines_a_turn) in [("\n", 0), (" \r\n", 0), ("{}\n", TURN / MESSAGE)] {
        let source = Endless {
            piece: piece.as_bytes().to_vec(),
            given: 0,
        };
        let mut lines = Lines::new(source, 1 << 20);
        for turn in 1..=4 {
            let mut taken = 0;
            loop {
                let next = std::pin::pin!(lines.next());
                let waker = std::task::Waker::noop();
                let mut context = std::task::Context::from_waker(waker);
                match next.poll(&mut context) {
                    std::task::Poll::Ready(line) => {
                        assert!(matches!(line, Ok(Some(Ok(_)))));
                        taken += 1;
                    }
                    std::task::Poll::Pending => break,
                }
            }
            assert!(taken <= lines_a_turn, "{piece:?}: {taken} lines in a turn");
            let most = turn * (TURN + Lines::<Endless>::CHUNK * 2);
            let given = lines.source.given;
            assert!(given <= most, "{piece:?}: {given} bytes in {turn} turns");
        }
    }
}
