//! TLS on both ends, certificates reloaded.

use std::collections::HashSet;

use keepgate_net::{ConnectorSettings, TlsError};

use super::*;
use crate::{body::BodyError, http::upstream::Endpoint};

#[tokio::test]
async fn curl_speaks_both_over_tls() {
    let Some(program) = keepgate_machine::installed("curl") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let ca = files.certificate.to_str().unwrap().to_owned();
    let tls = Some(Tls::load(files).unwrap());
    let server = start(
        ListenerSettings {
            tls,
            ..Default::default()
        },
        service_fn(echo),
    )
    .await;
    let url = format!("https://localhost:{}/", server.addr.port());
    assert_eq!(
        curl(&program, &["--cacert", &ca, &url]).await,
        "HTTP/2.0 GET tls13 127.0.0.1 0"
    );
    assert_eq!(
        curl(&program, &["--cacert", &ca, "--http1.1", &url]).await,
        "HTTP/1.1 GET tls13 127.0.0.1 0"
    );
    assert_eq!(
        curl(&program, &["--cacert", &ca, "--tls-max", "1.2", &url]).await,
        "HTTP/2.0 GET tls12 127.0.0.1 0"
    );
}

#[tokio::test]
async fn a_reloaded_certificate_is_shown_and_a_bad_one_is_not() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = certificate(one.path());
    let second = certificate(two.path());
    let first_ca = two.path().join("first.pem");
    std::fs::copy(&files.certificate, &first_ca).unwrap();
    let tls = Tls::load(files.clone()).unwrap();
    let settings = ListenerSettings {
        tls: Some(tls.clone()),
        ..Default::default()
    };
    let server = start(settings, service_fn(echo)).await;
    let trusts = async |ca: &Path| {
        let settings = ClientSettings {
            connector: ConnectorSettings {
                native_roots: false,
                extra_roots: vec![ca.to_owned()],
                ..ConnectorSettings::default()
            },
            ..ClientSettings::default()
        };
        let endpoint = Client::new(settings)
            .unwrap()
            .endpoint(&format!("https://localhost:{}/", server.addr.port()));
        match soon(
            endpoint
                .unwrap()
                .post(HeaderMap::new(), Bytes::new(), &Limits::default()),
        )
        .await
        .unwrap_err()
        {
            // The echo is no JSON; it was reached, which is the point.
            UpstreamError::ContentType(_) | UpstreamError::Status { .. } => true,
            UpstreamError::Connect(_) => false,
            other => panic!("{other:?}"),
        }
    };
    assert!(trusts(&first_ca).await && !trusts(&second.certificate).await);

    std::fs::copy(&second.certificate, &files.certificate).unwrap();
    assert!(matches!(
        tls.reload().unwrap_err(),
        TlsError::Mismatch { .. }
    ));
    assert!(trusts(&first_ca).await);
    std::fs::write(&files.certificate, "nothing").unwrap();
    assert!(matches!(
        tls.reload().unwrap_err(),
        TlsError::NoCertificate { .. }
    ));
    std::fs::remove_file(&files.certificate).unwrap();
    assert!(matches!(
        tls.reload().unwrap_err(),
        TlsError::Certificate { .. }
    ));
    std::fs::copy(&second.certificate, &files.certificate).unwrap();
    std::fs::write(&files.key, "nothing").unwrap();
    assert!(matches!(tls.reload().unwrap_err(), TlsError::Key { .. }));
    assert!(trusts(&first_ca).await);

    std::fs::copy(&second.key, &files.key).unwrap();
    tls.reload().unwrap();
    assert!(trusts(&second.certificate).await && !trusts(&first_ca).await);
}

/// Our client's way to a server of ours, whose certificate alone it trusts.
fn trusting(ca: &Path, server: SocketAddr) -> Endpoint {
    let settings = ClientSettings {
        connector: ConnectorSettings {
            native_roots: false,
            extra_roots: vec![ca.to_path_buf()],
            ..ConnectorSettings::default()
        },
        ..Default::default()
    };
    let uri = format!("https://localhost:{}/mcp", server.port());
    Client::new(settings).unwrap().endpoint(&uri).unwrap()
}

#[tokio::test]
async fn our_client_shares_one_http2_connection_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let peers = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&peers);
    let service = service_fn(move |request: Request<Incoming>| {
        let peer = request.extensions().get::<Peer>().unwrap().addr;
        seen.lock().unwrap().push((peer, request.version()));
        let mut response = Response::new(Body::full("{}"));
        response
            .headers_mut()
            .insert("content-type", "application/json".parse().unwrap());
        async move { Ok(response) }
    });
    let ca = files.certificate.clone();
    let tls = Some(Tls::load(files).unwrap());
    let server = start(
        ListenerSettings {
            tls,
            ..Default::default()
        },
        service,
    )
    .await;
    let endpoint = trusting(&ca, server.addr);
    for _ in 0..5 {
        let answer = soon(endpoint.post(HeaderMap::new(), Bytes::new(), &Limits::default()))
            .await
            .unwrap();
        assert!(matches!(answer, Answer::Message { .. }), "{answer:?}");
    }
    let peers = peers.lock().unwrap();
    assert_eq!(peers.len(), 5);
    assert!(
        peers
            .iter()
            .all(|peer| *peer == (peers[0].0, http::Version::HTTP_2)),
        "{peers:?}"
    );
}

#[tokio::test]
async fn our_http2_call_that_is_dropped_ends_at_the_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let ca = files.certificate.clone();
    let tls = Some(Tls::load(files).unwrap());
    let alive = Alive::default();
    let settings = ListenerSettings {
        tls,
        ..Default::default()
    };
    let server = start(settings, endless(&alive, false)).await;
    let endpoint = trusting(&ca, server.addr);
    let limits = Limits::default();
    // The first makes the connection, the second is one stream of it.
    for _ in 0..2 {
        let call = endpoint.post(HeaderMap::new(), Bytes::new(), &limits);
        let begun = alive.is(1);
        tokio::select! {
            answered = call => panic!("{answered:?}"),
            () = begun => {}
        }
        alive.is(0).await;
    }
}

/// A silent stream for a `GET`, an empty message for anything else.
fn silent_or_empty(request: &Request<Incoming>) -> Response<Body> {
    let silent = futures_util::stream::pending::<Result<Bytes, BodyError>>();
    let (kind, body) = match request.method() == http::Method::GET {
        true => ("text/event-stream", Body::stream(silent)),
        false => ("application/json", Body::full("{}")),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert("content-type", kind.parse().unwrap());
    response
}

/// Streams that only listen take every stream of a connection; calls of others go on another.
#[tokio::test]
async fn our_client_opens_another_connection_when_the_streams_of_one_are_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let ca = files.certificate.clone();
    let peers = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&peers);
    let service = service_fn(move |request: Request<Incoming>| {
        let peer = request.extensions().get::<Peer>().unwrap().addr;
        seen.lock().unwrap().push(peer);
        std::future::ready(Ok(silent_or_empty(&request)))
    });
    let settings = ListenerSettings {
        tls: Some(Tls::load(files).unwrap()),
        h2: H2Limits {
            max_streams: 3,
            ..H2Limits::default()
        },
        ..Default::default()
    };
    let server = start(settings, service).await;
    let endpoint = trusting(&ca, server.addr);
    let limits = Limits::default();
    let post = async || {
        let answer = soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits)).await;
        assert!(matches!(answer, Ok(Answer::Message { .. })), "{answer:?}");
    };
    // The server's limit is known after the first answer.
    post().await;
    let mut listening = Vec::new();
    for _ in 0..10 {
        let stream = soon(endpoint.get(HeaderMap::new(), &limits)).await;
        assert!(matches!(stream, Ok(Answer::Stream { .. })), "{stream:?}");
        listening.push(stream);
        post().await;
    }
    let connections = |peers: &[SocketAddr]| peers.iter().collect::<HashSet<_>>().len();
    let used = connections(&peers.lock().unwrap());
    assert!((4..=5).contains(&used), "{used} connections");
    // When there is room on the first again, it is the one that is used.
    listening.clear();
    peers.lock().unwrap().clear();
    let on_one = async {
        loop {
            post().await;
            let last = peers.lock().unwrap();
            if last.len() >= 10 && connections(&last[last.len() - 10..]) == 1 {
                break;
            }
            drop(last);
        }
    };
    soon(on_one).await;
}
