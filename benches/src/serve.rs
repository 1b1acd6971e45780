//! What the bench's servers share: a runtime, a port of the system's choice, an accept loop, an end.

use std::convert::Infallible;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::error::{Error, io};

/// The line a server prints before its address, once it accepts connections.
pub(crate) const LISTENING: &str = "listening ";

/// A runtime of one worker. The gateway's own runtime is the multi-threaded one, so the proxies it
/// is compared with pay for that one too, not for the cheaper `current_thread`.
pub(crate) fn runtime() -> Result<Runtime, Error> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(io("start a runtime"))
}

/// Answers HTTP/1.1 on a loopback port until standard input ends, which it does when the process
/// that started this one is gone. Prints the address first.
pub(crate) async fn until_parent_ends<F, R, B>(answer: F) -> Result<(), Error>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .map_err(io("listen on a loopback port"))?;
    let address = listener.local_addr().map_err(io("read the own address"))?;
    announce(address)?;
    let mut end = parent_end();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut end => return Ok(()),
        };
        let (stream, _) = accepted.map_err(io("accept a connection"))?;
        stream.set_nodelay(true).map_err(io("set TCP_NODELAY"))?;
        let answer = answer.clone();
        tokio::spawn(async move {
            // A connection that ends badly is the driver's to report: it counts the failed call.
            let _ended = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

/// Tells the parent where this server listens.
pub(crate) fn announce(address: SocketAddr) -> Result<(), Error> {
    say(&format!("{LISTENING}{address}"))
}

/// Says one line to the parent.
pub(crate) fn say(line: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(io("write to standard output"))
}

/// Resolves when standard input ends.
pub(crate) fn parent_end() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = [0_u8; 64];
        while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
        // Nobody waits any more only if the server ended by itself.
        let _unheard = ended.send(());
    });
    end
}
