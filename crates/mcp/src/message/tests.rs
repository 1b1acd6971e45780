//! Tests of decoding.

use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Body, Message, Request, Response, decode};
use crate::error::DecodeFault;
use crate::json::{Limits, Raw};
use crate::method::{Method, Subject};
use crate::{DecodeError, Id};

fn read(text: &str) -> Result<Body, DecodeError> {
    decode(Bytes::copy_from_slice(text.as_bytes()), &Limits::request())
}

fn request(text: &str) -> Request {
    match read(text) {
        Ok(Body::Single(Message::Request(request))) => request,
        other => panic!("not a request: {other:?}"),
    }
}

fn response(text: &str) -> Response {
    match read(text) {
        Ok(Body::Single(Message::Response(response))) => response,
        other => panic!("not a response: {other:?}"),
    }
}

fn shown(message: &Message) -> String {
    let id = |id: Option<&Id>| id.map_or("-", Id::as_json).to_owned();
    match message {
        Message::Request(request) => format!(
            "request {} {}",
            id(Some(request.id())),
            request.method().as_str()
        ),
        Message::Notification(notification) => {
            format!("notification {}", notification.method().as_str())
        }
        Message::Response(response) => match response.error_code() {
            Some(code) => format!("error {} {code}", id(response.id())),
            None => format!("result {}", id(response.id())),
        },
    }
}

/// One line per text: what it decodes to.
fn check(texts: &[&str], expected: &Expect) {
    let lines: Vec<String> = texts
        .iter()
        .map(|text| {
            let outcome = match read(text) {
                Ok(Body::Single(message)) => shown(&message),
                Ok(Body::Batch(messages)) => {
                    messages.iter().map(shown).collect::<Vec<_>>().join(", ")
                }
                Err(error) => format!("{} {error}", error.code()),
            };
            format!("{outcome:<24} <- {text}")
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn the_three_kinds_of_message() {
    check(
        &[
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#" {"method":"tools/call","params":{"name":"x"},"id":"a","jsonrpc":"2.0"} "#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","method":"vendor/secret","id":-5,"params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"m","data":[1]}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"m"}}"#,
        ],
        &expect![[r#"
            request 1 ping           <- {"jsonrpc":"2.0","id":1,"method":"ping"}
            request "a" tools/call   <-  {"method":"tools/call","params":{"name":"x"},"id":"a","jsonrpc":"2.0"} 
            notification notifications/initialized <- {"jsonrpc":"2.0","method":"notifications/initialized"}
            request -5 vendor/secret <- {"jsonrpc":"2.0","method":"vendor/secret","id":-5,"params":{}}
            result 1                 <- {"jsonrpc":"2.0","id":1,"result":{}}
            error 1 -32000           <- {"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"m","data":[1]}}
            error - -32700           <- {"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}
            error - -32700           <- {"jsonrpc":"2.0","error":{"code":-32700,"message":"m"}}"#]],
    );
}

#[test]
fn what_json_rpc_lacks_is_refused() {
    check(
        &[
            "1",
            r#""ping""#,
            "{}",
            r#"{"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"\u0032.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"params":{},"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#,
        ],
        &expect![[r#"
            -32600 not an object at byte `0` <- 1
            -32600 not an object at byte `0` <- "ping"
            -32600 jsonrpc is not 2.0 at byte `0` <- {}
            -32600 not a request, notification or response at byte `0` <- {"jsonrpc":"2.0"}
            -32600 not a request, notification or response at byte `0` <- {"jsonrpc":"2.0","id":1}
            -32600 jsonrpc is not 2.0 at byte `11` <- {"jsonrpc":"1.0","id":1,"method":"ping"}
            -32600 jsonrpc is not 2.0 at byte `11` <- {"jsonrpc":2.0,"id":1,"method":"ping"}
            -32600 jsonrpc is not 2.0 at byte `11` <- {"jsonrpc":"\u0032.0","id":1,"method":"ping"}
            -32600 jsonrpc is not 2.0 at byte `0` <- {"id":1,"method":"ping"}
            -32600 not a request, notification or response at byte `0` <- {"jsonrpc":"2.0","id":1,"method":"ping","result":{}}
            -32600 not a request, notification or response at byte `0` <- {"jsonrpc":"2.0","id":1,"method":"ping","error":{"code":1,"message":""}}
            -32600 not a request, notification or response at byte `0` <- {"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}
            -32600 not a request, notification or response at byte `0` <- {"jsonrpc":"2.0","id":1,"result":{},"error":null}
            -32600 not a request, notification or response at byte `0` <- {"jsonrpc":"2.0","id":1,"params":{},"result":{}}
            -32600 params is not an object at byte `49` <- {"jsonrpc":"2.0","id":1,"method":"ping","params":[]}
            -32600 params is not an object at byte `49` <- {"jsonrpc":"2.0","id":1,"method":"ping","params":null}
            -32600 invalid method at byte `33` <- {"jsonrpc":"2.0","id":1,"method":7}
            -32600 invalid method at byte `33` <- {"jsonrpc":"2.0","id":1,"method":""}
            -32600 unknown member at byte `40` <- {"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#]],
    );
}

#[test]
fn responses_json_rpc_lacks_are_refused() {
    check(
        &[
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":[]}}"#,
        ],
        &expect![[r#"
            -32600 result is not an object at byte `33` <- {"jsonrpc":"2.0","id":1,"result":[]}
            -32600 result is not an object at byte `33` <- {"jsonrpc":"2.0","id":1,"result":null}
            -32600 invalid id at byte `0` <- {"jsonrpc":"2.0","result":{}}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":null,"result":{}}
            -32600 invalid error object at byte `32` <- {"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":""}}
            -32600 invalid error object at byte `32` <- {"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}
            -32600 invalid error object at byte `32` <- {"jsonrpc":"2.0","id":1,"error":{"code":1}}
            -32600 invalid error object at byte `32` <- {"jsonrpc":"2.0","id":1,"error":"no"}
            -32600 _meta is not an object at byte `58` <- {"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}}
            -32600 _meta is not an object at byte `42` <- {"jsonrpc":"2.0","id":1,"result":{"_meta":[]}}"#]],
    );
}

#[test]
fn trap_05_ids_are_strings_or_integers_by_lexeme() {
    let with = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let texts: Vec<String> = [
        "0",
        "-1",
        "9007199254740993",
        "123456789012345678901234567890",
        r#""""#,
        r#""\u0061""#,
        "null",
        "1.0",
        "1e3",
        "-0",
        "true",
        "[1]",
        "{}",
    ]
    .map(with)
    .into();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    check(
        &texts,
        &expect![[r#"
            request 0 ping           <- {"jsonrpc":"2.0","id":0,"method":"ping"}
            request -1 ping          <- {"jsonrpc":"2.0","id":-1,"method":"ping"}
            request 9007199254740993 ping <- {"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}
            request 123456789012345678901234567890 ping <- {"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"ping"}
            request "" ping          <- {"jsonrpc":"2.0","id":"","method":"ping"}
            request "\u0061" ping    <- {"jsonrpc":"2.0","id":"\u0061","method":"ping"}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":null,"method":"ping"}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":1.0,"method":"ping"}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":1e3,"method":"ping"}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":-0,"method":"ping"}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":true,"method":"ping"}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":[1],"method":"ping"}
            -32600 invalid id at byte `22` <- {"jsonrpc":"2.0","id":{},"method":"ping"}"#]],
    );
    assert!(read(&with(&format!("\"{}\"", "x".repeat(1022)))).is_ok());
    assert!(read(&with(&format!("\"{}\"", "x".repeat(1023)))).is_err());
}

#[test]
fn trap_01_duplicate_members_of_a_message_are_refused() {
    check(
        &[
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","meth\u006fd":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":{"y":1,"y":2}}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":1,"a":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","type":"image"}]}}"#,
        ],
        &expect![[r#"
            -32700 duplicate key at byte `46` <- {"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}
            -32700 duplicate key at byte `46` <- {"jsonrpc":"2.0","id":1,"method":"tools/list","meth\u006fd":"tools/call"}
            -32700 duplicate key at byte `24` <- {"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}
            -32700 duplicate key at byte `67` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}
            -32700 duplicate key at byte `67` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}
            -32700 duplicate key at byte `91` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":{"y":1,"y":2}}}}
            -32700 duplicate key at byte `65` <- {"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":1,"a":2}}}
            -32700 duplicate key at byte `60` <- {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","type":"image"}]}}"#]],
    );
}

#[test]
fn trap_01_case_variants_of_keys_we_read_are_refused() {
    check(
        &[
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"METHOD":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            // Alone too: a reader that ignores case sees a name where we see none.
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","ARGUMENTS":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","argument\u017f":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","ta\u017f\u212aid":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","_Meta":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1,"X":2}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"ProgressToken":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":""}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"isError":false,"iserror":true}}"#,
            // Arguments belong to the tool: `-a` and `-A` are two.
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","arguments":{"-a":1,"-A":2}}}"#,
        ],
        &expect![[r#"
            -32700 key differs from another in case only at byte `46` <- {"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}
            -32700 key differs from another in case only at byte `24` <- {"jsonrpc":"2.0","id":1,"METHOD":"tools/call"}
            -32700 key differs from another in case only at byte `46` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{}}
            -32700 key differs from another in case only at byte `67` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}
            -32700 key differs from another in case only at byte `56` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"b"}}
            -32700 key differs from another in case only at byte `67` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","ARGUMENTS":{}}}
            -32700 key differs from another in case only at byte `67` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","argument\u017f":{}}}
            -32700 key differs from another in case only at byte `67` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","ta\u017f\u212aid":"x"}}
            -32700 key differs from another in case only at byte `67` <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","_Meta":{}}}
            -32700 key differs from another in case only at byte `56` <- {"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1,"X":2}}
            -32700 key differs from another in case only at byte `59` <- {"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"ProgressToken":2}}}
            -32700 key differs from another in case only at byte `59` <- {"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":""}}}
            -32700 key differs from another in case only at byte `50` <- {"jsonrpc":"2.0","id":1,"result":{"isError":false,"iserror":true}}
            request 1 tools/call     <- {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b","arguments":{"-a":1,"-A":2}}}"#]],
    );
}

/// Messages of servers with a key that is read, written in another case: alone, or next to the one that is read.
const VARIANTS: [&str; 27] = [
    r#"{"jsonrpc":"2.0","id":1,"result":{"ResultType":"input_required"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"resulttype":"input_required"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","InputRequests":{}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"inputrequest\u017f":{}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"Method":"roots/list"}}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"method":"m","Params":{}}}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"method":"m","params":{"Mode":"url"}}}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"method":"m"},"A":{"method":"m"}}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"StructuredContent":{}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"CONTENT":[]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"iserror":true}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"Tools":[]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"nextcursor":"a"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","Name":"b"}]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"b","InputSchema":{}}]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"a","NAME":"b"}]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"a:","Uri":"b:"}]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"resourceTemplates":[{"UriTemplate":"b:"}]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{"Tasks":{}}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"Capabilities":{"tasks":{}}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"_Meta":{}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","Data":{}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"Code":-32042,"message":"m"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"Elicitations":[]}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"URL":"a:"}]}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"Mode":"url"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"mode":"form","U\u0052L":"a:"}}"#,
];

#[test]
fn keys_of_servers_that_are_read_in_another_case_are_refused() {
    for text in VARIANTS {
        let error = decode(Bytes::from_static(text.as_bytes()), &Limits::reply());
        let fault = error.err().map(|error| error.fault);
        assert_eq!(fault, Some(DecodeFault::CaseVariantKey), "{text}");
    }
    // What is data of a tool, or means nothing to anybody here.
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"Items":[],"items":[]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","Text":"a"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"Name":1}}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":["Name",1,null,[{"Name":1}]]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":{"Host":1,"host":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":[{"Elicitations":1}]}}"#,
    ] {
        let read = decode(Bytes::from_static(text.as_bytes()), &Limits::reply());
        assert!(read.is_ok(), "{text}: {read:?}");
    }
}

#[test]
fn batches() {
    check(
        &[
            "[]",
            "[ ]",
            "[1]",
            r#"[[{"jsonrpc":"2.0","method":"x"}]]"#,
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/cancelled"}]"#,
            r#" [ {"jsonrpc":"2.0","id":1,"result":{}} , {"jsonrpc":"2.0","id":2,"result":{}} ] "#,
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0"}]"#,
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},]"#,
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]x"#,
        ],
        &expect![[r#"
            -32600 empty batch at byte `1` <- []
            -32600 empty batch at byte `2` <- [ ]
            -32600 not an object at byte `1` <- [1]
            -32600 not an object at byte `1` <- [[{"jsonrpc":"2.0","method":"x"}]]
            request 1 ping, notification notifications/cancelled <- [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/cancelled"}]
            result 1, result 2       <-  [ {"jsonrpc":"2.0","id":1,"result":{}} , {"jsonrpc":"2.0","id":2,"result":{}} ] 
            -32600 not a request, notification or response at byte `42` <- [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0"}]
            -32700 unexpected character at byte `42` <- [{"jsonrpc":"2.0","id":1,"method":"ping"},]
            -32700 unexpected end at byte `41` <- [{"jsonrpc":"2.0","id":1,"method":"ping"}
            -32700 trailing bytes at byte `42` <- [{"jsonrpc":"2.0","id":1,"method":"ping"}]x"#]],
    );
    let item = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let of = |count: usize| format!("[{}]", vec![item; count].join(","));
    assert!(read(&of(100)).is_ok());
    assert_eq!(
        read(&of(101)).expect_err("too long").fault.as_str(),
        "batch_too_long"
    );
}

#[test]
fn batch_items_stand_on_their_own_bytes() {
    let Ok(Body::Batch(messages)) = read(
        r#" [ {"jsonrpc":"2.0","id":1,"method":"ping"} , {"jsonrpc":"2.0","id":"b","method":"tools/call","params":{"name":"n"}} ]"#,
    ) else {
        panic!("a batch");
    };
    let Some(Message::Request(second)) = messages.get(1) else {
        panic!("a request");
    };
    assert_eq!(
        &second.bytes()[..],
        br#"{"jsonrpc":"2.0","id":"b","method":"tools/call","params":{"name":"n"}}"#
    );
    assert_eq!(second.subject(), Subject::Tool("n".into()));
    let renamed = second.with_id(&Id::from_integer(7));
    assert_eq!(
        &renamed.bytes()[..],
        br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"n"}}"#
    );
}

#[test]
fn what_goes_on_the_wire_is_what_was_judged() {
    let text =
        "{ \"jsonrpc\" : \"2.0\" ,\n\"id\":1e0, \"method\":\"ping\"}".replace("1e0", "\"\\u0061\"");
    let judged = request(&format!("  {text}\n"));
    assert_eq!(judged.bytes(), text.as_bytes());
    assert_eq!(judged.id().as_text(), Some("a"));
    assert_eq!(judged.id().as_json(), r#""\u0061""#);
}

#[test]
fn equal_ids_are_equal_however_they_are_written() {
    let id = |json: &str| Id::from_json(json).expect("an id");
    assert_eq!(id(r#""a""#), id(r#""\u0061""#));
    assert_ne!(id("1"), id(r#""1""#));
    assert_ne!(id("10"), id("1"));
    assert_eq!(
        Id::from_text("a\"b").expect("an id").as_text(),
        Some("a\"b")
    );
    let mut seen = std::collections::HashSet::new();
    assert!(seen.insert(id("1")) && seen.insert(id(r#""1""#)) && !seen.insert(id("1")));
    assert!(seen.insert(id(r#""\u0061""#)) && !seen.insert(id(r#""a""#)));
}

#[test]
fn meta_is_read() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{
        "io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientInfo":{"name":"c"},
        "io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}},
        "io.modelcontextprotocol/logLevel":"info",
        "progressToken":"p\u0031",
        "traceparent":"00-1-2-01","tracestate":"a=b","baggage":"x=y"},"cursor":"n"}}"#;
    let request = request(text);
    let meta = request.meta();
    assert_eq!(meta.protocol_version().as_deref(), Some("2026-07-28"));
    assert_eq!(
        meta.client_info()
            .and_then(|info| info.member("name"))
            .map(Raw::as_str),
        Some("\"c\"")
    );
    assert!(
        meta.client_capabilities()
            .and_then(|raw| raw.member("elicitation")?.member("url"))
            .is_some()
    );
    assert_eq!(meta.log_level().as_deref(), Some("info"));
    assert_eq!(meta.progress_token(), Id::from_text("p1"));
    assert_eq!(meta.traceparent().as_deref(), Some("00-1-2-01"));
    assert_eq!(meta.tracestate().as_deref(), Some("a=b"));
    assert_eq!(meta.baggage().as_deref(), Some("x=y"));
    assert_eq!(
        request.param("cursor").and_then(Raw::string).as_deref(),
        Some("n")
    );
    assert!(
        !meta.is_empty()
            && request
                .with_id(&Id::from_integer(12345))
                .meta()
                .progress_token()
                .is_some()
    );
}

#[test]
fn subjects() {
    let of = |method: &str, params: &str| {
        let request = request(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#
        ));
        format!("{:?}", request.subject())
    };
    let lines = [
        of("tools/call", r#"{"name":"a\u0062"}"#),
        of("tools/call", r#"{"name":7}"#),
        of("tools/call", r#"{}"#),
        of("prompts/get", r#"{"name":"p"}"#),
        of("resources/read", r#"{"uri":"file:///x"}"#),
        of("resources/subscribe", r#"{"uri":"file:///x"}"#),
        of(
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}}"#,
        ),
        of(
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"f:///{x}"},"argument":{"name":"x","value":""}}"#,
        ),
        of(
            "completion/complete",
            r#"{"ref":{"type":"ref/tool","name":"p"},"argument":{"name":"a","value":""}}"#,
        ),
        of("tasks/result", r#"{"taskId":"t"}"#),
        of("resources/templates/list", "{}"),
        of("subscriptions/listen", "{}"),
        of("initialize", "{}"),
        of("sampling/createMessage", "{}"),
        of("notifications/cancelled", "{}"),
        of("tools/Call", r#"{"name":"x"}"#),
    ];
    expect![[r#"
        Tool("ab")
        Missing
        Missing
        Prompt("p")
        Resource("file:///x")
        Resource("file:///x")
        Completion { reference: Prompt("p"), argument: "a" }
        Completion { reference: Resource("f:///{x}"), argument: "x" }
        Missing
        Task("t")
        Listing(ResourceTemplates)
        Subscription
        Session
        Client
        Unknown
        Unknown"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn splices_change_one_thing() {
    let call = request(
        r#"{ "jsonrpc":"2.0","params":{"name":"x","arguments":{"a":1.0}} ,"id" : 1,"method":"tools/call"}"#,
    );
    let changed = call.with_params(r#"{"name":"y"}"#).expect("legal");
    assert_eq!(
        &changed.bytes()[..],
        br#"{ "jsonrpc":"2.0","params":{"name":"y"} ,"id" : 1,"method":"tools/call"}"#
    );
    assert_eq!(changed.subject(), Subject::Tool("y".into()));
    assert!(call.with_params(r#"{"name":"y","name":"z"}"#).is_err());
    assert!(call.with_params(r#"{}, "id":2"#).is_err());
    assert!(call.with_params("[]").is_err());
    let bare = request(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
        .with_params(r#"{"a":1}"#)
        .expect("legal");
    assert_eq!(
        &bare.bytes()[..],
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1}}"#
    );

    let reply = response(r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true,"content":[]}}"#);
    assert!(reply.is_tool_error());
    let other = reply.with_result(r#"{"content":[1]}"#).expect("legal");
    assert_eq!(
        &other.bytes()[..],
        br#"{"jsonrpc":"2.0","id":1,"result":{"content":[1]}}"#
    );
    assert!(!other.is_tool_error());
    let failure = response(r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#);
    assert!(failure.with_result("{}").is_err());
    let early = response(r#"{"result":{},"jsonrpc":"2.0","id":1}"#);
    assert!(early.with_result(r#"{},"id":2,"result":{}"#).is_err());
    let bare = request(r#"{"jsonrpc":"2.0","method":"ping","id":1}"#);
    assert!(bare.with_params(r#"{},"x":1"#).is_err());
    let named = failure.with_id(&Id::from_integer(9));
    assert_eq!(
        &named.bytes()[..],
        br#"{"id":9,"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#
    );
    assert_eq!(named.error_code(), Some(-1));
    assert_eq!(
        &named.with_id(&Id::from_integer(10)).bytes()[..],
        br#"{"id":10,"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#
    );
}

#[test]
fn trap_18_ids_and_tokens_can_be_mapped() {
    let call = request(
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken" : 1,"x":1}}}"#,
    );
    let mapped = call.with_meta("progressToken", "\"gw-7\"").expect("legal");
    assert_eq!(mapped.meta().progress_token(), Id::from_text("gw-7"));
    assert_eq!(
        &mapped.bytes()[..],
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken" : "gw-7","x":1}}}"#
    );
    assert_eq!(
        call.with_meta("other", "1").expect("legal").bytes(),
        call.bytes()
    );
    assert!(call.with_meta("x", r#"1},"name":"smuggled""#).is_err());
    let balanced = r#"1},"name":"smuggled","y":{"z":1"#;
    assert!(call.with_meta("x", balanced).is_err());
    assert!(call.with_params(r#"{},"method":"ping""#).is_err());

    let Ok(Body::Single(Message::Notification(progress))) = read(
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"gw-7","progress":1}}"#,
    ) else {
        panic!("a notification");
    };
    let back = progress.with_param("progressToken", "1").expect("legal");
    assert_eq!(back.param("progressToken").and_then(Raw::integer), Some(1));
    let ended = response(
        r#"{"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
    );
    let ended = ended
        .with_meta("io.modelcontextprotocol/subscriptionId", "\"l\"")
        .expect("legal");
    assert_eq!(ended.meta().subscription_id(), Id::from_text("l"));
}

#[test]
fn our_own_messages_pass_our_own_rules() {
    use crate::encode;
    let id = Id::from_text("x\"\u{2028}").expect("an id");
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    let made = [
        encode::request(&id, &Method::ToolsCall, Some(r#"{"name":"a"}"#)),
        encode::notification(&Method::Progress, None),
        encode::result(&Id::from_integer(-3), "{}"),
        encode::error(Some(&id), -32601, "no\n\"method\"\u{0}", Some("{\"a\":1}")),
        encode::error(None, -32700, "bad", None),
    ];
    let texts: Vec<String> = made.iter().map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    check(
        &texts,
        &expect![[r#"
            request "x\"\u2028" tools/call <- {"jsonrpc":"2.0","id":"x\"\u2028","method":"tools/call","params":{"name":"a"}}
            notification notifications/progress <- {"jsonrpc":"2.0","method":"notifications/progress"}
            result -3                <- {"jsonrpc":"2.0","id":-3,"result":{}}
            error "x\"\u2028" -32601 <- {"jsonrpc":"2.0","id":"x\"\u2028","error":{"code":-32601,"message":"no\n\"method\"\u0000","data":{"a":1}}}
            error - -32700           <- {"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"bad"}}"#]],
    );
}

proptest! {
    #[test]
    fn with_id_changes_nothing_else(
        order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
        gap in prop::sample::select(vec!["", " ", "\n  "]),
        first in "[a-z\\\\\"é]{0,30}",
        number in any::<i64>(),
    ) {
        let one = crate::encode::escape(&first);
        let members = [
            r#""jsonrpc":"2.0""#.to_owned(),
            format!(r#""id":{gap}{one}"#),
            r#""method":"tools/call""#.to_owned(),
            r#""params":{"name":"t","arguments":{"id":"-","n":1.0},"_meta":{"progressToken":5}}"#.to_owned(),
        ];
        let parts: Vec<&str> = order.iter().map(|place| members[*place].as_str()).collect();
        let text = format!("{{{gap}{}{gap}}}", parts.join(&format!("{gap},{gap}")));
        let original = request(&text);
        let id = Id::from_integer(number);
        let renamed = original.with_id(&id);
        prop_assert_eq!(renamed.id(), &id);
        let wire = String::from_utf8(renamed.bytes().to_vec()).expect("text");
        prop_assert_eq!(&wire, &text.replace(&format!(r#""id":{gap}{one}"#), &format!(r#""id":{gap}{number}"#)));
        // Its places are those a fresh decode finds.
        let fresh = request(&wire);
        prop_assert_eq!(fresh.params(), renamed.params());
        prop_assert_eq!(fresh.param("arguments"), renamed.param("arguments"));
        prop_assert_eq!(fresh.meta().progress_token(), renamed.meta().progress_token());
        let back = renamed.with_id(original.id());
        prop_assert_eq!(back.bytes(), original.bytes());
    }
}

#[test]
fn keys_of_meta_are_set_and_left_out_and_nothing_else_changes() {
    let cases = [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"traceparent":"t"}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{ }}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{ "_meta":{"traceparent":"t"}}}"#,
        ),
        (
            r#"{"params": {"name" : "a", "arguments":{"n": 1.0, "_meta":{"traceparent":"own"}} } ,"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"params": {"name" : "a", "arguments":{"n": 1.0, "_meta":{"traceparent":"own"}} ,"_meta":{"traceparent":"t"}} ,"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a": [1 ],"trace\u0070arent":"old","baggage":"k=v","z":{}},"q":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":[1 ],"z":{},"traceparent":"t"},"q":1}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"_meta":{}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"_meta":{"traceparent":"t"}}}"#,
        ),
    ];
    for (before, after) in cases {
        let Ok(Body::Single(message)) = read(before) else {
            panic!("{before}");
        };
        let changed = message
            .with_meta_keys(&[("traceparent", Some("\"t\"")), ("baggage", None)])
            .expect("legal");
        assert_eq!(changed.bytes(), after);
        assert_eq!(changed.meta().traceparent().as_deref(), Some("t"));
        assert_eq!(changed.id(), message.id());
        let smuggled = message.with_meta_keys(&[("traceparent", Some(r#""t"},"name":"b""#))]);
        assert!(smuggled.is_err(), "{before}");
    }
    let Ok(Body::Single(plain)) = read(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#) else {
        panic!("a request");
    };
    let same = plain.with_meta_keys(&[("baggage", None)]).expect("legal");
    assert_eq!(same.bytes(), plain.bytes());
    let reply = Message::Response(response(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    assert!(reply.with_meta_keys(&[("baggage", None)]).is_err());
}
