//! Connections over proxies that do wrong, and to servers with certificates that do not fit.

use std::{io::Write as _, net::SocketAddr, path::Path};

use http::HeaderValue;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::egress::{Authorize, Exempt, Proxy, ProxyLogin, Route};

/// A proxy that answers every request with `answer`, in two pieces, and reports the requests.
async fn proxy(answer: Vec<u8>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, heard) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if tcp.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            asked
                .send(String::from_utf8(request).unwrap())
                .await
                .unwrap();
            let (first, second) = answer.split_at(answer.len() / 2);
            for piece in [first, second] {
                // Who is refused goes away in the middle.
                let _gone = tcp.write_all(piece).await.is_err();
                tokio::task::yield_now().await;
            }
            let _gone = tcp.shutdown().await.is_err();
        }
    });
    (address, heard)
}

fn through(proxy: Proxy, timeout: Duration) -> Connector {
    Connector::new(&ConnectorSettings {
        timeout,
        native_roots: false,
        egress: Egress::Proxied(Arc::new(Route {
            proxy,
            https_only: false,
            exempt: Exempt::default(),
        })),
        ..ConnectorSettings::default()
    })
    .unwrap()
}

/// The error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_tunnel_is_opened_or_refused_with_a_reason() {
    let long = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 64 * 1024]].concat();
    let lines = [
        &b"HTTP/1.1 200 OK\r\n"[..],
        &b"X: a\r\n".repeat(80),
        b"\r\n",
    ]
    .concat();
    for (answer, reason) in [
        (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], None),
        (b"HTTP/1.0 204 Fine\r\nVia: x\r\n\r\n", None),
        (
            b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n",
            Some("status `407`"),
        ),
        (
            b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
            Some("status `403`"),
        ),
        (b"HTTP/1.1 100 Go on\r\n\r\n", Some("status `100`")),
        (
            b"HTTP/1.1 200 OK\r\n\r\nmore",
            Some("bytes after its answer"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nX: 1\r\n",
            Some("closed the connection"),
        ),
        (b"", Some("closed the connection")),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Some("not one of an HTTP proxy")),
        (&long, Some("longer than 16384 bytes")),
        (&lines, Some("not one of an HTTP proxy")),
    ] {
        let (address, mut asked) = proxy(answer.to_vec()).await;
        let named = Proxy::parse(&format!("http://{address}")).unwrap();
        let connector = through(named, PATIENCE);
        let target = Target::parse("http://crm.example/mcp").unwrap();
        let connected = connector.connect(&target).await;
        let request = asked.recv().await.unwrap();
        assert!(
            request.starts_with("CONNECT crm.example:80 HTTP/1.1\r\nHost: crm.example:80\r\n"),
            "{request}"
        );
        let shown = String::from_utf8_lossy(answer.get(..20).unwrap_or(answer)).into_owned();
        match (connected, reason) {
            (Ok(_), None) => {}
            (Err(error), Some(reason)) => {
                let text = chain(&error);
                assert!(
                    text.contains(reason) && text.contains(&address.to_string()),
                    "{shown}: {text}"
                );
            }
            (connected, _) => panic!("{shown}: {connected:?}"),
        }
    }
}

#[derive(Debug)]
struct Login(Option<&'static str>);

impl Authorize for Login {
    fn line(&self) -> Result<HeaderValue, BoxError> {
        let line = self.0.ok_or("the file is not there")?;
        Ok(HeaderValue::from_static(line))
    }
}

#[tokio::test]
async fn a_proxy_gets_its_credential_or_nothing() {
    let (address, mut asked) = proxy(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).await;
    let target = Target::parse("https://crm.example/mcp").unwrap();
    let with = |login| {
        let source = Arc::new(Login(login));
        let named = Proxy::parse(&format!("http://{address}")).unwrap();
        through(named.with_login(ProxyLogin::new("test", source)), PATIENCE)
    };
    // The proxy is no server: only what it was asked matters.
    let connector = with(Some("Basic c2VjcmV0"));
    assert!(connector.connect(&target).await.is_err());
    let request = asked.recv().await.unwrap();
    assert!(
        request.contains("\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n"),
        "{request}"
    );
    assert!(!format!("{connector:?}").contains("c2VjcmV0"));
    let error = chain(&with(None).connect(&target).await.unwrap_err());
    assert!(
        error.contains("credential cannot be had: the file is not there"),
        "{error}"
    );
    assert!(
        asked.try_recv().is_err(),
        "the proxy was asked without its credential"
    );
}

#[tokio::test]
async fn a_proxy_that_is_dead_or_silent_is_never_gone_around() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Not a loopback target to the connector, so that the proxy is the way; nothing listens at the proxy.
    let target = Target::parse("http://crm.example/mcp").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let named = Proxy::parse(&format!("http://{address}")).unwrap();
    let error = through(named, PATIENCE).connect(&target).await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.starts_with(&format!("the egress proxy cannot be reached: `{address}`")),
        "{text}"
    );
    // One that takes the connection and is silent.
    let named = Proxy::parse(&format!("http://{}", server.local_addr().unwrap())).unwrap();
    let silent = through(named, Duration::from_millis(50));
    let error = silent.connect(&target).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
}

fn serve(params: &CertificateParams) -> (TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

async fn handshake(acceptor: TlsAcceptor, ca: &Path) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let _refused = acceptor.accept(tcp).await.is_err();
    });
    let connector = Connector::new(&ConnectorSettings {
        native_roots: false,
        extra_roots: vec![ca.to_owned()],
        timeout: PATIENCE,
        ..ConnectorSettings::default()
    })
    .unwrap();
    let target = Target::parse(&format!("https://localhost:{port}/mcp")).unwrap();
    let connected = connector.connect(&target).await;
    connected.map(drop).map_err(|error| chain(&error))
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let names = |name: &str| CertificateParams::new([name.to_owned()]).unwrap();
    let mut own = names("localhost");
    own.is_ca = IsCa::ExplicitNoCa;
    let mut authority = names("localhost");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut expired = names("localhost");
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let mut early = names("localhost");
    early.not_before = rcgen::date_time_ymd(4001, 1, 1);
    early.not_after = rcgen::date_time_ymd(4002, 1, 1);
    let mut stranger = names("localhost");
    let distinguished = rcgen::DnType::CommonName;
    stranger.distinguished_name.push(distinguished, "stranger");
    for (params, is_trusted, hint) in [
        (own, true, None),
        // `openssl req -x509`.
        (
            authority,
            true,
            Some("-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost"),
        ),
        (
            stranger,
            false,
            Some("name the file of its authority in `tls.ca`"),
        ),
        // Of the same name, with another key.
        (
            names("localhost"),
            false,
            Some("has its authority a new key"),
        ),
        (names("other.example"), true, Some("is not for `localhost`")),
        (expired, true, Some("has expired")),
        (early, true, Some("not valid yet")),
    ] {
        let (acceptor, pem) = serve(&params);
        let trusted = match is_trusted {
            true => pem,
            false => serve(&names("else")).1,
        };
        std::fs::File::create(&ca)
            .unwrap()
            .write_all(trusted.as_bytes())
            .unwrap();
        match (handshake(acceptor, &ca).await, hint) {
            (Ok(()), None) => {}
            (Err(error), Some(hint)) => assert!(error.contains(hint), "{error}"),
            (made, hint) => panic!("{made:?} {hint:?}"),
        }
    }
}
