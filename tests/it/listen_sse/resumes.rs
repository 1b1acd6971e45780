//! Streams that are asked for again in the client's stead: pauses, limits, refusals, and what the client learns.

use std::time::Duration;

use super::*;
use keepgate_gateway::limit::Rate;

/// A server that breaks off each answer behind an event, and answers the `GET` that resumes it with `resumed`.
async fn breaking(resumed: impl Fn() -> Vec<Say> + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(
        move |heard| match (heard.verb.as_str(), heard.header("last-event-id")) {
            ("GET", Some(_)) => resumed(),
            ("GET", None) => Say::http("405 Method Not Allowed", "text/plain", ""),
            _ => behave(heard).unwrap_or_else(broken_off),
        },
    )
    .await
}

/// A stream that asks for the shortest pause and ends before the answer.
fn broken_off() -> Vec<Say> {
    let first = "id: 7\nretry: 10\ndata: \n\n";
    vec![Say::sse(), Say::text(first), Say::Close]
}

fn short_lived(settings: &mut Settings) {
    settings.limits.lives.call = Duration::from_secs(3);
}

/// `initialize`, the end of the handshake's listening `GET`, a list, the call: and nothing to resume it with.
fn rate_of(calls: u32) -> Option<Rate> {
    let one = std::num::NonZeroU32::MIN;
    let calls = std::num::NonZeroU32::new(calls)?;
    Rate::new(one, Duration::from_secs(86_400), calls)
}

#[tokio::test]
async fn whatever_refuses_a_call_that_was_sent_admits_that_it_may_have_run() {
    for (what, expected) in [
        ("the server", "upstream_refused"),
        ("a kill", "killed"),
        ("its life", "call_expired"),
        ("a rate", "call_expired"),
    ] {
        let server = breaking(move || match what {
            "its life" => broken_off(),
            _ => Say::http("403 Forbidden", "text/plain", "no"),
        })
        .await;
        let gateway = in_front_of(&server)
            .with(short_lived)
            .with(|settings| {
                if what == "a rate" {
                    settings.limits.rate.caller = rate_of(5);
                }
            })
            .start()
            .await;
        let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-11-25").await;
        if what == "a rate" {
            // What the opening, the handshake and its listening side have left, but for one.
            server.hears(|heard| heard.verb == "GET").await;
            legacy.ask(request(2, "tools/list", &json!({}))).await;
        }
        legacy.post(call(5, "echo"), 202).await;
        server.hears(|heard| heard.method() == "tools/call").await;
        if what == "a kill" {
            kill(&gateway, "tool", Some("up/echo"));
        }
        let answer = legacy.next().await;
        assert_eq!(code(&answer), Some(expected), "{what}: {answer}");
        let text = answer.to_string();
        assert!(text.contains(r#""effect":"possible""#), "{what}: {answer}");
        assert_eq!(answer["id"], 5, "{what}");
        assert_eq!(server.heard_of("tools/call").len(), 1, "{what}");
        // Nobody waits for it any more, and its server learns so.
        server
            .hears(|heard| heard.method() == "notifications/cancelled")
            .await;
    }
}

#[tokio::test]
async fn what_refuses_a_listening_stream_for_a_while_does_not_end_it() {
    let over = ["429 Too Many Requests", "503 Service Unavailable"].map(|status| async move {
        let (sender, piped) = Piped::new();
        let refused = std::sync::atomic::AtomicBool::new(false);
        let server = FakeServer::start(move |heard| match heard.verb.as_str() {
            "GET" if !refused.swap(true, std::sync::atomic::Ordering::SeqCst) => {
                Say::http(status, "text/plain", "")
            }
            "GET" => vec![Say::sse(), Say::Piped(piped.clone())],
            _ => behave(heard).unwrap_or_default(),
        })
        .await;
        let gateway = in_front_of(&server).start().await;
        let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-11-25").await;
        let event = format!("data: {}\n\n", ping(1));
        sender.send(event.into_bytes()).expect("a stream");
        assert_eq!(legacy.next().await["method"], "ping", "{status}");
    });
    futures_util::future::join_all(over).await;
}

#[tokio::test]
async fn a_server_that_has_forgotten_an_event_is_listened_to_without_it() {
    let over = ["400 Bad Request", "404 Not Found", "410 Gone"].map(|status| async move {
        let (sender, piped) = Piped::new();
        let opened = std::sync::atomic::AtomicBool::new(false);
        let server = FakeServer::start(move |heard| {
            match (heard.verb.as_str(), heard.header("last-event-id")) {
                ("GET", Some(_)) => Say::http(status, "text/plain", ""),
                ("GET", None) if !opened.swap(true, std::sync::atomic::Ordering::SeqCst) => {
                    let event = format!("id: e1\ndata: {}\n\n", ping(1));
                    vec![Say::sse(), Say::text(&event), Say::Close]
                }
                ("GET", None) => vec![Say::sse(), Say::Piped(piped.clone())],
                _ => behave(heard).unwrap_or_default(),
            }
        })
        .await;
        let gateway = in_front_of(&server).start().await;
        let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-11-25").await;
        assert_eq!(legacy.next().await["method"], "ping", "{status}");
        sender
            .send(format!("data: {}\n\n", ping(2)).into_bytes())
            .expect("a stream");
        assert_eq!(legacy.next().await["method"], "ping", "{status}");
        let heard = server.heard();
        let with_event = heard
            .iter()
            .filter(|heard| heard.header("last-event-id") == Some("e1"));
        assert_eq!(with_event.count(), 1, "{status}");
    });
    futures_util::future::join_all(over).await;
}

fn ping(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
}
