//! The relay, and that what it writes reads as what it was given.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::stream;
use http_body_util::BodyExt;
use keepgate_mcp::sse::{Decoder, SseLimits};
use proptest::prelude::*;

use tokio::time::Instant;

use super::*;

fn event(data: &'static str) -> Event {
    Event {
        data: Bytes::from_static(data.as_bytes()),
        has_data: true,
        ..Event::default()
    }
}

/// Decodes text cut at `cuts`.
fn decode(text: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut decoder = Decoder::new(SseLimits::default());
    let mut events = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        decoder.push(Bytes::copy_from_slice(&text[pair[0]..pair[1]]));
        while let Some(event) = decoder.next() {
            events.push(event.unwrap());
        }
    }
    events
}

async fn text(body: Body) -> Vec<u8> {
    let mut body = body;
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    text
}

#[tokio::test]
async fn each_event_is_a_frame_of_its_own() {
    let mut body = relay(
        stream::iter([event("1"), event("2")]),
        Duration::from_secs(9),
    );
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "data: 1\n\n");
    let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(second, "data: 2\n\n");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_comments_until_an_event_comes() {
    let late = stream::once(async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        event("late")
    });
    let begun = Instant::now();
    let mut body = Box::pin(relay(late, Duration::from_secs(10)));
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        seen.push((
            begun.elapsed().as_secs(),
            frame.unwrap().into_data().unwrap(),
        ));
    }
    let comment = Bytes::from_static(b":\n\n");
    let event = Bytes::from_static(b"data: late\n\n");
    assert_eq!(seen, [(10, comment.clone()), (20, comment), (25, event)]);
}

#[tokio::test]
async fn the_source_is_asked_only_as_the_reader_reads() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let source = stream::repeat_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        event("x")
    });
    let mut body = relay(source, Duration::from_secs(9));
    for taken in 1..4 {
        body.frame().await.unwrap().unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), taken);
    }
}

/// Text with everything that ends lines or fields, and characters of several bytes.
fn wire() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("data: {\"a\": 1}".to_owned()),
        Just("data".to_owned()),
        Just("data:x".to_owned()),
        Just("id: e1".to_owned()),
        Just("id:".to_owned()),
        Just("event: message".to_owned()),
        Just("retry: 15".to_owned()),
        Just("retry: soon".to_owned()),
        Just(": comment".to_owned()),
        Just("unknown: x".to_owned()),
        "data: \\PC{0,12}",
        Just(String::new()),
        Just(String::new()),
    ];
    let line = (piece, prop_oneof![Just("\n"), Just("\r\n"), Just("\r")]);
    prop::collection::vec(line, 0..40)
        .prop_map(|lines| lines.into_iter().map(|(piece, end)| piece + end).collect())
}

proptest! {
    #[test]
    fn a_relayed_stream_reads_as_the_one_it_came_from(
        text in wire(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        cuts_again in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let whole = decode(text.as_bytes(), &[]);
        let pieces = decode(text.as_bytes(), &cuts);
        prop_assert_eq!(&whole, &pieces);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let relayed = runtime.block_on(self::text(relay(stream::iter(pieces), Duration::from_secs(60))));
        let again = decode(&relayed, &cuts_again);
        // A line break in data can only be space between tokens and is written as one.
        let flat: Vec<Event> = whole.into_iter().map(flat).collect();
        prop_assert_eq!(again, flat);
    }
}

fn flat(mut event: Event) -> Event {
    let data: Vec<u8> = event
        .data
        .iter()
        .map(|&byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                byte
            }
        })
        .collect();
    event.data = data.into();
    event
}
