//! The operators' listener over TLS: its commands on this machine, names, and certificates that are replaced.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use keepgate_tests::Client;
use nix::sys::signal::Signal;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::gate::{Gate, Home};
use super::process::until;
use super::tls::Authority;

/// An answer over TLS: its status, its body, and the certificate that was shown.
struct Answer {
    status: u16,
    body: String,
    certificate: Vec<u8>,
}

async fn ask(address: SocketAddr, authority: &Path, host: &str, path: &str) -> Answer {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::pem_file_iter(authority).expect("a file");
    for trusted in trusted {
        roots
            .add(trusted.expect("a certificate"))
            .expect("an authority");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(address)
        .await
        .expect("a listener");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = TlsConnector::from(Arc::new(config));
    let mut tls = tls.connect(name, tcp).await.expect("a handshake");
    let shown = tls.get_ref().1.peer_certificates().expect("a certificate");
    let certificate = shown[0].to_vec();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await.expect("a write");
    let mut bytes = Vec::new();
    tls.read_to_end(&mut bytes).await.expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    Answer {
        status: head[9..12].parse().expect("a status"),
        body: body.to_owned(),
        certificate,
    }
}

/// The state of a part, as `/readyz` has it.
async fn part(gate: &Gate, authority: &Path, name: &str) -> String {
    let answer = ask(gate.admin, authority, "localhost", "/readyz").await;
    let line = answer.body.lines().find_map(|line| {
        let (part, state) = line.split_once(": ")?;
        (part == name).then(|| state.to_owned())
    });
    line.unwrap_or_default()
}

/// A gateway whose operators come over TLS, and the files of its certificate.
async fn secure(authority: &Authority) -> (Gate, PathBuf, PathBuf) {
    let (certificate, key) = authority.issued("admin");
    let gate = Home::new()
        .url("up", "http://127.0.0.1:9")
        .with(|it| {
            it["admin"]["tls"] = json!({"certificate": certificate, "key": key});
            it["admin"]["public_url"] = json!("https://console.example:8443");
        })
        .serve()
        .await;
    (gate, certificate, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_come_over_tls_by_names_of_the_console() {
    let authority = Authority::new();
    let ca = authority.certificate();
    let (gate, certificate, _) = secure(&authority).await;
    assert_eq!(part(&gate, &ca, "admin_certificate").await, "ok");

    // Names: of the console and of this machine. Another one is DNS rebinding.
    for (host, status) in [
        ("console.example:8443", 200),
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("console.example", 421),
        ("attacker.example:8443", 421),
    ] {
        let answer = ask(gate.admin, &ca, host, "/livez").await;
        assert_eq!(answer.status, status, "{host}: {}", answer.body);
    }

    // Commands on this machine find it, and trust its certificate alone.
    let ready = gate.home.keepgate(&["health", "--ready"]).await;
    assert_eq!(ready.code, Some(0), "{ready:?}");
    let listed = gate.home.keepgate(&["kill", "list"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let address = gate.admin.to_string();
    let file = |path: &Path| path.display().to_string();
    let (other, _) = authority.issued("other");
    let health = async |certificate: &Path| {
        let certificate = file(certificate);
        let words = [
            "health",
            "--address",
            &address,
            "--certificate",
            &certificate,
        ];
        gate.home.keepgate(&words).await
    };
    let asked = health(&certificate).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let asked = health(&other).await;
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(
        asked.stderr.contains("shows another certificate"),
        "{asked:?}"
    );

    // Nothing is answered in clear: a token must not be sent so a second time.
    let admin = gate.admin;
    let plain =
        tokio::spawn(async move { Client::new(admin).path("/livez").send("GET", "").await });
    assert!(plain.await.is_err(), "an answer without TLS");

    gate.end().await;
}

/// Replaced under the same path, and shown at once; one that cannot be used replaces none.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_operators_listener_is_replaced_by_a_usable_one() {
    let authority = Authority::new();
    let ca = authority.certificate();
    let (gate, certificate, key) = secure(&authority).await;
    let before = ask(gate.admin, &ca, "localhost", "/livez").await;
    authority.issue_for(&certificate, &key, (-1, 10));
    gate.process.signal(Signal::SIGHUP);
    until("the next certificate", async || {
        part(&gate, &ca, "admin_certificate").await == "expires within 14 days"
    })
    .await;
    let after = ask(gate.admin, &ca, "localhost", "/livez").await;
    assert_ne!(before.certificate, after.certificate);
    authority.issue_for(&certificate, &key, (-30, -1));
    gate.process.signal(Signal::SIGHUP);
    until("the flaw to be reported", async || {
        let state = part(&gate, &ca, "admin_certificate").await;
        state == "expires within 14 days, last reload failed"
    })
    .await;
    assert_eq!(part(&gate, &ca, "certificate").await, "ok");
    let still = ask(gate.admin, &ca, "localhost", "/livez").await;
    assert_eq!(still.certificate, after.certificate);
    let checked = gate.home.keepgate(&["check"]).await;
    assert_eq!(checked.code, Some(3), "{checked:?}");
    gate.end().await;
}
