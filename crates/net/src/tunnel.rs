//! A tunnel through an HTTP proxy: `CONNECT` (RFC 9110 §9.3.6).

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use zeroize::Zeroizing;

use crate::{BoxError, egress::Proxy};

/// Longest head of a proxy's answer, in bytes: nothing in it is used but the status.
const MAX_HEAD: usize = 16 * 1024;
/// Most lines of it.
const MAX_LINES: usize = 64;

/// A tunnel that was not opened.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The credential for it could not be had.
    #[error("its credential cannot be had")]
    Login(#[source] BoxError),
    /// It wants a credential, or another one.
    #[error(
        "it asks for a credential or refuses the one it got (status `407`): see `egress.credential`"
    )]
    LoginRefused,
    /// It refuses.
    #[error("it refuses with status `{status}`")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The connection ended before its answer did.
    #[error("it closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection to it broke")]
    Broken(#[source] std::io::Error),
    /// Its answer is not one of HTTP.
    #[error("its answer is not one of an HTTP proxy")]
    Malformed,
    /// Its answer goes on and on.
    #[error("the head of its answer is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// It sent more than its answer, although nobody at the other end has been spoken to.
    #[error("it sent bytes after its answer that nobody asked for")]
    Surplus,
}

/// Asks the proxy at the other end of `tcp` for a tunnel to `authority`. On success the next byte is the server's.
pub(crate) async fn open(
    tcp: &mut TcpStream,
    proxy: &Proxy,
    authority: &str,
) -> Result<(), TunnelError> {
    let request = request(proxy, authority).await?;
    tcp.write_all(&request).await.map_err(TunnelError::Broken)?;
    let (head, end) = read_head(tcp).await?;
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut response = httparse::Response::new(&mut lines);
    let parsed = response.parse(head.get(..end).unwrap_or_default());
    match (parsed, response.code) {
        (Ok(httparse::Status::Complete(_)), Some(200..=299)) if head.len() > end => {
            Err(TunnelError::Surplus)
        }
        (Ok(httparse::Status::Complete(_)), Some(200..=299)) => Ok(()),
        (Ok(httparse::Status::Complete(_)), Some(407)) => Err(TunnelError::LoginRefused),
        (Ok(httparse::Status::Complete(_)), Some(status)) => Err(TunnelError::Refused { status }),
        (_, _) => Err(TunnelError::Malformed),
    }
}

async fn request(proxy: &Proxy, authority: &str) -> Result<Zeroizing<Vec<u8>>, TunnelError> {
    // With room for all of it, so that no copy of a secret is left behind as it grows.
    let mut request = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let version = env!("CARGO_PKG_VERSION");
    request.extend_from_slice(
        format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: keepgate/{version}\r\n"
        )
        .as_bytes(),
    );
    if let Some(login) = proxy.login() {
        let source = login.source();
        // Files can be slow (a mount that hangs).
        let line = tokio::task::spawn_blocking(move || source.line()).await;
        let line = line
            .map_err(|error| TunnelError::Login(error.into()))?
            .map_err(TunnelError::Login)?;
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(line.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    Ok(request)
}

/// Reads up to the blank line, and gives where that ends. Only what is new is searched.
async fn read_head(tcp: &mut TcpStream) -> Result<(Vec<u8>, usize), TunnelError> {
    const END: &[u8] = b"\r\n\r\n";
    let mut head = Vec::with_capacity(1024);
    let mut searched = 0;
    loop {
        let left = MAX_HEAD.saturating_sub(head.len());
        let mut part = (&mut *tcp).take(left as u64);
        match part.read_buf(&mut head).await {
            Err(error) => return Err(TunnelError::Broken(error)),
            Ok(0) if left == 0 => return Err(TunnelError::TooLong),
            Ok(0) => return Err(TunnelError::Closed),
            Ok(_) => {}
        }
        if let Some(at) = memmem::find(head.get(searched..).unwrap_or_default(), END) {
            let end = searched + at + END.len();
            return Ok((head, end));
        }
        searched = head.len().saturating_sub(END.len() - 1);
    }
}
