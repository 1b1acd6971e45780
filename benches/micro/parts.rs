//! What the parts cost that have no bench of their own crate's: `cargo bench -p keepgate-benches`.
//!
//! Decoding and judging are measured beside their crates: `cargo bench -p keepgate-mcp -p keepgate-policy`.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has nothing to report"
)]

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keepgate_audit::{Caller, Decision, Kind, Log, Record, Settings};
use keepgate_authn::{ApiKeys, Authenticator, KeyRequest};
use tokio::runtime::Builder;

fn record() -> Record<'static> {
    let mut record = Record::new(Kind::CallIntent, SystemTime::now());
    record.decision_id = Some("01901234-5678-7fff-bfff-ffffffffffff");
    record.tenant = Some("default");
    record.caller = Some(Caller {
        kind: "machine",
        user_id: "bench",
        key_id: Some("0123456789abcdef"),
        issuer: None,
        client_id: None,
    });
    record.server = Some("crm");
    record.method = Some("tools/call");
    record.tool_name = Some("query_database");
    record.protocol_version = Some("2025-11-25");
    record.args_digest = Some("b3:0123456789abcdef0123456789abcdef0123456789a");
    record.decision = Some(Decision::Allow);
    record.policy_rev = Some("0123456789abcdef0123456789abcdef");
    record
}

/// Time from queueing a record until it is durable, alone and with 63 others in flight.
fn append(bench: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(Settings::new(
        folder.path().join("log"),
        "keepgate.bench/log",
        "bench",
    ));
    let log = log.unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = bench.benchmark_group("append");
    for together in [1_u64, 64] {
        group.throughput(Throughput::Elements(together));
        group.bench_function(format!("{together}_in_flight"), |bench| {
            bench.iter(|| {
                runtime.block_on(async {
                    let waits: Vec<_> = (0..together).map(|_| log.append(&record())).collect();
                    for wait in waits {
                        wait.await.unwrap();
                    }
                });
            });
        });
    }
    group.finish();
    log.close();
}

/// Keyed digest of arguments.
fn digest(bench: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(Settings::new(
        folder.path().join("log"),
        "keepgate.bench/log",
        "bench",
    ));
    let log = log.unwrap();
    let arguments = vec![b'x'; 200];
    bench.bench_function("digest_200_bytes", |bench| {
        bench.iter(|| log.digest("default", "args", black_box(&arguments)));
    });
    log.close();
}

/// The outcome of what waits for nothing.
fn at_once<T>(asked: impl Future<Output = T>) -> T {
    match pin!(asked).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("a known credential is waited for"),
    }
}

/// From an `Authorization` header to a caller, with a hundred keys in the store.
fn authenticate(bench: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(folder.path()).unwrap();
    let now = SystemTime::now();
    let mut header = Vec::new();
    for number in 0..100 {
        let request = KeyRequest {
            subject: format!("caller-{number}"),
            owner: None,
            roles: vec!["analyst".into()],
            scopes: vec!["reports".into()],
            tenant: String::new(),
            servers: None,
            expires: None,
        };
        let created = keys.create(request, now).unwrap();
        header = format!("Bearer {}", created.secret.as_str()).into_bytes();
    }
    let authenticator = Authenticator::keys(folder.path()).unwrap();
    bench.bench_function("authenticate", |bench| {
        bench.iter(|| {
            let asked = authenticator.authenticate(Some(black_box(&header)), "/up/mcp", now);
            at_once(asked).unwrap()
        });
    });
}

criterion_group!(parts, append, digest, authenticate);
criterion_main!(parts);
