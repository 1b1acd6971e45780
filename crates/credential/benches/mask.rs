//! Cost of the search for one secret and for 1,000: in a small body, and in 64 KiB of four shapes without one; and of taking a
//! credential that is valid.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot be set up stops, and one prints its memory"
)]

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Form, Live, Reference, Settings, Source, Tails, Use};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
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

/// A source that holds a secret out of a file, and the search for `count` secrets, settled.
fn source(runtime: &Runtime, count: usize) -> (Arc<Source>, Arc<Live>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut uses = BTreeMap::new();
    let mut seed = 7_u64;
    for number in 0..count {
        let path = directory.path().join(number.to_string());
        let secret: String = (0..40)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                char::from(*ALPHABET.get((seed >> 58) as usize).unwrap())
            })
            .collect();
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let wanted = Use {
            reference: Reference::parse(&format!("file:{}", path.display())).unwrap(),
            form: Form::Bearer,
            terms: Default::default(),
        };
        uses.insert(
            ServerName::parse(&format!("server-{number}")).unwrap(),
            vec![wanted],
        );
    }
    let credentials = Credentials::new(&TaskTracker::new());
    runtime.block_on(async {
        credentials.configure(&Settings::default(), &uses).unwrap();
        for server in uses.keys() {
            credentials.of(server).unwrap().acquire().await.unwrap();
        }
        while credentials.live().builds() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    });
    let source = credentials.of(uses.keys().next().unwrap()).unwrap();
    (source, Arc::clone(credentials.live()), directory)
}

fn masks(criterion: &mut Criterion) {
    for count in [1, 1000] {
        let (_, live, _kept) = source(&runtime(), count);
        println!(
            "{count} secrets of 40 bytes: {} bytes of memory",
            live.size()
        );
        mask(criterion, &live, count);
    }
}

fn mask(criterion: &mut Criterion, mask: &Live, count: usize) {
    let small = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Nothing was found."}]}}"#;
    criterion.bench_function(&format!("mask/small/{count}"), |bencher| {
        let mut tails = Tails::default();
        bencher.iter(|| black_box(mask.message(black_box(small), &mut tails).is_some()));
    });
    let mut group = criterion.benchmark_group(format!("mask/64KiB/{count}"));
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
    let (source, _, _kept) = source(&runtime, 1);
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
