//! Answers whose streams end in a panic.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use keepgate_call::{
    Ask, Call, Caller, CallerKind, DecisionId, Events, Proof, ServerName, Tenant, UpstreamId,
};
use keepgate_mcp::revision::Revision;

use super::finished;
use crate::render::decoded;

#[tokio::test]
async fn a_stream_that_panics_is_answered_with_a_possible_effect() {
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete"}}"#;
    let request = decoded(Bytes::from_static(body.as_bytes())).expect("a message");
    let proof = Proof::new(Tenant::new("a"), CallerKind::Machine, "agent");
    let call = Arc::new(Call::new(
        DecisionId::new(0, 0),
        UpstreamId::new(1),
        SystemTime::now(),
        Arc::new(Caller::new(proof)),
        ServerName::parse("crm").expect("a name"),
        Revision::LATEST_STATEFUL,
        Ask::Message(request),
    ));
    let events: Events = Box::pin(stream::poll_fn(|_context| panic!("on purpose")));
    let items: Vec<_> = finished(&call, events).collect().await;
    assert_eq!(items.len(), 1, "{items:?}");
    let item = items.into_iter().next().expect("an item").expect("no cut");
    let message = item.message.expect("a message");
    let text = std::str::from_utf8(message.bytes()).expect("UTF-8");
    assert!(text.contains(r#""id":7"#), "{text}");
    assert!(text.contains(r#""code":"internal""#), "{text}");
    assert!(text.contains(r#""effect":"possible""#), "{text}");
}
