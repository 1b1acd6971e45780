//! The listening end, with raw sockets, curl and our own client against it.

mod places;
mod tls;

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use keepgate_net::TlsFiles;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
    time::Instant,
};
use tower::service_fn;

use super::*;
use crate::{
    fake::soon,
    http::{
        client::{Client, ClientSettings},
        tls::Tls,
        upstream::{Answer, Limits, UpstreamError},
    },
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A server in the background.
struct Running {
    addr: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Drained>,
}

async fn start<S: HttpService>(settings: ListenerSettings, service: S) -> Running
where
    S::Future: Send,
{
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), settings)
        .await
        .unwrap();
    let (addr, shutdown) = (listener.addr(), CancellationToken::new());
    let serving = tokio::spawn(serve(listener, service, shutdown.clone()));
    Running {
        addr,
        shutdown,
        serving,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    async fn stop(self) -> Drained {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap()
    }
}

/// Answers with what it saw.
async fn echo(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let peer = request.extensions().get::<Peer>().unwrap().clone();
    let (version, method) = (request.version(), request.method().clone());
    let body = crate::body::read_capped(request.into_body(), 1 << 20, Duration::from_secs(9))
        .await
        .unwrap();
    let tls = peer
        .tls
        .as_ref()
        .map_or("plain", |tls| if tls.tls13 { "tls13" } else { "tls12" });
    let text = format!(
        "{version:?} {method} {tls} {} {}",
        peer.addr.ip(),
        body.len()
    );
    Ok(Response::new(Body::full(text)))
}

/// Counts the services' futures and bodies that are alive.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>, Arc<Notify>);

struct AliveGuard(Alive);

impl Alive {
    fn guard(&self) -> AliveGuard {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.notify_waiters();
        AliveGuard(self.clone())
    }

    /// Waits until so many live.
    async fn is(&self, count: usize) {
        soon(async {
            while self.0.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

impl Drop for AliveGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A service whose future never ends, or whose body does not.
fn endless(alive: &Alive, in_body: bool) -> impl HttpService {
    let alive = alive.clone();
    service_fn(move |_: Request<Incoming>| {
        let guard = alive.guard();
        async move {
            if !in_body {
                std::future::pending::<()>().await;
            }
            let body = stream::once(async { Ok(Bytes::from_static(b"data: 1\n\n")) })
                .chain(stream::pending())
                .map(move |item| {
                    let _alive = &guard;
                    item
                });
            Ok(Response::new(Body::stream(body)))
        }
    })
}

async fn curl(curl: &Path, arguments: &[&str]) -> String {
    let output = tokio::process::Command::new(curl)
        .args(["-sS", "--max-time", "60", "--noproxy", "*"])
        .args(arguments)
        .output();
    let output = soon(output).await.expect("curl runs");
    String::from_utf8(output.stdout).unwrap()
}

/// One request over HTTP/2. (Not curl's: 7.88 does not read on after a GOAWAY.)
async fn get_h2(addr: SocketAddr) -> Bytes {
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let handshake = hyper::client::conn::http2::handshake(executor, io).await;
    let (mut sender, driver) = handshake.unwrap();
    tokio::spawn(driver);
    let request = Request::get("http://x/").body(http_body_util::Empty::<Bytes>::new());
    let response = sender.send_request(request.unwrap()).await.unwrap();
    crate::body::read_capped(response.into_body(), 99, Duration::from_secs(9))
        .await
        .unwrap()
}

/// A certificate for localhost in a folder of its own; its own authority.
fn certificate(folder: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    let files = TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    keepgate_files::replace(&files.key, made.signing_key.serialize_pem().as_bytes()).unwrap();
    files
}

/// Everything until the other side closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is an end as well.
    soon(stream.read_to_end(&mut text)).await.ok();
    String::from_utf8_lossy(&text).into_owned()
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut chunk = vec![0; 4096];
    let count = soon(stream.read(&mut chunk)).await.unwrap();
    String::from_utf8_lossy(&chunk[..count]).into_owned()
}

#[tokio::test]
async fn curl_speaks_http1_and_http2_without_tls() {
    let Some(program) = keepgate_machine::installed("curl") else {
        return;
    };
    let server = start(ListenerSettings::default(), service_fn(echo)).await;
    let url = format!("http://{}/mcp", server.addr);
    assert_eq!(
        curl(&program, &["-d", "abc", &url]).await,
        "HTTP/1.1 POST plain 127.0.0.1 3"
    );
    assert_eq!(
        curl(&program, &["--http2-prior-knowledge", "-d", "abc", &url]).await,
        "HTTP/2.0 POST plain 127.0.0.1 3"
    );
    assert_eq!(server.stop().await, Drained::Whole);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_service_and_the_body() {
    for in_body in [false, true] {
        let alive = Alive::default();
        let server = start(ListenerSettings::default(), endless(&alive, in_body)).await;
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        alive.is(1).await;
        if in_body {
            read_some(&mut stream).await;
        }
        drop(stream);
        alive.is(0).await;
    }
}

#[tokio::test]
async fn a_half_closed_client_counts_as_gone() {
    for in_body in [false, true] {
        let alive = Alive::default();
        let server = start(ListenerSettings::default(), endless(&alive, in_body)).await;
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        alive.is(1).await;
        stream.shutdown().await.unwrap();
        alive.is(0).await;
    }
}

#[tokio::test]
async fn a_reset_http2_stream_ends_its_service_and_no_other() {
    for in_body in [false, true] {
        let alive = Alive::default();
        let server = start(ListenerSettings::default(), endless(&alive, in_body)).await;
        let io = hyper_util::rt::TokioIo::new(server.connect().await);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, driver) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .unwrap();
        let driver = tokio::spawn(driver);
        let request = || {
            Request::get("http://x/")
                .body(http_body_util::Empty::<Bytes>::new())
                .unwrap()
        };
        let kept = tokio::spawn(sender.send_request(request()));
        alive.is(1).await;
        let left = tokio::spawn(sender.send_request(request()));
        alive.is(2).await;
        if in_body {
            drop(soon(left).await.unwrap().unwrap());
        } else {
            left.abort();
        }
        alive.is(1).await;
        kept.abort();
        drop((kept, sender));
        driver.abort();
        alive.is(0).await;
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let settings = ListenerSettings {
        header_timeout: Duration::from_millis(60),
        ..Default::default()
    };
    let server = start(settings, service_fn(echo)).await;
    let begun = Instant::now();
    let mut silent = server.connect().await;
    let mut partial = server.connect().await;
    partial.write_all(b"P").await.unwrap();
    let mut slow = server.connect().await;
    let dripping = async {
        // A byte now and then must not win time.
        for byte in GET.iter().cycle() {
            if slow.write_all(&[*byte & 0x5f | 0x40]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(dripping).await;
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut partial).await, "");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_connection_at_rest_is_cut_but_a_busy_one_is_not() {
    let settings = ListenerSettings {
        header_timeout: Duration::from_millis(80),
        idle_timeout: Duration::from_millis(160),
        ..Default::default()
    };
    let server = start(settings, service_fn(echo)).await;
    let mut stream = server.connect().await;
    // Longer than a head and the rest may take together, in requests that begin before the last alarm is over.
    for _ in 0..10 {
        stream.write_all(GET).await.unwrap();
        assert!(read_some(&mut stream).await.contains("200 OK"));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let begun = Instant::now();
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(
        begun.elapsed() >= Duration::from_millis(80),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_running_request_is_not_at_rest() {
    let Some(program) = keepgate_machine::installed("curl") else {
        return;
    };
    let settings = ListenerSettings {
        header_timeout: Duration::from_millis(30),
        idle_timeout: Duration::from_millis(30),
        ..Default::default()
    };
    let service = service_fn(async |_: Request<Incoming>| {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let body = stream::once(async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            Ok(Bytes::from_static(b"late"))
        });
        Ok(Response::new(Body::stream(body)))
    });
    let server = start(settings, service).await;
    let url = format!("http://{}/", server.addr);
    assert_eq!(curl(&program, &[&url]).await, "late");
    assert_eq!(
        curl(&program, &["--http2-prior-knowledge", &url]).await,
        "late"
    );
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_431() {
    let Some(program) = keepgate_machine::installed("curl") else {
        return;
    };
    let server = start(ListenerSettings::default(), service_fn(echo)).await;
    let url = format!("http://{}/", server.addr);
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    let many: Vec<String> = (0..101)
        .flat_map(|number| ["-H".to_owned(), format!("x{number}: 1")])
        .collect();
    let long = format!("x: {}", "x".repeat(33_000));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut arguments = code.to_vec();
        arguments.extend([version, url.as_str()]);
        let plain = curl(&program, &arguments).await;
        assert_eq!(plain, "200", "{version}");
        let mut with_many = arguments.clone();
        with_many.extend(many.iter().map(String::as_str));
        assert_eq!(curl(&program, &with_many).await, "431", "{version}");
        let mut with_long = arguments.clone();
        with_long.extend(["-H", &long]);
        assert_eq!(curl(&program, &with_long).await, "431", "{version}");
    }
}

#[tokio::test]
async fn smuggling_shapes_are_not_read_as_two_requests() {
    let server = start(ListenerSettings::default(), service_fn(echo)).await;
    for (bytes, expected) in [
        // Both lengths: refused, whichever the next reader believes (RFC 9112 section 6.3).
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nabcd",
            "400",
        ),
        ("GET / HTTP/1.1\nhost: x\n\n", "400"),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +4\r\n\r\nabcd",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost : x\r\n\r\n", "400"),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let text = read_to_end(&mut stream).await;
        assert_eq!(
            text.matches("HTTP/1.1 ").count() - text.matches("\r\nHTTP/1.1 POST").count(),
            1,
            "{bytes:?}: {text}"
        );
        assert!(
            text.starts_with(&format!("HTTP/1.1 {expected}")),
            "{bytes:?}: {text}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut() {
    let alive = Alive::default();
    let counted = alive.clone();
    let service = service_fn(move |_: Request<Incoming>| {
        let guard = counted.guard();
        let body = stream::repeat_with(move || {
            let _alive = &guard;
            Ok(Bytes::from_static(&[b'x'; 65_536]))
        });
        async move { Ok(Response::new(Body::stream(body))) }
    });
    let settings = ListenerSettings {
        write_timeout: Duration::from_millis(80),
        ..Default::default()
    };
    let server = start(settings, service).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    alive.is(1).await;
    alive.is(0).await;
}

#[tokio::test]
async fn a_drain_lets_running_requests_finish_and_takes_no_more() {
    let release = Arc::new(Notify::new());
    let alive = Alive::default();
    let (waiting, counted) = (Arc::clone(&release), alive.clone());
    let service = service_fn(move |_: Request<Incoming>| {
        let (waiting, guard) = (Arc::clone(&waiting), counted.guard());
        async move {
            waiting.notified().await;
            drop(guard);
            Ok(Response::new(Body::full("done")))
        }
    });
    let server = start(ListenerSettings::default(), service).await;
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    busy.write_all(GET).await.unwrap();
    let h2 = tokio::spawn(get_h2(server.addr));
    alive.is(2).await;
    server.shutdown.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!server.serving.is_finished());
    assert!(TcpStream::connect(server.addr).await.is_err());
    release.notify_waiters();
    let text = read_to_end(&mut busy).await;
    assert!(
        text.to_lowercase().contains("connection: close") && text.ends_with("done"),
        "{text}"
    );
    assert_eq!(soon(h2).await.unwrap(), "done");
    assert_eq!(soon(server.serving).await.unwrap(), Drained::Whole);
}

#[tokio::test]
async fn a_drain_ends_connections_at_rest_at_once() {
    let server = start(ListenerSettings::default(), service_fn(echo)).await;
    let mut rested = server.connect().await;
    rested.write_all(GET).await.unwrap();
    assert!(read_some(&mut rested).await.contains("200 OK"));
    let begun = Instant::now();
    let addr = server.addr;
    let answered = get_h2(addr).await;
    assert!(answered.starts_with(b"HTTP/2.0 GET"));
    assert_eq!(server.stop().await, Drained::Whole);
    assert_eq!(read_to_end(&mut rested).await, "");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let Some(program) = keepgate_machine::installed("curl") else {
        return;
    };
    for (version, in_body) in [
        ("--http1.1", false),
        ("--http1.1", true),
        ("--http2-prior-knowledge", false),
        ("--http2-prior-knowledge", true),
    ] {
        let alive = Alive::default();
        let settings = ListenerSettings {
            drain: Duration::from_millis(50),
            ..Default::default()
        };
        let server = start(settings, endless(&alive, in_body)).await;
        let url = format!("http://{}/", server.addr);
        let program = program.clone();
        let client = tokio::spawn(async move { curl(&program, &[version, &url]).await });
        alive.is(1).await;
        let begun = Instant::now();
        let drained = server.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert!(
            matches!(drained, Drained::Cut { tasks } if tasks > 0),
            "{version} {in_body} {drained:?}"
        );
        alive.is(0).await;
        soon(client).await.unwrap();
    }
}

/// Fails to accept: three times for want of file descriptors, three times for the peer's sake.
struct Failing(AtomicUsize);

impl Accept for Failing {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0..3 => Err(io::Error::from_raw_os_error(
                nix::errno::Errno::EMFILE as i32,
            )),
            3..6 => Err(io::ErrorKind::ConnectionAborted.into()),
            _ => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_accepting_do_not_end_the_loop() {
    let source = Failing(AtomicUsize::new(0));
    let (room, drain) = (
        Connections::new(1, Proxies::default()),
        CancellationToken::new(),
    );
    let accepting = accept_all(&source, &room, &drain, |_, _, _| {
        panic!("nothing was accepted")
    });
    // Only what will not pass by itself is waited for: 100 ms each.
    assert!(
        tokio::time::timeout(Duration::from_millis(299), accepting)
            .await
            .is_err()
    );
    assert_eq!(source.0.load(Ordering::SeqCst), 3);
    let accepting = accept_all(&source, &room, &drain, |_, _, _| {
        panic!("nothing was accepted")
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(1), accepting)
            .await
            .is_err()
    );
    assert_eq!(source.0.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_broken_response_body_is_not_taken_for_a_whole_one() {
    let service = service_fn(async |_: Request<Incoming>| {
        let pieces = [
            Ok(Bytes::from_static(b"part")),
            Err(crate::body::BodyError::new("gone")),
        ];
        Ok(Response::new(Body::stream(stream::iter(pieces))))
    });
    let server = start(ListenerSettings::default(), service).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    let text = read_to_end(&mut stream).await;
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn an_address_in_use_is_a_clear_error() {
    let server = start(ListenerSettings::default(), service_fn(echo)).await;
    let error = Listener::bind(server.addr, ListenerSettings::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("could not listen on `{}`", server.addr)
    );
}
