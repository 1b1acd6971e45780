//! What decoding costs: `cargo bench -p keepgate-mcp`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keepgate_mcp::sse::{Decoder, Event, SseLimits, encode};
use keepgate_mcp::{Id, Limits, Mirrored, classify, decode};

/// The members a stateless request carries beside its own.
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

fn bodies() -> Vec<(&'static str, String)> {
    let call =
        r#""name":"get_weather","arguments":{"location":"Seattle, WA","unit":"celsius","days":5}"#;
    let stateful = format!(
        r#"{{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{{{call},"_meta":{{"progressToken":"7f3b6c1e-64ab-4c7e-9d0a-2b1f0d6f3a55"}}}}}}"#
    );
    let stateless =
        format!(r#"{{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{{{call},{META}}}}}"#);
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
        "The quick brown fox jumps over the lazy dog. ".repeat(1456)
    );
    let wide = format!(
        r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
        "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich. ".repeat(1100)
    );
    let escaped = format!(
        r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
        r#"{\"id\": 17, \"name\": \"a name\"}\n"#.repeat(2000)
    );
    let row = r#"{"id":17,"name":"Ada","mail":"ada@example.com","tags":["a","b"],"score":0.75,"active":true},"#;
    let rows = row.repeat(110);
    let structured = format!(
        r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[],"structuredContent":{{"items":[{}]}}}}}}"#,
        rows.trim_end_matches(',')
    );
    let keys: Vec<String> = (0..5000)
        .map(|number| format!(r#""key{number}":{number}"#))
        .collect();
    let object = format!(
        r#"{{"jsonrpc":"2.0","id":42,"result":{{"structuredContent":{{{}}}}}}}"#,
        keys.join(",")
    );
    vec![
        ("request_stateful", stateful),
        ("request_stateless", stateless),
        ("reply_64k_ascii", long),
        ("reply_64k_umlauts", wide),
        ("reply_64k_escapes", escaped),
        ("reply_10k_structured", structured),
        ("reply_5000_keys", object),
    ]
}

fn decoding(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("decode");
    for (name, text) in bodies() {
        let body = Bytes::from(text);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(black_box(body.clone()), &Limits::reply()));
        });
    }
    group.finish();
}

/// All the edge does with a small stateless request: headers, decode, era, subject, and another id for upstream.
fn request(bench: &mut Criterion) {
    let Some((_, text)) = bodies().into_iter().nth(1) else {
        return;
    };
    let body = Bytes::from(text);
    let headers: [(&str, &[u8]); 6] = [
        ("host", b"gw.example"),
        ("content-type", b"application/json"),
        ("accept", b"application/json, text/event-stream"),
        ("mcp-protocol-version", b"2026-07-28"),
        ("mcp-method", b"tools/call"),
        ("mcp-name", b"get_weather"),
    ];
    bench.bench_function("edge_stateless", |bencher| {
        bencher.iter(|| {
            let mirrored = Mirrored::read(black_box(headers)).ok()?;
            let body = decode(black_box(body.clone()), &Limits::request()).ok()?;
            let framing = classify(&mirrored, &body, None).ok()?;
            let message = body.messages().first()?;
            let keepgate_mcp::Message::Request(request) = message else {
                return None;
            };
            let renamed = request.with_id(&Id::from_integer(123_456));
            Some((
                framing,
                black_box(request.subject()).clone() == request.subject(),
                renamed.bytes().len(),
            ))
        });
    });
}

fn events(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("sse");
    for (name, size) in [("small", 200), ("64k", 64 << 10)] {
        let event = Event::message(Bytes::from(vec![b'x'; size]));
        let written = encode(&event);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("decode_{name}"), |bencher| {
            bencher.iter(|| {
                let mut decoder = Decoder::new(SseLimits::default());
                decoder.push(black_box(written.clone()));
                decoder.next()
            });
        });
        group.bench_function(format!("encode_{name}"), |bencher| {
            bencher.iter(|| encode(black_box(&event)));
        });
    }
    group.finish();
}

criterion_group!(benches, decoding, request, events);
criterion_main!(benches);
