//! The driver reads what servers send, however it is cut, and notices what is wrong.

use super::*;

/// A connection that delivers `text` in pieces of `piece` bytes.
fn pieces(text: &str, piece: usize) -> pieces::Pieces {
    pieces::Pieces::new(text, piece)
}

/// A reader of prepared bytes.
mod pieces {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, ReadBuf};

    pub(super) struct Pieces {
        rest: Vec<u8>,
        piece: usize,
    }

    impl Pieces {
        pub(super) fn new(text: &str, piece: usize) -> Self {
            Self {
                rest: text.as_bytes().to_vec(),
                piece,
            }
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let size = self.piece.min(self.rest.len());
            buffer.put_slice(&self.rest.drain(..size).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nMcp-Session-Id: s1\r\n\r\nhello";
const CHUNKED: &str =
    "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";

#[tokio::test]
async fn a_reply_is_read_whole_however_it_is_cut() {
    for (text, status, session) in [(WHOLE, 200, Some("s1")), (CHUNKED, 404, None)] {
        for piece in [1, 2, 3, 7, 1000] {
            let mut reader = Reader::new();
            let reply = reader.read(&mut pieces(text, piece)).await.unwrap();
            assert_eq!(reply.body, b"hello");
            assert_eq!(reply.status, status);
            assert_eq!(reply.session, session);
        }
    }
}

#[tokio::test]
async fn a_cut_or_overlong_reply_is_an_error() {
    for text in [
        &WHOLE[..WHOLE.len() - 1],
        &CHUNKED[..CHUNKED.len() - 1],
        &format!("{WHOLE}x"),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    ] {
        let mut reader = Reader::new();
        let read = reader.read(&mut pieces(text, 1000)).await;
        assert!(read.is_err(), "{text}");
    }
}

#[test]
fn percentiles_are_of_the_sorted_calls() {
    let latencies: Vec<u32> = (1..=100).map(|micros| micros * 1000).collect();
    assert!((percentile(&latencies, 50) - 51.0).abs() < 0.01);
    assert!((percentile(&latencies, 99) - 100.0).abs() < 0.01);
    assert!(percentile(&[], 50).abs() < 0.01);
}

/// An HTTP reply with `body`.
fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Serves one connection `replies` in turn, then closes it.
async fn scripted(replies: Vec<String>) -> SocketAddr {
    use tokio::io::AsyncReadExt as _;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for reply in replies {
            let mut buffer = vec![0; 4096];
            if stream.read(&mut buffer).await.unwrap() == 0 {
                return;
            }
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    address
}

/// Calls a server that sends `replies`, whatever was asked.
async fn drive(replies: Vec<String>) -> Seen {
    let task = Task {
        to: Destination {
            address: scripted(replies).await,
            path: "/bench/mcp".into(),
            key: None,
        },
        workload: Workload::Stateless,
        sessions: 0,
        warm: Duration::ZERO,
        measure: Duration::from_millis(50),
    };
    let mut connection = Connection::open(&task, 0).await.unwrap();
    let mut seen = Seen::default();
    let end = Instant::now() + task.measure;
    connection.call_until(end, &mut seen).await;
    seen
}

/// A good reply to the first call of the first connection.
const FIRST: &str = r#"{"jsonrpc":"2.0","id":1000000000,"x":"keepgate-bench-result"}"#;

#[tokio::test]
async fn a_reply_to_another_call_is_an_error() {
    let seen = drive(vec![http("200 OK", FIRST), http("200 OK", FIRST)]).await;
    assert_eq!(seen.latencies.len(), 1, "{seen:?}");
    assert_eq!(seen.errors, 1);
}

#[tokio::test]
async fn a_refusal_worded_as_a_result_is_an_error() {
    let refusal = r#"{"jsonrpc":"2.0","id":1000000000,"result":{"isError":true,"content":[]}}"#;
    let seen = drive(vec![http("200 OK", refusal)]).await;
    assert_eq!(seen.errors, 1);
    assert!(seen.first_error.unwrap().contains("isError"));
}

#[tokio::test]
async fn a_status_that_is_not_200_is_an_error() {
    let seen = drive(vec![http("503 Service Unavailable", FIRST)]).await;
    assert_eq!(seen.errors, 1);
    // Not only because the connection is closed after it.
    assert!(seen.first_error.unwrap().contains("status 503"));
}
