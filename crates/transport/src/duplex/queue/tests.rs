//! Messages that a queue drops, and what it is charged for the others.

use bytes::Bytes;
use keepgate_mcp::{Body, Limits, decode};

use super::*;

fn message(text: String) -> Message {
    match decode(text.into(), &Limits::reply()).unwrap() {
        Body::Single(message) => message,
        Body::Batch(_) => panic!("a batch"),
    }
}

fn notification(data: &str) -> Message {
    message(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{data}"}}}}"#
    ))
}

fn request(id: usize) -> Message {
    message(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#))
}

fn drain(queue: &Queue) -> Vec<Bytes> {
    let mut context = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    while let Poll::Ready(Some(Ok(message))) = queue.poll(&mut context) {
        seen.push(message.bytes().clone());
    }
    seen
}

#[test]
fn notifications_go_before_requests_and_old_before_new() {
    let queue = Queue::new(3, &Budget::default());
    let all = [
        request(1),
        notification("a"),
        notification("b"),
        request(2),
        request(3),
    ];
    let dropped: Vec<usize> = all
        .iter()
        .cloned()
        .map(|message| queue.push(message))
        .collect();
    assert_eq!(dropped, [0, 0, 0, 1, 1]);
    let kept = [&all[0], &all[3], &all[4]].map(|message| message.bytes().clone());
    assert_eq!(drain(&queue), kept);
}

#[test]
fn bytes_are_bounded_but_one_message_always_fits() {
    let queue = Queue::new(1000, &Budget::default());
    let long = notification(&"x".repeat(7 << 20));
    let dropped: Vec<usize> = (0..4).map(|_| queue.push(long.clone())).collect();
    assert_eq!(dropped, [0, 0, 1, 1]);
    assert_eq!(drain(&queue).len(), 2);
    assert_eq!(queue.lock().bytes, 0);
}

#[test]
fn an_ended_queue_takes_nothing_and_tells_its_error_once() {
    let queue = Queue::new(3, &Budget::default());
    queue.push(request(1));
    queue.end(Err(DuplexError::Closed));
    assert_eq!(queue.push(request(2)), 1);
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(queue.poll(&mut context), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(
        queue.poll(&mut context),
        Poll::Ready(Some(Err(DuplexError::Closed)))
    ));
    assert!(matches!(queue.poll(&mut context), Poll::Ready(None)));
}

#[test]
fn what_waits_is_charged_and_given_back() {
    let memory = Budget::new(4_000);
    let queue = Queue::new(1000, &memory);
    let text = "x".repeat(1_000);
    for _ in 0..3 {
        assert_eq!(queue.push(notification(&text)), 0);
    }
    assert!(memory.left().unwrap() < 1_000);
    assert_eq!(queue.push(notification(&text)), 1, "the oldest makes room");
    assert_eq!(
        queue.push(notification(&"x".repeat(5_000))),
        4,
        "too long alone"
    );
    assert_eq!(memory.left(), Some(4_000));
    queue.finish(message(format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{}"}}}}"#,
        "x".repeat(20_000)
    )));
    let mut context = Context::from_waker(Waker::noop());
    let polled = queue.poll(&mut context);
    assert!(matches!(
        polled,
        Poll::Ready(Some(Err(DuplexError::NoMemory(_))))
    ));
    let queue = Queue::new(1000, &memory);
    queue.push(notification(&text));
    drop(queue);
    assert_eq!(memory.left(), Some(4_000));
}
