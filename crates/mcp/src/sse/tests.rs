//! Tests of event streams.

use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Decoder, Event, SseError, SseLimits, encode};
use crate::json::{Limits, parse};

fn read(limits: SseLimits, chunks: &[&[u8]]) -> (Vec<Event>, Option<SseError>) {
    let mut decoder = Decoder::new(limits);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(next) = decoder.next() {
            match next {
                Ok(event) => events.push(event),
                Err(error) => {
                    assert!(decoder.next().is_none(), "nothing after an error");
                    return (events, Some(error));
                }
            }
        }
    }
    (events, None)
}

fn shown(event: &Event) -> String {
    let text = |part: &Option<Bytes>| {
        part.as_ref()
            .map_or_else(|| "-".into(), |part| format!("{part:?}"))
    };
    let data = if event.has_data {
        format!("{:?}", event.data)
    } else {
        "-".into()
    };
    let retry = event
        .retry
        .map_or_else(|| "-".into(), |retry| retry.to_string());
    format!(
        "id {} retry {retry} name {} data {data}",
        text(&event.id),
        text(&event.name)
    )
}

/// The events of one stream, a line each.
fn check(stream: &[u8], expected: &Expect) {
    let (events, error) = read(SseLimits::default(), &[stream]);
    let mut lines: Vec<String> = events.iter().map(shown).collect();
    lines.extend(error.map(|error| error.to_string()));
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn events_are_read() {
    check(
        b"data: {\"a\":1}\n\n",
        &expect![[r#"id - retry - name - data b"{\"a\":1}""#]],
    );
    check(
        b"event: message\nid: 7\nretry: 250\ndata: x\n\ndata:y\n\n",
        &expect![[r#"
            id b"7" retry 250 name b"message" data b"x"
            id - retry - name - data b"y""#]],
    );
    check(
        b"data: one\ndata:  two\ndata\ndata: four\n\n",
        &expect![[r#"id - retry - name - data b"one\n two\n\nfour""#]],
    );
}

#[test]
fn all_three_line_ends_are_read() {
    check(
        b"data: a\n\ndata: b\r\rdata: c\r\n\r\ndata: d\r\n\n",
        &expect![[r#"
            id - retry - name - data b"a"
            id - retry - name - data b"b"
            id - retry - name - data b"c"
            id - retry - name - data b"d""#]],
    );
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_only() {
    check(
        b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n",
        &expect![[r#"id - retry - name - data b"a""#]],
    );
}

#[test]
fn comments_and_unknown_fields_are_passed_over() {
    check(
        b": hello\n:\n\nfoo: bar\ndata: a\n:x\nDATA: no\n data: no\n\n",
        &expect![[r#"id - retry - name - data b"a""#]],
    );
}

#[test]
fn blocks_without_data_pass_on_ids_and_retries() {
    check(
        b"id: 1\ndata:\n\nretry: 9\n\nid\n\nevent: lonely\n\n",
        &expect![[r#"
            id b"1" retry - name - data b""
            id - retry 9 name - data -
            id b"" retry - name - data -"#]],
    );
}

#[test]
fn fields_with_bad_values_are_ignored() {
    check(
        b"id: a\x00b\nretry: 1x\nretry: -1\nretry:\nretry: 99999999999999999999999\nevent:\ndata: a\n\n",
        &expect![[r#"id - retry - name - data b"a""#]],
    );
    check(b"event: \xff\n\n", &expect!["event stream is not UTF-8"]);
}

#[test]
fn trap_21_an_unterminated_last_event_is_ignored() {
    check(
        b"data: a\n\ndata: b\n",
        &expect![[r#"id - retry - name - data b"a""#]],
    );
    check(
        b"data: a\n\ndata: b",
        &expect![[r#"id - retry - name - data b"a""#]],
    );
    let mut decoder = Decoder::new(SseLimits::default());
    decoder.push(Bytes::from_static(b"data: a\n\n"));
    assert!(decoder.next().is_some());
    assert!(decoder.is_between_events());
    decoder.push(Bytes::from_static(b"data: b\n"));
    assert!(decoder.next().is_none());
    assert!(!decoder.is_between_events());
}

#[test]
fn an_event_is_given_as_soon_as_its_blank_line_is_there() {
    // A CR ends the line at once; the LF that may follow in the next chunk must not be waited for, nor end another line.
    let mut decoder = Decoder::new(SseLimits::default());
    decoder.push(Bytes::from_static(b"data: a\r\n\r"));
    assert!(decoder.next().is_some());
    decoder.push(Bytes::from_static(b"\ndata: b\r\n"));
    assert!(decoder.next().is_none());
    decoder.push(Bytes::from_static(b"\r\n"));
    assert_eq!(decoder.next().expect("an event").expect("legal").data, "b");
}

#[test]
fn an_event_within_one_chunk_is_not_copied() {
    let chunk = Bytes::from(format!("data: {}\n\n", "x".repeat(100)));
    let inside = chunk.as_ptr() as usize..chunk.as_ptr() as usize + chunk.len();
    let mut decoder = Decoder::new(SseLimits::default());
    decoder.push(chunk);
    let event = decoder.next().expect("an event").expect("legal");
    assert!(inside.contains(&(event.data.as_ptr() as usize)));
}

#[test]
fn trap_21_caps_hold_while_reading() {
    let limits = SseLimits {
        line: 16,
        event: 10,
    };
    let error = |chunks: &[&[u8]]| read(limits, chunks).1;
    assert_eq!(error(&[b"data: 1234567890\n\n"]), None);
    assert_eq!(
        error(&[b"data: 12345678901\n\n"]),
        Some(SseError::LineTooLong)
    );
    // Without an end in sight, and in pieces.
    assert_eq!(
        error(&[b"data: 123456", b"7890", b"1"]),
        Some(SseError::LineTooLong)
    );
    assert_eq!(
        error(&[b": 34567890123456", b"7"]),
        Some(SseError::LineTooLong)
    );
    // Many short lines.
    assert_eq!(error(&[b"data: 12345\ndata: 1234\n\n"]), None);
    assert_eq!(
        error(&[b"data: 12345\ndata: 12345\n"]),
        Some(SseError::EventTooLarge)
    );
    assert_eq!(
        error(&[&b"data:\n".repeat(12)]),
        Some(SseError::EventTooLarge)
    );
    assert_eq!(error(&[&b"data:1\n\n".repeat(1000)]), None);
}

#[test]
fn trap_21_nothing_upstream_wrote_starts_a_line() {
    let event = Event {
        id: Some(Bytes::from_static(b"1\ndata: evil")),
        name: Some(Bytes::from_static(b"a\r\nid: 2\0")),
        data: Bytes::from_static(b"{\"a\":\r\n 1}\r\n\r\ndata: {\"evil\":1}\n\n"),
        retry: Some(3),
        has_data: true,
    };
    let written = encode(&event);
    let text = String::from_utf8(written.to_vec()).expect("text");
    expect![[r#"
        event: aid: 2
        id: 1data: evil
        retry: 3
        data: {"a":   1}    data: {"evil":1}  

    "#]]
    .assert_eq(&text);
    let (events, _) = read(SseLimits::default(), &[&written]);
    assert_eq!(events.len(), 1);
}

#[test]
fn judged_json_keeps_its_meaning_on_one_line() {
    let text = b"{ \"a\" :\r\n [1,\n\t2 ] }";
    parse(text, &Limits::request()).expect("legal");
    let written = encode(&Event::message(Bytes::from_static(text)));
    let (events, _) = read(SseLimits::default(), &[&written]);
    let before: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    let after: serde_json::Value = serde_json::from_slice(&events[0].data).expect("JSON");
    assert_eq!(before, after);
}

/// Streams made of what matters to a decoder.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "data",
        "data: ",
        "data:",
        "id: ",
        "event: ",
        "retry: ",
        "12",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "x",
        "é",
        "😀",
        "\u{feff}",
        "\0",
        "{\"a\":1}",
    ]);
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn every_split_gives_the_same_events(stream in stream(), cuts in prop::collection::vec(0_usize..12, 0..40), line in 8_usize..60) {
        let limits = SseLimits { line, event: 40 };
        let whole = read(limits, &[&stream]);
        let mut chunks = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts {
            let (chunk, tail) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        prop_assert_eq!(read(limits, &chunks), whole);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(read(limits, &bytes), read(limits, &[&stream]));
    }

    #[test]
    fn untaken_events_are_not_lost(stream in stream(), cut in 0_usize..80) {
        let whole = read(SseLimits::default(), &[&stream]).0;
        let (one, two) = stream.split_at(cut.min(stream.len()));
        let mut decoder = Decoder::new(SseLimits::default());
        decoder.push(Bytes::copy_from_slice(one));
        decoder.push(Bytes::copy_from_slice(two));
        let events: Vec<Event> = std::iter::from_fn(|| decoder.next()).map(|event| event.expect("legal")).collect();
        prop_assert_eq!(events, whole);
    }

    #[test]
    fn what_is_written_reads_back(
        id in proptest::option::of("[a-z0-9é]{0,9}"),
        name in proptest::option::of("[a-z/]{1,9}"),
        retry in proptest::option::of(any::<u64>()),
        data in "[a-z{}:,é]{0,90}",
    ) {
        let event = Event {
            id: id.map(Bytes::from),
            name: name.map(Bytes::from),
            retry,
            data: Bytes::from(data),
            has_data: true,
        };
        let (events, error) = read(SseLimits::default(), &[&encode(&event)]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(events, vec![event]);
    }
}

#[test]
fn a_look_reads_so_many_lines_at_most_and_loses_none() {
    for piece in [
        "\n",
        "\r\n",
        ": x\n",
        "event: x\n\n",
        "id: 1\r",
        "data: a\n\n",
        "data\n",
    ] {
        let text = piece.repeat(100);
        let whole = |lines: usize| {
            let mut decoder = Decoder::new(SseLimits::default());
            decoder.push(Bytes::from(text.clone()));
            let (mut events, mut looks) = (Vec::new(), 0);
            loop {
                looks += 1;
                match decoder.next_within(lines) {
                    Some(event) => events.push(event.expect("legal")),
                    None if decoder.has_lines() => {}
                    None => return (events, looks, decoder.held()),
                }
            }
        };
        let (events, _, held) = whole(usize::MAX);
        for lines in [1, 2, 7] {
            let (same, looks, rest) = whole(lines);
            assert_eq!((&same, rest), (&events, held), "{piece:?}");
            // A run of blank lines is one.
            let least = if piece.trim().is_empty() {
                1
            } else {
                100 / lines
            };
            assert!(looks >= least, "{piece:?}: {looks} looks");
        }
    }
}
