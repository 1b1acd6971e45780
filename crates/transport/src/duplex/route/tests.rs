//! Owners of messages, without a process.

use bytes::Bytes;
use keepgate_mcp::{Body, Limits, decode};

use super::*;

fn message(text: &str) -> Message {
    match decode(Bytes::copy_from_slice(text.as_bytes()), &Limits::request()).unwrap() {
        Body::Single(message) => message,
        Body::Batch(_) => panic!("a batch"),
    }
}

fn request(text: &str) -> Request {
    match message(text) {
        Message::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

fn add(routes: &mut Routes, id: &str) -> Added {
    routes
        .add(&request(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#
        )))
        .unwrap()
}

/// Most tests have one client.
impl Routes {
    fn add(&mut self, request: &Request) -> Result<Added, DuplexError> {
        self.add_for(Owner(0), request)
    }

    fn translate(&mut self, notification: &Notification) -> Option<Notification> {
        self.translate_for(Owner(0), notification)
    }
}

#[test]
fn abandoned_calls_are_remembered_up_to_a_limit() {
    let mut routes = Routes::new(false, Budget::default());
    for _ in 0..4 * MAX_ABANDONED {
        let added = add(&mut routes, "1");
        routes.abandon(&added.wire);
    }
    assert!(routes.calls.len() <= 2 * MAX_ABANDONED);
    assert!(routes.abandoned.len() <= 2 * MAX_ABANDONED);
}

#[test]
fn answered_calls_leave_nothing_behind() {
    let mut routes = Routes::new(true, Budget::default());
    for _ in 0..5000 {
        let token = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}"#;
        let added = routes.add(&request(token)).unwrap();
        assert!(
            added.request.bytes().ends_with(
                format!(r#"{{"progressToken":"keepgate-{}"}}}}}}"#, added.wire).as_bytes()
            )
        );
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, added.wire);
        assert!(matches!(routes.route(message(&answer)), Routed::Call));
    }
    assert!(routes.calls.is_empty() && routes.tokens.is_empty());
}

#[test]
fn an_abandoned_call_keeps_its_messages_from_the_only_other_one() {
    let mut routes = Routes::new(false, Budget::default());
    let gone = add(&mut routes, "1");
    let _here = add(&mut routes, "2");
    routes.abandon(&gone.wire);
    let asked = message(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#);
    assert!(matches!(routes.route(asked), Routed::Unsolicited(_)));
}

#[test]
fn open_requests_of_the_server_are_limited_and_their_ids_not_taken_twice() {
    let mut routes = Routes::new(false, Budget::default());
    let ask = |id: usize| message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
    for id in 0..MAX_ASKED {
        assert!(matches!(routes.route(ask(id)), Routed::Unsolicited(_)));
    }
    assert!(matches!(routes.route(ask(0)), Routed::Dropped(_)));
    assert!(matches!(routes.route(ask(MAX_ASKED)), Routed::Dropped(_)));
    let Message::Response(answer) = message(r#"{"jsonrpc":"2.0","id":0,"result":{}}"#) else {
        panic!()
    };
    routes.answer(&answer).unwrap();
    assert!(matches!(
        routes.route(ask(MAX_ASKED)),
        Routed::Unsolicited(_)
    ));
}

#[test]
fn a_server_may_take_its_own_request_back() {
    let mut routes = Routes::new(false, Budget::default());
    let added = add(&mut routes, "\"c\"");
    let asked = message(r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create"}"#);
    assert!(matches!(routes.route(asked), Routed::Call));
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert!(matches!(routes.route(message(cancel)), Routed::Call));
    // Once more it can only mean the call with that id on the wire.
    assert!(matches!(routes.route(message(cancel)), Routed::Call));
    let mut seen = Vec::new();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Some(Ok(message))) = added.queue.poll(&mut context) {
        seen.push(String::from_utf8(message.bytes().to_vec()).unwrap());
    }
    assert_eq!(seen[1], cancel);
    assert_eq!(seen[2], cancel.replace('1', "\"c\""));
}

#[test]
fn a_cancel_that_could_mean_two_clients_means_none() {
    let mut routes = Routes::new(true, Budget::default());
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let Message::Notification(cancel) = message(cancel) else {
        panic!()
    };
    assert!(routes.translate(&cancel).is_none());
    let _one = add(&mut routes, "1");
    let two = add(&mut routes, "1");
    assert!(routes.translate(&cancel).is_none());
    routes.remove(&two.wire);
    assert!(routes.translate(&cancel).is_some());
    // Cancelled once, it is over.
    assert!(routes.translate(&cancel).is_none());
}

#[test]
fn a_cancelled_call_owns_nothing_more_but_on_a_shared_process_its_last_words() {
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let Message::Notification(cancel) = message(cancel) else {
        panic!()
    };
    for shared in [false, true] {
        let mut routes = Routes::new(shared, Budget::default());
        let added = add(&mut routes, "1");
        assert!(routes.translate(&cancel).is_some());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let ended = added.queue.poll(&mut context);
        assert!(
            matches!(
                ended,
                std::task::Poll::Ready(Some(Err(DuplexError::Cancelled)))
            ),
            "{ended:?}"
        );
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let routed = routes.route(message(changed));
        if shared {
            assert!(matches!(routed, Routed::Dropped(_)), "{routed:?}");
        } else {
            assert!(matches!(routed, Routed::Unsolicited(_)), "{routed:?}");
        }
    }
}

#[test]
fn a_client_cancels_its_own_calls_alone() {
    let call = request(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a"}}"#);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    let Message::Notification(cancel) = message(cancel) else {
        panic!()
    };
    for shared in [true, false] {
        let mut routes = Routes::new(shared, Budget::default());
        let own = routes.add_for(Owner(1), &call).unwrap();
        assert!(routes.translate_for(Owner(2), &cancel).is_none());
        // Another client's call under the same id makes the own one no less plain.
        let other = routes.add_for(Owner(2), &call).unwrap();
        let sent = routes.translate_for(Owner(1), &cancel).unwrap();
        assert_eq!(
            sent.param("requestId").map(|raw| raw.as_str().to_owned()),
            Some(own.wire.as_json().to_owned())
        );
        let sent = routes.translate_for(Owner(2), &cancel).unwrap();
        assert_eq!(
            sent.param("requestId").map(|raw| raw.as_str().to_owned()),
            Some(other.wire.as_json().to_owned())
        );
    }
}

/// Spellings of an id that was given out as an integer, and the one it is.
fn spellings(wire: &Id) -> [String; 5] {
    [
        format!("{wire}"),
        format!("\"{wire}\""),
        format!("\"\\u003{wire}\""),
        format!("{wire}.0"),
        format!("{wire}e0"),
    ]
}

#[test]
fn an_id_is_one_id_however_a_server_spells_it() {
    let subscription = |named: &str| {
        format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{named}}}}}"#)
    };
    for at in 0..5 {
        let mut routes = Routes::new(false, Budget::default());
        let call = r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"_meta":{"progressToken":5}}}"#;
        let called = routes.add(&request(call)).unwrap();
        let listen = r#"{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen"}"#;
        let listening = routes.add(&request(listen)).unwrap();
        let named = spellings(&listening.wire)[at].clone();
        let token = spellings(&Id::from_integer(5))[at].clone();
        for text in [
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
            ),
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}}"#,
                subscription(&named)
            ),
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{named}}}}}"#
            ),
        ] {
            let routed = routes.route(message(&text));
            assert!(matches!(routed, Routed::Call), "{routed:?}: {text}");
        }
        let heard = drain(&listening);
        assert!(
            heard.iter().all(|text| text.contains(r#":"l"}"#)),
            "{heard:?}"
        );
        assert_eq!((heard.len(), drain(&called).len()), (2, 1));
        // As a line is read, so that a double is an integer already.
        let named = spellings(&called.wire)[at].clone();
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{named},"result":{{}}}}"#);
        let repaired = keepgate_mcp::repair::decode(answer.into(), &Limits::reply(), |_| ());
        let Ok(Body::Single(answer)) = repaired else {
            panic!("{repaired:?}")
        };
        assert!(matches!(routes.route(answer), Routed::Call));
        assert_eq!(
            drain(&called),
            [r#"{"jsonrpc":"2.0","id":"c","result":{}}"#]
        );
    }
}

/// The messages that wait for a call.
fn drain(added: &Added) -> Vec<String> {
    let mut seen = Vec::new();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Some(Ok(message))) = added.queue.poll(&mut context) {
        seen.push(String::from_utf8(message.bytes().to_vec()).unwrap());
    }
    seen
}

#[test]
fn a_token_that_a_client_chose_comes_before_an_id_it_may_spell() {
    let mut routes = Routes::new(false, Budget::default());
    let call = |token: &str| {
        request(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"progressToken":{token}}}}}}}"#
        ))
    };
    let number = routes.add(&call("5")).unwrap();
    let text = routes.add(&call("\"5\"")).unwrap();
    for (token, heard) in [("\"5\"", (0, 1)), ("5", (1, 0))] {
        let progress = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        );
        assert!(matches!(routes.route(message(&progress)), Routed::Call));
        assert_eq!((drain(&number).len(), drain(&text).len()), heard);
    }
}

#[test]
fn an_error_without_an_id_is_for_the_only_call() {
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#;
    for (calls, failed) in [(1, true), (2, false)] {
        let mut routes = Routes::new(false, Budget::default());
        let added: Vec<_> = (0..calls).map(|_| add(&mut routes, "1")).collect();
        assert!(matches!(routes.route(message(error)), Routed::Dropped(_)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for added in added {
            let ended = added.queue.poll(&mut context);
            let is_failed = matches!(
                ended,
                std::task::Poll::Ready(Some(Err(DuplexError::Unreadable)))
            );
            assert_eq!(is_failed, failed, "{ended:?}");
        }
    }
}
