//! Tests of what is spliced into messages.

use bytes::Bytes;

use crate::{
    Id,
    json::Limits,
    message::{Body, Message, decode},
};

fn read(text: &str) -> Message {
    let body = decode(Bytes::copy_from_slice(text.as_bytes()), &Limits::reply());
    let Ok(Body::Single(message)) = body else {
        panic!("{text}: {body:?}");
    };
    message
}

/// Every place is where it is when the bytes are decoded again.
fn placed(message: &Message) {
    let again = read(std::str::from_utf8(message.bytes()).unwrap());
    let places = |message: &Message| format!("{:?}", message.parts().envelope);
    assert_eq!(places(message), places(&again), "{again:?}");
    assert_eq!(message.id(), again.id());
}

const IDS: [&str; 6] = [
    "1",
    "-5",
    "4503599627370496",
    "\"\"",
    "\"\\u00e9\\\"\\\\\"",
    "\"a long one, longer than what it stands for\"",
];

#[test]
fn a_request_under_another_id_and_token_keeps_every_other_byte() {
    let texts = [
        r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call"}"#,
        r#"{ "method" : "tools/call", "params":{"_meta":{"progressToken": TOKEN ,"x":1},"name":"id"}, "id" : ID ,"jsonrpc":"2.0"}"#,
        r#"{"params":{"name":"x","arguments":{"progressToken":TOKEN},"_meta":{"a":[{"progressToken":7}],"progressToken":TOKEN}},"jsonrpc":"2.0","method":"tools/call","id":ID}"#,
        r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"_meta":{}}}"#,
    ];
    for text in texts {
        for (id, token) in IDS.iter().flat_map(|id| IDS.map(|token| (*id, token))) {
            let Message::Request(request) =
                read(&text.replace("ID", "7").replace("TOKEN", "\"t\""))
            else {
                panic!("{text}");
            };
            let (id, token) = (Id::from_json(id).unwrap(), Id::from_json(token).unwrap());
            // The token in the arguments is the tool's and stays.
            let wanted = text
                .replace("ID", id.as_json())
                .replace(
                    r#"ments":{"progressToken":TOKEN"#,
                    r#"ments":{"progressToken":"t""#,
                )
                .replace("TOKEN", token.as_json());
            assert_eq!(request.bytes_under(&id, Some(&token)), wanted.as_bytes());
            let under = request.under(&id, Some(&token));
            assert_eq!(under.bytes(), wanted.as_bytes());
            placed(&Message::Request(under));
            let same = request.bytes_under(&id, None);
            assert_eq!(same, wanted_without(text, &id).as_bytes());
        }
    }
}

fn wanted_without(text: &str, id: &Id) -> String {
    text.replace("ID", id.as_json()).replace("TOKEN", "\"t\"")
}

#[test]
fn an_answer_under_another_id_keeps_every_other_byte() {
    let texts = [
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}"#,
        r#"{"result":{"id":1,"_meta":{"x":1}},"jsonrpc":"2.0", "id" : ID }"#,
        r#"{"error":{"code":-1,"message":"id"},"id":ID,"jsonrpc":"2.0"}"#,
    ];
    for text in texts {
        for id in IDS {
            let Message::Response(response) = read(&text.replace("ID", "4503599627370496")) else {
                panic!("{text}");
            };
            let id = Id::from_json(id).unwrap();
            let wanted = text.replace("ID", id.as_json());
            // Alone, and while another holds it.
            let held = response.clone();
            let shared = response.under(&id);
            assert_eq!(shared.bytes(), wanted.as_bytes());
            placed(&Message::Response(shared));
            let alone = held.under(&id);
            assert_eq!(alone.bytes(), wanted.as_bytes());
            placed(&Message::Response(alone));
        }
    }
    // An error that names no request gets an id.
    for text in [
        r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"x"},"id":null}"#,
    ] {
        let Message::Response(response) = read(text) else {
            panic!("{text}");
        };
        placed(&Message::Response(response.under(&Id::from_integer(7))));
    }
}

#[test]
fn a_long_answer_is_edited_in_place_where_nobody_else_has_it() {
    let long = "x".repeat(5000);
    let key = "io.modelcontextprotocol/subscriptionId";
    let texts = [
        format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{{"text":"{long}"}}}}"#),
        format!(r#"{{ "result":{{"id":7,"text":"{long}","_meta":{{"{key}":ID}}}}, "id" : ID }}"#),
        format!(r#"{{"error":{{"code":-1,"message":"{long}"}},"id":ID,"jsonrpc":"2.0"}}"#),
    ];
    for (text, id) in texts.iter().flat_map(|text| IDS.map(|id| (text, id))) {
        let old = "4503599627370496";
        let text = text.replace(r#"{ "result""#, r#"{"jsonrpc":"2.0","result""#);
        let Message::Response(response) = read(&text.replace("ID", old)) else {
            panic!("{text}");
        };
        let id = Id::from_json(id).unwrap();
        let before = response.bytes().as_ptr();
        let length = response.bytes().len();
        let shared = response.clone();
        let copied = shared.under_subscription(&id);
        placed(&Message::Response(copied.clone()));
        assert_eq!(copied.bytes(), text.replace("ID", id.as_json()).as_bytes());
        let alone = response.under_subscription(&id);
        placed(&Message::Response(alone.clone()));
        let fits = id.as_json().len() <= old.len();
        let padded = format!("{:<1$}", id.as_json(), if fits { old.len() } else { 0 });
        assert_eq!(alone.bytes(), text.replace("ID", &padded).as_bytes());
        assert_eq!(
            alone.bytes().as_ptr() == before && alone.bytes().len() == length,
            fits
        );
    }
}

#[test]
fn what_names_a_subscription_or_a_request_names_the_other_one() {
    const KEY: &str = "io.modelcontextprotocol/subscriptionId";
    for id in IDS {
        let id = Id::from_json(id).unwrap();
        let text = format!(
            r#"{{"id":ID,"result":{{"_meta":{{"a":1,"{KEY}":ID}},"resultType":"complete"}},"jsonrpc":"2.0"}}"#
        );
        let Message::Response(response) = read(&text.replace("ID", "9")) else {
            panic!("{text}");
        };
        let response = response.under_subscription(&id);
        assert_eq!(
            response.bytes(),
            text.replace("ID", id.as_json()).as_bytes()
        );
        placed(&Message::Response(response));
        for (text, is_subscription) in [
            (
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"_meta":{{"{KEY}":ID}},"a":1}}}}"#),
                true,
            ),
            (
                r#"{"jsonrpc":"2.0","params":{"requestId":ID,"reason":"x"},"method":"notifications/cancelled"}"#
                    .to_owned(),
                false,
            ),
        ] {
            let Message::Notification(notification) = read(&text.replace("ID", "9")) else {
                panic!("{text}");
            };
            let notification = if is_subscription {
                notification.under_subscription(&id)
            } else {
                notification.under("requestId", &id).under("absent", &id)
            };
            assert_eq!(
                notification.bytes(),
                text.replace("ID", id.as_json()).as_bytes()
            );
            placed(&Message::Notification(notification));
        }
    }
}

#[test]
fn integers_are_read_as_they_are_written() {
    for number in [0, 7, -5, (1 << 53) - 1, i64::MAX, i64::MIN] {
        let id = Id::from_integer(number);
        assert_eq!(id.as_json(), number.to_string());
        assert_eq!(id.as_integer(), Some(number));
    }
    for other in ["\"7\"", "123456789012345678901234567890"] {
        assert_eq!(Id::from_json(other).unwrap().as_integer(), None);
    }
}
