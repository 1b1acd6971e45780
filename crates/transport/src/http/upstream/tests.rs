//! The calling end, against servers that do wrong.

use std::time::Instant;

use futures_util::StreamExt;
use keepgate_net::ConnectorSettings;
use tokio::time::timeout;

use super::*;
use crate::{
    fake::{FakeServer, Then, response, soon},
    http::client::{Client, ClientSettings},
};

const JSON: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

fn client() -> Client {
    Client::new(ClientSettings {
        connector: ConnectorSettings {
            native_roots: false,
            ..ConnectorSettings::default()
        },
        ..ClientSettings::default()
    })
    .unwrap()
}

fn limits() -> Limits {
    Limits {
        max_message: 1000,
        ..Limits::default()
    }
}

fn short() -> Limits {
    let short = Duration::from_millis(50);
    Limits {
        head: short,
        body: short,
        idle: short,
        ..limits()
    }
}

async fn post_to(server: &FakeServer, limits: &Limits) -> Result<Answer, UpstreamError> {
    let endpoint = client().endpoint(&server.uri()).unwrap();
    soon(endpoint.post(HeaderMap::new(), Bytes::from_static(b"{}"), limits)).await
}

async fn post(answer: &str, then: Then) -> Result<Answer, UpstreamError> {
    let server = FakeServer::start(answer, then).await;
    post_to(&server, &limits()).await
}

fn chunked(content_type: &str, rest: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n{rest}"
    )
}

fn events(answer: Answer) -> Events {
    match answer {
        Answer::Stream { events, .. } => events,
        other => panic!("no stream: {other:?}"),
    }
}

#[tokio::test]
async fn json_is_read_whole_with_its_headers_of_interest() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nMcp-Session-Id: s1\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{JSON}", JSON.len());
    match post(&answer, Then::KeepAlive).await.unwrap() {
        Answer::Message { head, body } => {
            assert_eq!(*body, *JSON.as_bytes());
            assert_eq!(head.session.unwrap(), "s1");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn exactly_the_body_is_sent_once_with_our_headers_and_no_cookie() {
    let server = FakeServer::start(
        response("200 OK", "application/json", JSON),
        Then::KeepAlive,
    )
    .await;
    let endpoint = client().endpoint(&server.uri()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
    headers.insert("cookie", HeaderValue::from_static("a=b"));
    headers.insert("connection", HeaderValue::from_static("close"));
    headers.insert("host", HeaderValue::from_static("elsewhere"));
    headers.insert("content-length", HeaderValue::from_static("7"));
    let body = "{\"a\" :  1.0 }";
    endpoint
        .post(headers, Bytes::from_static(body.as_bytes()), &limits())
        .await
        .unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let (head, sent) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(sent, body);
    let head = head.to_lowercase();
    assert!(head.starts_with("post /mcp?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}", server.addr)), "{head}");
    assert!(head.contains("mcp-method: tools/call"), "{head}");
    assert!(
        head.contains("accept: application/json, text/event-stream"),
        "{head}"
    );
    assert!(head.contains("accept-encoding: identity"), "{head}");
    assert!(head.contains("content-length: 13"), "{head}");
    assert!(
        !head.contains("cookie") && !head.contains("elsewhere") && !head.contains("connection"),
        "{head}"
    );
}

#[tokio::test]
async fn a_connection_serves_one_call_after_another() {
    for answer in [
        response("200 OK", "application/json", JSON),
        response("202 Accepted", "text/plain", "ok"),
        "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        response("400 Bad Request", "application/json", JSON),
        chunked(
            "application/json",
            &format!("{:x}\r\n{JSON}\r\n0\r\n\r\n", JSON.len()),
        ),
        chunked("text/event-stream", "9\r\ndata: 1\n\n\r\n0\r\n\r\n"),
    ] {
        let server = FakeServer::start(answer.clone(), Then::KeepAlive).await;
        let endpoint = client().endpoint(&server.uri()).unwrap();
        for _ in 0..3 {
            let answered = soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits()))
                .await
                .unwrap();
            if let Answer::Stream { mut events, .. } = answered {
                while soon(events.next()).await.is_some() {}
            }
        }
        assert_eq!(
            (server.connections(), server.requests().len()),
            (1, 3),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn calls_at_once_do_not_mix() {
    let server = FakeServer::scripted(|number| {
        (
            response("200 OK", "application/json", &number.to_string()).into(),
            Then::KeepAlive,
        )
    })
    .await;
    let endpoint = client().endpoint(&server.uri()).unwrap();
    let mut bodies = futures_util::future::join_all((0..20).map(|_| {
        let endpoint = endpoint.clone();
        async move {
            match endpoint
                .post(HeaderMap::new(), Bytes::new(), &limits())
                .await
                .unwrap()
            {
                Answer::Message { body, .. } => String::from_utf8(body.to_vec())
                    .unwrap()
                    .parse::<usize>()
                    .unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }))
    .await;
    bodies.sort_unstable();
    assert_eq!(bodies, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_resting_connection_that_died_costs_no_call() {
    // Each connection answers once and is then closed without a word in the headers.
    let server = FakeServer::start(response("200 OK", "application/json", JSON), Then::Close).await;
    let endpoint = client().endpoint(&server.uri()).unwrap();
    for _ in 0..3 {
        soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits()))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((server.connections(), server.requests().len()), (3, 3));
}

#[tokio::test]
async fn a_post_that_got_no_answer_is_not_sent_again() {
    for then in [Then::Close, Then::Reset] {
        // The first request makes the connection a resting one, the second meets the fault on it.
        let server = FakeServer::scripted(move |number| match number {
            0 => (
                response("200 OK", "application/json", JSON).into(),
                Then::KeepAlive,
            ),
            _ => (Vec::new(), then),
        })
        .await;
        let endpoint = client().endpoint(&server.uri()).unwrap();
        soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits()))
            .await
            .unwrap();
        let error = soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits()))
            .await
            .unwrap_err();
        assert!(matches!(error, UpstreamError::Broken(_)), "{error:?}");
        assert!(!error.is_before_sending());
        assert_eq!((server.connections(), server.requests().len()), (1, 2));
    }
}

#[tokio::test]
async fn nobody_listening_is_told_apart_from_a_lost_call() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let endpoint = client().endpoint(&format!("http://{addr}/")).unwrap();
    let error = soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, UpstreamError::Connect(_)) && error.is_before_sending(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_hung_up_on() {
    let server = FakeServer::start("", Then::KeepAlive).await;
    let error = post_to(&server, &short()).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::HeadTimeout { .. }),
        "{error:?}"
    );
    server.hung_up(1).await;
}

#[tokio::test]
async fn a_body_that_hangs_is_given_up() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let server = FakeServer::start(answer, Then::KeepAlive).await;
    let error = post_to(&server, &short()).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::BodyTimeout { .. }),
        "{error:?}"
    );
    server.hung_up(1).await;
}

#[tokio::test]
async fn a_length_that_promises_too_much_is_a_truncated_answer() {
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{}";
    let error = post(answer, Then::Close).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Truncated(_)), "{error:?}");
}

#[tokio::test]
async fn two_responses_for_one_request_spoil_the_connection_only() {
    let twice = response("200 OK", "application/json", JSON).repeat(2);
    let server = FakeServer::start(twice, Then::KeepAlive).await;
    let endpoint = client().endpoint(&server.uri()).unwrap();
    for _ in 0..2 {
        match soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits()))
            .await
            .unwrap()
        {
            Answer::Message { body, .. } => assert_eq!(*body, *JSON.as_bytes()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn chunks_that_are_none_are_a_truncated_answer() {
    for rest in [
        "2\r\n{}\r\nxyz\r\n",
        "ffffffffffffffffff\r\n",
        "5\r\n{}\r\n0\r\n\r\n",
    ] {
        let error = post(&chunked("application/json", rest), Then::Close)
            .await
            .unwrap_err();
        assert!(
            matches!(error, UpstreamError::Truncated(_)),
            "{rest:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_head_that_is_none_or_too_long_breaks_the_call() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    for answer in ["garbage\r\n\r\n", &long, &many] {
        let error = post(answer, Then::Close).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Broken(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_over_the_cap_is_refused_announced_or_not() {
    let big = "x".repeat(1001);
    for answer in [
        response("200 OK", "application/json", &big),
        chunked(
            "application/json",
            &format!("{:x}\r\n{big}\r\n0\r\n\r\n", big.len()),
        ),
        // Refused on the word alone: nothing of the body ever comes.
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n"
            .to_owned(),
    ] {
        let error = post(&answer, Then::KeepAlive).await.unwrap_err();
        assert!(
            matches!(error, UpstreamError::TooLarge { cap: 1000 }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_large_answer_in_many_pieces_is_whole() {
    let big = "0123456789".repeat(100_000);
    let server = FakeServer::start(
        response("200 OK", "application/json", &big),
        Then::KeepAlive,
    )
    .await;
    match post_to(&server, &Limits::default()).await.unwrap() {
        Answer::Message { body, .. } => assert!(*body == *big.as_bytes()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let server = FakeServer::scripted(move |_| {
            (
                format!("HTTP/1.1 {status}\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")
                    .into(),
                Then::KeepAlive,
            )
        })
        .await;
        let error = post_to(&server, &limits()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Redirect { .. }), "{error:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn html_never_comes_through() {
    let page = "<html>secret</html>";
    let error = post(&response("500 Oops", "text/html", page), Then::KeepAlive)
        .await
        .unwrap_err();
    assert!(
        matches!(error, UpstreamError::Server { status: 500 }),
        "{error:?}"
    );
    assert!(!format!("{error:?} {error}").contains("secret"));
    let error = post(&response("200 OK", "text/html", page), Then::KeepAlive)
        .await
        .unwrap_err();
    assert!(matches!(error, UpstreamError::ContentType(_)), "{error:?}");
    match post(
        &response("404 Not Found", "text/html", page),
        Then::KeepAlive,
    )
    .await
    .unwrap()
    {
        Answer::Rejected {
            status: 404,
            body: None,
        } => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_json_4xx_comes_through_unchanged() {
    let body = "{ \"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32022,\"message\":\"x\"}}\n";
    match post(
        &response("400 Bad Request", "application/json", body),
        Then::KeepAlive,
    )
    .await
    .unwrap()
    {
        Answer::Rejected {
            status: 400,
            body: Some(seen),
        } => assert_eq!(seen, body),
        other => panic!("{other:?}"),
    }
}

/// An answer with a content coding.
fn encoded(media: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_gzip_answer_is_inflated_under_the_caps() {
    let blanks = |count: usize| [JSON.as_bytes(), &b" ".repeat(count)].concat();
    // The cap counts what was inflated, the ratio what came.
    for (body, wide, refused) in [
        (gzip(JSON.as_bytes()), false, None),
        (gzip(&blanks(900)), false, None),
        (gzip(&blanks(2000)), false, Some("the cap in bytes: `1000`")),
        (
            gzip(&blanks(8 << 20)),
            true,
            Some("more than 100 times its size"),
        ),
        (JSON.as_bytes().to_vec(), false, Some("broke off")),
        (
            gzip(JSON.as_bytes())[..20].to_vec(),
            false,
            Some("broke off"),
        ),
    ] {
        let answer = encoded("application/json", "gzip", &body);
        let server = FakeServer::start(answer, Then::KeepAlive).await;
        let max_message = if wide { 16 << 20 } else { 1000 };
        let wide = Limits {
            max_message,
            ..limits()
        };
        match (post_to(&server, &wide).await, refused) {
            (Ok(Answer::Message { body, .. }), None) => assert!(body.starts_with(JSON.as_bytes())),
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{error}"),
            (other, _) => panic!("{other:?}"),
        }
    }
    for media in ["application/json", "text/event-stream"] {
        let server =
            FakeServer::start(encoded(media, "br", JSON.as_bytes()), Then::KeepAlive).await;
        let error = post_to(&server, &limits()).await.unwrap_err();
        assert!(error.to_string().ends_with("(gzip is): `br`"), "{error}");
    }
}

#[tokio::test]
async fn events_of_a_gzip_stream_come_one_by_one() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"data: one\n\n").unwrap();
    encoder.flush().unwrap();
    // The rest of the stream never comes: the first event must not wait for it.
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n";
    let answer = [head.as_bytes(), encoder.get_ref()].concat();
    let server = FakeServer::start(answer, Then::KeepAlive).await;
    let mut stream = events(post_to(&server, &limits()).await.unwrap());
    let event = soon(stream.next()).await.unwrap().unwrap();
    assert_eq!(event.data, "one");

    let bomb = gzip(&b":\n".repeat(8 << 20));
    let server =
        FakeServer::start(encoded("text/event-stream", "gzip", &bomb), Then::KeepAlive).await;
    let mut stream = events(post_to(&server, &limits()).await.unwrap());
    let error = soon(stream.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, StreamError::Inflated | StreamError::Noise { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn two_content_types_are_none() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}";
    let error = post(answer, Then::KeepAlive).await.unwrap_err();
    assert!(matches!(error, UpstreamError::ContentType(_)), "{error:?}");
}

#[tokio::test]
async fn events_come_one_by_one_before_the_stream_ends() {
    let answer = chunked(
        "text/event-stream",
        "9\r\ndata: 1\n\n\r\nf\r\nid: a\ndata: 2\n\n\r\n",
    );
    let server = FakeServer::start(answer, Then::KeepAlive).await;
    let mut events = events(post_to(&server, &limits()).await.unwrap());
    assert_eq!(soon(events.next()).await.unwrap().unwrap().data, "1");
    let second = soon(events.next()).await.unwrap().unwrap();
    assert_eq!(
        (second.data.as_ref(), second.id.as_deref()),
        (&b"2"[..], Some(&b"a"[..]))
    );
    // The stream is open; letting go of it is what the server must notice.
    drop(events);
    server.hung_up(1).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_hangs_up() {
    let server = FakeServer::start("", Then::KeepAlive).await;
    let endpoint = client().endpoint(&server.uri()).unwrap();
    let limits = limits();
    let call = endpoint.post(HeaderMap::new(), Bytes::new(), &limits);
    assert!(timeout(Duration::from_millis(50), call).await.is_err());
    server.hung_up(1).await;
}

#[tokio::test]
async fn a_silent_stream_is_cut_and_hung_up_on() {
    let server = FakeServer::start(
        chunked("text/event-stream", "3\r\n:\n\n\r\n"),
        Then::KeepAlive,
    )
    .await;
    let mut events = events(post_to(&server, &short()).await.unwrap());
    let error = soon(events.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, StreamError::Silent { .. }), "{error:?}");
    assert!(soon(events.next()).await.is_none());
    server.hung_up(1).await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_one_that_ended() {
    let server = FakeServer::start(
        chunked("text/event-stream", "9\r\ndata: 1\n\n\r\n"),
        Then::Close,
    )
    .await;
    let mut events = events(post_to(&server, &limits()).await.unwrap());
    assert_eq!(soon(events.next()).await.unwrap().unwrap().data, "1");
    let error = soon(events.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, StreamError::Broken(_)), "{error:?}");
    assert!(soon(events.next()).await.is_none());
}

#[tokio::test]
async fn an_endless_line_or_event_ends_the_stream() {
    let line = "x".repeat(2000);
    let lines = "data: 0123456789\n".repeat(150);
    for text in [line, lines] {
        let answer = chunked(
            "text/event-stream",
            &format!("{:x}\r\n{text}\r\n", text.len()),
        );
        let server = FakeServer::start(answer, Then::KeepAlive).await;
        let mut events = events(post_to(&server, &limits()).await.unwrap());
        let error = soon(events.next()).await.unwrap().unwrap_err();
        assert!(matches!(error, StreamError::Malformed(_)), "{error:?}");
        server.hung_up(1).await;
    }
}

#[tokio::test]
async fn get_and_delete_say_what_the_server_says() {
    let server = FakeServer::start(
        response("405 Method Not Allowed", "text/plain", "no"),
        Then::KeepAlive,
    )
    .await;
    let endpoint = client().endpoint(&server.uri()).unwrap();
    for answer in [
        soon(endpoint.get(HeaderMap::new(), &limits()))
            .await
            .unwrap(),
        soon(endpoint.delete(HeaderMap::new(), &limits()))
            .await
            .unwrap(),
    ] {
        assert!(
            matches!(
                answer,
                Answer::Rejected {
                    status: 405,
                    body: None
                }
            ),
            "{answer:?}"
        );
    }
    assert!(server.requests()[0].starts_with("GET /mcp?x=1"));
    assert!(server.requests()[1].starts_with("DELETE /mcp?x=1"));
    let server = FakeServer::start(response("200 OK", "text/html", "gone"), Then::KeepAlive).await;
    let endpoint = client().endpoint(&server.uri()).unwrap();
    let answer = soon(endpoint.delete(HeaderMap::new(), &limits()))
        .await
        .unwrap();
    assert!(matches!(answer, Answer::Accepted), "{answer:?}");
}

#[tokio::test]
async fn an_answer_that_may_be_framed_in_two_ways_is_refused() {
    let json = "9\r\n{\"a\": 12}\r\n0\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for lines in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 9\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 9999\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
    ] {
        let answer = format!("{head}{lines}\r\n{json}");
        let error = post(&answer, Then::Close).await.unwrap_err();
        assert!(
            matches!(error, UpstreamError::Framing(_)),
            "{lines}: {error:?}"
        );
    }
    let answer = format!("{head}transfer-encoding: Chunked\r\n\r\n{json}");
    let answer = post(&answer, Then::Close).await.unwrap();
    assert!(matches!(answer, Answer::Message { .. }), "{answer:?}");
}

#[tokio::test]
async fn only_utf_8_is_read() {
    for (media, is_read) in [
        ("application/json; charset=utf-16", false),
        ("application/json;CHARSET=\"UTF-16LE\"", false),
        ("application/json; v=1; charset=latin1", false),
        ("application/json; charset=UTF-8", true),
        ("application/json; charset=\"utf8\"", true),
        ("application/json; v=1", true),
    ] {
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-length: 2\r\n\r\n{{}}");
        let read = post(&answer, Then::Close).await;
        assert_eq!(read.is_ok(), is_read, "{media}: {read:?}");
    }
}

#[tokio::test]
async fn addresses_that_are_none_are_refused_without_showing_the_password() {
    for uri in [
        "",
        "/mcp",
        "ftp://x/",
        "http://user:secret@x/",
        "https:///x",
    ] {
        let error = client().endpoint(uri).unwrap_err();
        assert!(
            matches!(error, crate::http::client::ClientError::Uri { .. }),
            "{error:?}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_host_is_given_up_in_time() {
    // Its queue is full, so that a connect is neither taken nor refused.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    for _ in 0..4 {
        let connect = tokio::net::TcpStream::connect(addr);
        fill.push(timeout(Duration::from_millis(20), connect).await);
    }
    let settings = ClientSettings {
        connector: ConnectorSettings {
            native_roots: false,
            timeout: Duration::from_millis(50),
            ..ConnectorSettings::default()
        },
        ..ClientSettings::default()
    };
    let endpoint = Client::new(settings)
        .unwrap()
        .endpoint(&format!("http://{addr}/"))
        .unwrap();
    let begun = Instant::now();
    let error = soon(endpoint.post(HeaderMap::new(), Bytes::new(), &limits()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, UpstreamError::ConnectTimeout { .. }) && error.is_before_sending(),
        "{error:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
}
