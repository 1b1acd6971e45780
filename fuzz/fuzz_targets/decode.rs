//! Any bytes: decoding must not panic, and what it accepts must mean the same to another reader and survive a splice.

#![no_main]

use bytes::Bytes;
use keepgate_mcp::{Id, Limits, Message, Mirrored, Raw, classify, decode, uri};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        _ = uri::normalise(text);
        // What is in the normal form must stay as it is.
        if let Ok(normal) = uri::normalise(text) {
            let again = uri::normalise(&normal.text).expect("a normal form is a URI");
            assert_eq!(again, normal);
        }
    }
    let body = match decode(Bytes::copy_from_slice(data), &Limits::request()) {
        Ok(body) => body,
        Err(error) => {
            assert!(error.offset <= data.len());
            return;
        }
    };
    serde_json::from_slice::<Value>(data).expect("what we accept is JSON");
    _ = classify(&Mirrored::default(), &body, None);
    for message in body.messages() {
        judge(message);
    }
});

fn judge(message: &Message) {
    let value: Value = serde_json::from_slice(message.bytes()).expect("a message is JSON");
    let params = match message {
        Message::Request(request) => request.params(),
        Message::Notification(notification) => notification.params(),
        Message::Response(response) => response.result(),
    };
    if let Some(raw) = params {
        agree(
            raw,
            value
                .get("params")
                .or(value.get("result"))
                .expect("both see it"),
        );
    }
    let id = Id::from_text("another").expect("a legal id");
    let Message::Request(request) = message else {
        return;
    };
    assert_eq!(
        value.get("method").and_then(Value::as_str),
        Some(request.method().as_str())
    );
    _ = request.subject();
    let renamed = request.with_id(&id);
    assert_eq!(renamed.with_id(request.id()).bytes(), request.bytes());
    let Ok(keepgate_mcp::Body::Single(Message::Request(again))) =
        decode(renamed.bytes().clone(), &Limits::reply())
    else {
        panic!("a renamed request is a request");
    };
    assert_eq!(again.id(), &id);
    assert_eq!(again.params(), request.params());
}

fn agree(raw: Raw<'_>, value: &Value) {
    match value {
        Value::Null => assert!(raw.is_null()),
        Value::Bool(flag) => assert_eq!(raw.bool(), Some(*flag)),
        Value::Number(_) => assert_eq!(
            serde_json::from_str::<Value>(raw.as_str()).ok().as_ref(),
            Some(value)
        ),
        Value::String(text) => assert_eq!(raw.string().as_deref(), Some(text.as_str())),
        Value::Array(items) => {
            assert_eq!(raw.items().count(), items.len());
            raw.items()
                .zip(items)
                .for_each(|(raw, value)| agree(raw, value));
        }
        Value::Object(members) => {
            assert_eq!(raw.members().count(), members.len());
            for (key, member) in raw.members() {
                let key = key.string().expect("a key is a string");
                agree(member, members.get(key.as_ref()).expect("both see the key"));
            }
        }
    }
}
