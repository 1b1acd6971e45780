//! Any stream in any chunks: the events are those of the stream in one piece, the caps hold, and what we write back reads
//! as the same event.

#![no_main]

use bytes::Bytes;
use keepgate_mcp::sse::{Decoder, Event, SseError, SseLimits, encode};
use libfuzzer_sys::fuzz_target;

const LIMITS: SseLimits = SseLimits {
    line: 512,
    event: 600,
};

fuzz_target!(|data: (Vec<u8>, Vec<u8>)| {
    let (stream, cuts) = data;
    let whole = read(LIMITS, &[stream.as_slice()]);
    let mut pieces = Vec::new();
    let mut rest = stream.as_slice();
    for cut in cuts {
        let (piece, tail) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    assert_eq!(read(LIMITS, &pieces), whole);
    for event in whole.0 {
        assert!(event.data.len() <= LIMITS.event);
        let written = encode(&event);
        let (events, error) = read(SseLimits::default(), &[&written]);
        assert_eq!(error, None);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].id, event.id);
        assert_eq!(events[0].name, event.name);
        assert_eq!(events[0].data.len(), event.data.len());
    }
});

fn read(limits: SseLimits, pieces: &[&[u8]]) -> (Vec<Event>, Option<SseError>) {
    let mut decoder = Decoder::new(limits);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(next) = decoder.next() {
            match next {
                Ok(event) => events.push(event),
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}
