//! Servers that ask for a certificate of the gateway's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use keepgate_tests::{FakeServer, Say, upstream::said};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::gate::{Gate, Home};
use super::process::until;
use super::tls::Authority;

/// TLS in front of a server, for who shows a certificate of the authority alone.
struct Front {
    url: String,
    /// The certificates that were shown, the last one last.
    shown: Arc<Mutex<Vec<Vec<u8>>>>,
}

async fn front(server: &FakeServer, authority: &Authority) -> Front {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificate, key) = authority.issued("front");
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.certificate()).expect("a certificate");
    roots.add(ca).expect("a root");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .expect("a verifier");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).expect("a certificate")],
            PrivateKeyDer::from_pem_file(key).expect("a key"),
        )
        .expect("a pair");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "https://localhost:{}/mcp",
        listener.local_addr().expect("one").port()
    );
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (noted, behind) = (Arc::clone(&shown), server.addr);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
            tokio::spawn(async move {
                let mut front = acceptor.accept(stream).await.ok()?;
                let leaf = front.get_ref().1.peer_certificates()?.first()?.to_vec();
                noted.lock().expect("no panic").push(leaf);
                let mut back = TcpStream::connect(behind).await.ok()?;
                copy_bidirectional(&mut front, &mut back).await.ok()
            });
        }
    });
    Front { url, shown }
}

impl Front {
    fn last(&self) -> Option<Vec<u8>> {
        self.shown.lock().expect("no panic").last().cloned()
    }
}

async fn status(gate: &Gate, server: &str) -> Value {
    let answer = gate.client(server).call_modern("echo", json!({})).await;
    answer
        .code()
        .map_or_else(|| json!(answer.status), Value::from)
}

fn tls(authority: &Authority, shown: Option<&(PathBuf, PathBuf)>) -> Value {
    let mut tls = json!({"ca": authority.certificate()});
    if let Some((certificate, key)) = shown {
        tls["client_certificate"] = json!(certificate);
        tls["client_key"] = json!(key);
    }
    tls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_certificate_gets_the_one_in_the_files() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let front = front(&server, &authority).await;
    let own = authority.issued("gateway");
    let others = stranger.issued("stranger");
    let mut gate = Home::new()
        .with(|it| {
            it["servers"] = json!({
                "up": {"url": front.url, "tls": tls(&authority, Some(&own))},
                "bare": {"url": front.url, "tls": tls(&authority, None)},
                "stranger": {"url": front.url, "tls": tls(&authority, Some(&others))},
            });
        })
        .serve()
        .await;
    assert_eq!(status(&gate, "up").await, 200);
    for refused in ["bare", "stranger"] {
        assert_eq!(
            status(&gate, refused).await,
            "upstream_unreachable",
            "{refused}"
        );
    }
    let first = front.last().expect("a certificate");
    assert_eq!(gate.part("client_certificates").await, "ok");
    let named = "keepgate_certificate=\"servers.up.tls.client_certificate\"";
    assert!(gate.metrics().await.contains(named));

    // Another pair under the same names, which ends soon, is shown from now on.
    authority.issue_for(&own.0, &own.1, (-1, 10));
    until("the new certificate", async || {
        status(&gate, "up").await == 200 && front.last() != Some(first.clone())
    })
    .await;
    until("its end", async || {
        gate.part("client_certificates").await == "expires within 14 days"
    })
    .await;

    // A pair that does not fit is refused by `check` and by a reload, and the last one stays.
    let second = front.last();
    let good = std::fs::read(&own.1).expect("a key");
    let before = gate.said("configuration not taken");
    std::fs::copy(&others.1, &own.1).expect("a copy");
    gate.says("configuration not taken", before + 1).await;
    let checked = gate.home.keepgate(&["check"]).await;
    assert_eq!(checked.code, Some(3), "{checked:?}");
    let why = "certificate and private key do not fit together";
    assert!(checked.stderr.contains(why), "{checked:?}");
    assert_eq!(status(&gate, "up").await, 200);
    assert_eq!(front.last(), second);
    std::fs::write(&own.1, good).expect("a key");
    gate.end().await;
}
