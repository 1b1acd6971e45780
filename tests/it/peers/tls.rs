//! TLS on both sides of the gateway and HTTP/2, spoken by Node and the SDKs, with an authority of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keepgate_tests::{Client, FakeServer, Gate as Door, Say, upstream::said};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use super::gate::{Gate, Home};
use super::process::{PATIENCE, Running, command, peer, repository, run, serve, until};

/// An authority, and the folder its files are in.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    /// The authority's own certificate.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate for this machine and puts it with its key where a server reads them.
    fn issue(&self, certificate: &Path, key: &Path) {
        self.issue_for(certificate, key, (-1, 365));
    }

    /// As [`Self::issue`], valid from one day to another, counted from today.
    pub(super) fn issue_for(&self, certificate: &Path, key: &Path, (from, to): (i64, i64)) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        let now = std::time::SystemTime::now();
        let day = |days: i64| {
            let length = std::time::Duration::from_secs(days.unsigned_abs() * 24 * 60 * 60);
            if days < 0 { now - length } else { now + length }.into()
        };
        (params.not_before, params.not_after) = (day(from), day(to));
        let own = KeyPair::generate().expect("a key");
        let issued = params.signed_by(&own, &self.issuer).expect("a certificate");
        std::fs::write(key, own.serialize_pem()).expect("a file");
        std::fs::set_permissions(key, PermissionsExt::from_mode(0o600)).expect("closed");
        std::fs::write(certificate, issued.pem()).expect("a file");
    }

    /// A certificate and key in the authority's folder.
    pub(super) fn issued(&self, name: &str) -> (PathBuf, PathBuf) {
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}.pem"));
        let files = (file("certificate"), file("key"));
        self.issue(&files.0, &files.1);
        files
    }
}

/// A home whose gateway speaks TLS.
pub(super) fn secure(home: Home, authority: &Authority) -> (Home, PathBuf, PathBuf) {
    let (certificate, key) = authority.issued("gateway");
    let tls = json!({"certificate": certificate, "key": key});
    (home.with(|it| it["tls"] = tls), certificate, key)
}

fn https(gate: &Gate, server: &str) -> String {
    format!("https://{}/{server}/mcp", gate.addr)
}

fn http2(words: &[&str]) -> Running {
    let mut command = command(repository().join(".peers/bin/node"), &[peer("http2.mjs")]);
    command.args(words);
    Running::start("http2.mjs", command)
}

/// Asserts that eight calls at once each got their own answer over HTTP/2.
fn eight_answers(report: &Value) {
    let texts: Vec<_> = (0..8).map(|call| format!("call {call}")).collect();
    assert_eq!(report["texts"], json!(texts), "{report}");
    assert_eq!(report["statuses"], json!(vec![200; 8]), "{report}");
}

/// A server that says each call's argument once the door is open.
async fn waiting(door: &Door) -> FakeServer {
    let door = door.clone();
    FakeServer::with_tools(move |heard| {
        let call = heard.json();
        let text = call["params"]["arguments"]["message"]
            .as_str()
            .unwrap_or_default();
        let mut says = vec![Say::Until(door.clone())];
        says.extend(Say::json(&said(&call["id"], text)));
        says
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_calls_at_once_without_tls() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let gate = Home::new().url("up", &upstream).serve().await;
    let report = run("http2.mjs", &[&gate.url("up"), "--calls", "8"], &[])
        .await
        .json();
    assert_eq!(report["alpn"], "h2c");
    eight_answers(&report);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_while_calls_run_on_the_old_one() {
    let authority = Authority::new();
    let door = Door::default();
    let server = waiting(&door).await;
    let (home, certificate, key) = secure(Home::new().url("up", &server.url()), &authority);
    let mut gate = home.serve().await;
    let (url, ca) = (
        https(&gate, "up"),
        authority.certificate().display().to_string(),
    );
    let running = http2(&[&url, "--ca", &ca, "--calls", "8"]);
    until("eight calls at once", async || {
        server.heard_of("tools/call").len() == 8
    })
    .await;

    authority.issue(&certificate, &key);
    gate.process.signal(Signal::SIGHUP);
    gate.says("certificate reloaded", 1).await;
    let new = http2(&[&url, "--ca", &ca]);
    until("a ninth call", async || {
        server.heard_of("tools/call").len() == 9
    })
    .await;
    door.open();
    let old = running.finished(PATIENCE).await.json();
    let new = new.finished(PATIENCE).await.json();
    eight_answers(&old);
    assert_eq!((&old["alpn"], &new["alpn"]), (&json!("h2"), &json!("h2")));
    assert_ne!(old["certificate"], new["certificate"]);

    // A certificate that is none changes nothing. (Between the two files of the new one it was none already.)
    let before = gate.said("certificate not taken");
    std::fs::write(&certificate, "no certificate").expect("a file");
    gate.process.signal(Signal::SIGHUP);
    gate.says("certificate not taken", before + 1).await;
    let last = run("http2.mjs", &[&url, "--ca", &ca], &[]).await.json();
    assert_eq!(last["certificate"], new["certificate"]);
    gate.end().await;
}

/// The line of `/readyz` about the certificate.
async fn readiness(gate: &Gate) -> String {
    let answer = Client::new(gate.admin)
        .path("/readyz")
        .send("GET", "")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = String::from_utf8(answer.body.to_vec()).expect("text");
    let mut lines = body
        .lines()
        .filter_map(|line| line.strip_prefix("certificate: "));
    lines.next().expect("a line").to_owned()
}

/// Seconds until the metric of the certificate in use calls it expired.
async fn remaining(gate: &Gate) -> f64 {
    let name = "keepgate_certificate_expiration_timestamp_seconds{keepgate_certificate=\"tls.certificate\"} ";
    let metrics = gate.metrics().await;
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let end: f64 = values
        .next()
        .expect("the metric")
        .parse()
        .expect("a number");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    end - now.expect("a time").as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn a_certificate_that_cannot_be_used_replaces_none() {
    const DAY: f64 = 24.0 * 60.0 * 60.0;
    let authority = Authority::new();
    let server = waiting(&Door::default()).await;
    let (home, certificate, key) = secure(Home::new().url("up", &server.url()), &authority);
    let mut gate = home.serve().await;
    assert_eq!(readiness(&gate).await, "ok");
    let first = remaining(&gate).await;
    assert!((364.0 * DAY..366.0 * DAY).contains(&first), "{first}");
    let other = authority.issued("other").1;
    for what in ["expired", "early", "of another key", "none"] {
        let before = gate.said("certificate not taken");
        match what {
            "expired" => authority.issue_for(&certificate, &key, (-30, -1)),
            "early" => authority.issue_for(&certificate, &key, (1, 30)),
            "of another key" => {
                std::fs::copy(&other, &key).expect("a copy");
            }
            _ => std::fs::write(&certificate, "").expect("a file"),
        }
        gate.process.signal(Signal::SIGHUP);
        gate.says("certificate not taken", before + 1).await;
        until("readiness to report it", async || {
            readiness(&gate).await == "stale, last reload failed"
        })
        .await;
        assert!((remaining(&gate).await - first).abs() < 600.0, "{what}");
        // Neither would a start accept it, and it names the reason.
        let checked = gate.home.keepgate(&["check"]).await;
        assert_eq!(checked.code, Some(3), "{what}: {checked:?}");
        if what == "expired" || what == "early" {
            let said = if what == "expired" {
                "the certificate has expired"
            } else {
                "the certificate is not valid yet"
            };
            assert!(checked.stderr.contains(said), "{checked:?}");
        }
    }
    authority.issue_for(&certificate, &key, (-1, 10));
    gate.process.signal(Signal::SIGHUP);
    until("the next certificate", async || {
        readiness(&gate).await == "expires within 14 days"
    })
    .await;
    let next = remaining(&gate).await;
    assert!((9.0 * DAY..11.0 * DAY).contains(&next), "{next}");

    // Under another path, which cannot be read at first.
    let (certificate, key) = authority.issued("next");
    let name = |path: &Path| path.display().to_string();
    authority.issue_for(&certificate, &key, (-30, -1));
    let home = gate.home;
    gate.home =
        home.with(|it| it["tls"] = json!({"certificate": name(&certificate), "key": name(&key)}));
    gate.says(
        "configuration not taken, the last good one stays active: the certificate has expired",
        1,
    )
    .await;
    assert!((remaining(&gate).await - next).abs() < 600.0);
    authority.issue(&certificate, &key);
    gate.process.signal(Signal::SIGHUP);
    until("the certificate under another path", async || {
        readiness(&gate).await == "ok"
    })
    .await;
    assert!(remaining(&gate).await > 360.0 * DAY);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_in_use_is_reported() {
    let authority = Authority::new();
    let (home, certificate, key) = secure(Home::new().url("up", "http://127.0.0.1:9"), &authority);
    let names = vec!["localhost".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    let now = std::time::SystemTime::now();
    params.not_before = (now - PATIENCE).into();
    params.not_after = (now + std::time::Duration::from_secs(8)).into();
    let own = KeyPair::generate().expect("a key");
    let issued = params
        .signed_by(&own, &authority.issuer)
        .expect("a certificate");
    std::fs::write(&key, own.serialize_pem()).expect("a file");
    std::fs::write(&certificate, issued.pem()).expect("a file");
    let gate = home.serve().await;
    assert_eq!(readiness(&gate).await, "expires within 14 days");
    until("the certificate to expire", async || {
        readiness(&gate).await == "EXPIRED"
    })
    .await;
    assert!(remaining(&gate).await < 0.0);
    let mut home = gate.kill().await;
    home = home.with(|_| {});
    let mut process = home.start(&[]);
    let status = process.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(6), "{}", process.stderr());
    assert!(
        process.stderr().contains("the certificate has expired"),
        "{}",
        process.stderr()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_work_with_tls_on_both_sides() {
    let authority = Authority::new();
    let (certificate, key) = authority.issued("fixture");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let environment = [
        ("TLS_CERTIFICATE", certificate.as_str()),
        ("TLS_KEY", key.as_str()),
    ];
    let (_server, upstream) = serve("fixture", &environment).await;
    assert!(upstream.starts_with("https://"), "{upstream}");
    let stranger = Authority::new();
    let home = Home::new().with(|it| {
        it["servers"]["up"] = json!({"url": upstream, "tls": {"ca": authority.certificate()}});
        it["servers"]["stranger"] = json!({"url": upstream, "tls": {"ca": stranger.certificate()}});
    });
    let gate = secure(home, &authority).0.serve().await;
    let ca = authority.certificate().display().to_string();
    let environment = [
        ("NODE_EXTRA_CA_CERTS", ca.as_str()),
        ("SSL_CERT_FILE", ca.as_str()),
        ("ONLY_DRIVERS", "ts-client2 py_mcp"),
    ];
    println!(
        "{}",
        run("drivers.sh", &[&https(&gate, "up")], &environment)
            .await
            .good()
    );

    // A server that another authority vouches for is not called, and a client that trusts another does not call.
    let words = [&https(&gate, "stranger"), "--list-and-call"];
    let refused = run("ts-client2.mjs", &words, &environment).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let other = stranger.certificate().display().to_string();
    let refused = run("http2.mjs", &[&https(&gate, "up"), "--ca", &other], &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    gate.end().await;
}
