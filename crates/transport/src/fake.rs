//! Peers for tests that do wrong what no library would do for us: raw sockets on both sides.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// What no test may take longer than.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Fails the test instead of hanging it.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("it took too long")
}

/// An HTTP/1.1 server that answers every request with the bytes it is told, and then does what it is told.
pub(crate) struct FakeServer {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    /// Connections the other side has ended.
    pub(crate) hung_up: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// What the server does when it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Wait for the next request.
    KeepAlive,
    /// Close orderly.
    Close,
    /// Close so that the other side sees a reset.
    Reset,
}

impl FakeServer {
    pub(crate) async fn start(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::scripted(move |_| (answer.to_vec(), then)).await
    }

    /// `script` gets the number of the request, from 0.
    pub(crate) async fn scripted(
        script: impl Fn(usize) -> (Vec<u8>, Then) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let hung_up = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let script = Arc::new(script);
        let (counted, log, ends) = (
            Arc::clone(&connections),
            Arc::clone(&requests),
            Arc::clone(&hung_up),
        );
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let (script, log, ends) =
                    (Arc::clone(&script), Arc::clone(&log), Arc::clone(&ends));
                open.spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        let number = {
                            let mut log = log.lock().unwrap();
                            log.push(request);
                            log.len() - 1
                        };
                        let (answer, then) = script(number);
                        if stream.write_all(&answer).await.is_err() {
                            break;
                        }
                        match then {
                            Then::KeepAlive => {}
                            Then::Close => return,
                            Then::Reset => {
                                stream.set_zero_linger().unwrap();
                                return;
                            }
                        }
                    }
                    ends.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            addr,
            connections,
            requests,
            hung_up,
            _tasks: tasks,
        }
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}/mcp?x=1", self.addr)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until so many connections were ended from the other side.
    pub(crate) async fn hung_up(&self, count: usize) {
        soon(async {
            while self.hung_up.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

/// Reads one request with a body of `Content-Length`.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = find(&bytes, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |value| value.trim().parse::<usize>().unwrap());
            if bytes.len() >= head + 4 + length {
                return Some(String::from_utf8(bytes).unwrap());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A response with a length.
pub(crate) fn response(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
