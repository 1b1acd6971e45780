//! Lines.

use proptest::prelude::*;

use super::*;
use crate::duplex::Answers;

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
        seen.push(
            line.map(|line| String::from_utf8(line.to_vec()).unwrap())
                .map_err(drop),
        );
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
        if let Some(mut piece) = self.0.pop_front() {
            let now = piece.split_to(piece.len().min(buffer.remaining()));
            buffer.put_slice(&now);
            if !piece.is_empty() {
                self.0.push_front(piece);
            }
        }
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn the_cap_holds_with_and_without_a_line_end() {
    // What comes after a line over the cap is read, however it arrives.
    for chunk in [1, 2, 3, 100] {
        let long = "d".repeat(5000);
        let text = format!("abc\nabcd\nx\n{long}\n\ny\n");
        let line = |text: &str| Ok(text.to_owned());
        let expected = [line("abc"), Err(()), line("x"), Err(()), line("y")];
        assert_eq!(lines(text.as_bytes(), 3, chunk).await, expected);
    }
    assert_eq!(lines(b"abcd", 3, 1).await, []);
    assert_eq!(lines(b"abc", 3, 1).await, []);
}

#[tokio::test]
async fn a_line_over_the_cap_names_the_call_it_answers() {
    let long = "x".repeat(3000);
    for (text, answered) in [
        (
            format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"a":"{long}"}}}}"#),
            Answers::Call(7),
        ),
        (
            format!(r#"{{"result":{{"id":3,"a":"{long}"}},"jsonrpc":"2.0","id":8}}"#),
            Answers::Call(8),
        ),
        (
            format!(
                r#"{{"result":{{"method":"m","a":"{long}","id":4}},"id" : 9 , "jsonrpc":"2.0"}}"#
            ),
            Answers::Call(9),
        ),
        (
            format!(r#"{{"id":5,"error":{{"code":1,"message":"{long}"}},"jsonrpc":"2.0"}}"#),
            Answers::Call(5),
        ),
        (
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"id":3,"a":"{long}"}}}}"#
            ),
            Answers::Nothing,
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","id":"q","method":"m","params":{{"a":"{long}"}}}}"#),
            Answers::Nothing,
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","result":{{"a":"{long}"}},"x":"{long}"}}"#),
            Answers::Unknown,
        ),
    ] {
        assert_eq!(answers(&text).await, answered, "{text}");
    }
}

/// The calls that a line over the cap answers.
async fn answers(text: &str) -> Answers {
    let source = Chunks([Bytes::from(format!("{text}\n"))].into());
    let mut lines = Lines::new(source, 100);
    let line = lines.next().await.unwrap().expect("a line");
    Answers::among_noise(&line.expect_err("over the cap"))
}

#[tokio::test]
async fn an_id_in_a_line_over_the_cap_is_read_as_in_any_other() {
    let long = "x".repeat(3000);
    for (text, answered) in [
        // Texts, escapes and doubles, wherever they are; an id of the tool's own is none.
        (
            format!(r#"{{"jsonrpc":"2.0","id":"7","result":{{"a":"{long}","id":3}}}}"#),
            Answers::Call(7),
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","id":"\u0037","result":{{"a":"{long}"}}}}"#),
            Answers::Call(7),
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","i\u0064":7.0,"result":{{"a":"{long}"}}}}"#),
            Answers::Call(7),
        ),
        (
            format!(r#"{{"result":{{"a":"{long}"}},"id":7,"acme":"{long}","jsonrpc":"2.0"}}"#),
            Answers::Call(7),
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","id":"a","result":{{"a":"{long}","id":3}}}}"#),
            Answers::Nothing,
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","result":{{"a":"{long}","id":3}}}}"#),
            Answers::Unknown,
        ),
        (
            format!(r#"{{"id":7,"result":{{"a":"{long}"}},"id":8}}"#),
            Answers::Unknown,
        ),
        // For people.
        (
            format!(r#"{{"level":"error","error":"{long}"}}"#),
            Answers::Nothing,
        ),
        (long.clone(), Answers::Nothing),
    ] {
        assert_eq!(answers(&text).await, answered, "{text}");
    }
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
