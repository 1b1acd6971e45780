//! One question to the admin listener: are you ready?

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest status line we care for: `HTTP/1.1 200`.
const STATUS: usize = 12;

/// Whether `GET path` on `address` answers 200.
///
/// # Errors
///
/// If nobody listens there, or the connection breaks.
pub(super) async fn is_ready(address: SocketAddr, path: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; STATUS];
    stream.read_exact(&mut status).await?;
    Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
}
