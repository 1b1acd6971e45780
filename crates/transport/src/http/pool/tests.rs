//! What the pool does between two calls.

use std::sync::atomic::AtomicUsize;

use keepgate_net::ConnectorSettings;

use super::*;
use crate::{
    fake::{FakeServer, Then, response, soon},
    http::client::Client,
};

fn pool(uri: &str, settings: ClientSettings) -> Arc<Pool> {
    let settings = ClientSettings {
        connector: ConnectorSettings {
            native_roots: false,
            ..ConnectorSettings::default()
        },
        ..settings
    };
    let endpoint = Client::new(settings).unwrap().endpoint(uri).unwrap();
    Arc::clone(endpoint.pool())
}

fn request() -> Request<Out> {
    Request::post("/")
        .body(Out::new(Bytes::from_static(b"{}")))
        .unwrap()
}

const HEAD: Duration = Duration::from_secs(9);

#[tokio::test]
async fn a_request_no_byte_of_which_was_written_comes_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let pool = pool(&uri, ClientSettings::default());
    let (made, accepted) = tokio::join!(pool.maker.make(), listener.accept());
    let Made::H1(connection) = made.unwrap() else {
        panic!("no TLS, no HTTP/2")
    };
    // It ends while it rests, and is used without being looked at.
    drop(accepted);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let sent = soon(pool.send_h1(connection, request(), HEAD)).await;
    assert!(matches!(sent, Ok(Sent::NotTaken(_))));
}

#[tokio::test]
async fn connections_that_rest_too_long_or_too_many_are_closed() {
    let server = FakeServer::start(
        response("200 OK", "application/json", "{}"),
        Then::KeepAlive,
    )
    .await;
    let settings = ClientSettings {
        pool_idle: Duration::from_millis(50),
        pool_max_idle: 2,
        ..ClientSettings::default()
    };
    let pool = pool(&server.uri(), settings);
    let answers = (0..5).map(|_| pool.send(request(), None, HEAD));
    let answers = futures_util::future::join_all(answers).await;
    assert_eq!(server.connections(), 5);
    for answer in answers {
        crate::body::read_capped(answer.unwrap().into_body(), 9, HEAD)
            .await
            .unwrap();
    }
    assert_eq!(lock(&pool.resting).len(), 2);
    server.hung_up(3).await;
    // The sweep comes once a second at most.
    server.hung_up(5).await;
    assert!(lock(&pool.resting).is_empty() && !pool.sweeping.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_server_that_says_how_long_it_waits_is_believed() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let server = FakeServer::scripted(|_| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        (
            "HTTP/1.1 200 OK\r\nkeep-alive: timeout=1, max=5\r\ncontent-length: 0\r\n\r\n".into(),
            Then::KeepAlive,
        )
    })
    .await;
    let pool = pool(&server.uri(), ClientSettings::default());
    for _ in 0..2 {
        soon(pool.send(request(), None, HEAD)).await.unwrap();
    }
    // One second less one for the way is no rest at all.
    assert_eq!((server.connections(), ASKED.load(Ordering::SeqCst)), (2, 2));
}

#[test]
fn hints_of_keep_alive_are_read_as_they_are_written() {
    let hint = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("keep-alive", http::HeaderValue::from_static(value));
        keep_alive_hint(&headers)
    };
    assert_eq!(hint("timeout=5"), Some(Duration::from_secs(4)));
    assert_eq!(hint("max=100, timeout=20"), Some(Duration::from_secs(19)));
    assert_eq!(hint("timeout=0"), Some(Duration::ZERO));
    assert_eq!(hint("timeout=soon"), None);
    assert_eq!(hint("max=3"), None);
}

/// Gives one answer, and counts.
#[derive(Debug, Default)]
struct Counted(bool, AtomicUsize);

impl crate::Clearance for Counted {
    fn ask(&self) -> crate::Cleared<'_> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(self.0))
    }
}

#[tokio::test]
async fn clearance_is_asked_for_once_there_is_a_connection() {
    let server = FakeServer::start(
        response("200 OK", "application/json", "{}"),
        Then::KeepAlive,
    )
    .await;
    let dead = format!("http://127.0.0.1:{}/", unused_port().await);
    // (address, connection in the pool, clearance, times it is asked for)
    for (uri, is_pooled, is_cleared, asked) in [
        (server.uri(), false, true, 1),
        (server.uri(), false, false, 1),
        (server.uri(), true, true, 1),
        (server.uri(), true, false, 1),
        (dead, false, true, 0),
    ] {
        let pool = pool(&uri, ClientSettings::default());
        if is_pooled {
            let answer = soon(pool.send(request(), None, HEAD)).await.unwrap();
            let body = crate::body::read_capped(answer.into_body(), 9, HEAD);
            body.await.unwrap();
        }
        let before = server.requests().len();
        let clearance = Arc::new(Counted(is_cleared, AtomicUsize::new(0)));
        let carried = Some(Carried(Arc::clone(&clearance) as _));
        let sent = soon(pool.send(request(), carried, HEAD)).await.map(drop);
        let what = format!("{uri} {is_pooled} {is_cleared}: {sent:?}");
        assert_eq!(clearance.1.load(Ordering::Relaxed), asked, "{what}");
        let is_sent = asked == 1 && is_cleared;
        assert_eq!(
            server.requests().len() - before,
            usize::from(is_sent),
            "{what}"
        );
        match sent {
            Ok(_) => assert!(is_sent, "{what}"),
            Err(error) => assert!(error.is_before_sending(), "{what}"),
        }
    }
}

async fn unused_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
