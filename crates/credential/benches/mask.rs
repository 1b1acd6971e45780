//! What looking for a secret costs: a body of 64 KiB without one, in three shapes; and taking a credential that is valid.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Form, Reference, Settings, Source, Tails, Use};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

const LENGTH: usize = 64 * 1024;

fn filled(piece: &str) -> Vec<u8> {
    let text: String = piece.chars().cycle().take(LENGTH).collect();
    let text = serde_json::to_string(&text).unwrap();
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#
    )
    .into_bytes()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A source that holds a secret out of a file.
fn source(runtime: &Runtime) -> Arc<Source> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x7Qp-2LdV9mZ_kTa81+cReW/45=").unwrap();
    let reference = format!("file:{}", file.path().display());
    let server = ServerName::parse("crm").unwrap();
    let wanted = Use {
        reference: Reference::parse(&reference).unwrap(),
        form: Form::Bearer,
        terms: Default::default(),
    };
    let credentials = Credentials::new(&TaskTracker::new());
    let uses = BTreeMap::from([(server.clone(), wanted)]);
    runtime.block_on(async {
        credentials.configure(&Settings::default(), &uses).unwrap();
        let source = credentials.of(&server).unwrap();
        source.acquire().await.unwrap();
        source
    })
}

fn masks(criterion: &mut Criterion) {
    let source = source(&runtime());
    let mask = source.mask().unwrap();

    let mut group = criterion.benchmark_group("mask/64KiB");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    let shapes = [
        ("prose", "The quick brown fox jumps over the lazy dog. "),
        (
            "json_in_json",
            "{\"id\": 12345, \"name\": \"Some Customer\", \"open\": true},\n",
        ),
        (
            "base64",
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk",
        ),
    ];
    for (name, piece) in shapes {
        let body = filled(piece);
        group.bench_function(name, |bencher| {
            let mut tails = Tails::default();
            bencher.iter(|| black_box(mask.message(black_box(&body), &mut tails).is_some()));
        });
    }
    let escaped = String::from_utf8(filled("Größe 12, Übung, ")).unwrap();
    let escaped = escaped
        .replace('ö', "\\u00f6")
        .replace('ß', "\\u00df")
        .replace('Ü', "\\u00dc");
    group.bench_function("escaped", |bencher| {
        let mut tails = Tails::default();
        bencher.iter(|| {
            black_box(
                mask.message(black_box(escaped.as_bytes()), &mut tails)
                    .is_some(),
            )
        });
    });
    group.finish();
}

fn acquire(criterion: &mut Criterion) {
    let runtime = runtime();
    let source = source(&runtime);
    // A file is looked at again after five seconds; a variable of the environment would not be, but needs `set_var`.
    criterion.bench_function("acquire/valid", |bencher| {
        let source = Arc::clone(&source);
        bencher.iter_custom(|rounds| {
            runtime.block_on(async {
                source.acquire().await.unwrap();
                let began = std::time::Instant::now();
                for _ in 0..rounds {
                    black_box(source.acquire().await.unwrap());
                }
                began.elapsed()
            })
        });
    });
}

criterion_group!(all, masks, acquire);
criterion_main!(all);
