//! Clients that do not read, on a clock that goes on when nothing else can.

use std::time::Duration;

use futures_util::StreamExt;
use keepgate_call::{CallerKind, HttpTransport, Proof, Tenant};
use keepgate_mcp::{Body, Limits as Decoding, decode};
use keepgate_transport::memory::Budget;
use tokio::time::{Instant, timeout};

use super::*;
use crate::{
    session::{Definition, EventKey},
    settings::Limits,
};

fn message() -> Message {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let Ok(Body::Single(message)) = decode(body.into(), &Decoding::reply()) else {
        panic!("a message");
    };
    message
}

fn opened() -> (Sessions, Arc<Channel>, Messages) {
    let key = EventKey::random().unwrap();
    let sessions = Sessions::new(&Arc::default(), &Budget::new(1 << 20), key, None);
    let proof = Proof::new(Tenant::default(), CallerKind::Machine, "alice");
    let (caller, server) = (Caller::new(proof), ServerName::parse("crm").unwrap());
    let limits = Limits::default();
    let opening = sessions.open(
        &limits,
        &Arc::new(caller),
        &server,
        Definition::default(),
        None,
        HttpTransport::Sse,
    );
    let (channel, messages) = sessions.attach(opening.unwrap(), 4);
    (sessions, channel, messages)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up() {
    let (_sessions, channel, mut messages) = opened();
    let place = channel.enter();
    assert!(channel.send(message()).await, "one message waits");
    let began = Instant::now();
    // Without a deadline of its own this is the only thing that ends it.
    let sent = timeout(Duration::from_secs(3600), channel.send(message())).await;
    assert_eq!(sent, Ok(false), "it waits for the client for ever");
    assert_eq!(began.elapsed(), PATIENCE);
    assert!(channel.is_stalled() && !channel.is_closed());
    // One that reads in time is not.
    let (_sessions, channel, mut slow) = opened();
    let reader = async {
        for _ in 0..5 {
            tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
            assert!(slow.next().await.is_some());
        }
    };
    let writer = async {
        for _ in 0..5 {
            assert!(channel.send(message()).await);
        }
    };
    tokio::join!(reader, writer);
    assert!(!channel.is_stalled());
    drop(place);
    assert!(messages.next().await.is_some());
}
