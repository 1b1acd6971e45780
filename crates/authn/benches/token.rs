//! What an access token costs: `cargo bench -p keepgate-authn`. The budget of one that was seen before is a microsecond.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has nothing to report"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use keepgate_authn::Authenticator;
use keepgate_authn::oauth::{
    Fetch, Fetching, IssuerSettings, IssuerUrl, ResourceServer, TokenSettings, Tokens,
};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use tokio::runtime::Builder;

const ISSUER: &str = "https://idp.example";

/// Knows one document.
#[derive(Debug)]
struct Keys(Vec<u8>);

impl Fetch for Keys {
    fn fetch<'a>(&'a self, _url: &'a str, _cap: usize) -> Fetching<'a> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

/// A gateway that believes one issuer with this key.
fn authenticator(key: &Ed25519KeyPair) -> Arc<Authenticator> {
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": URL_SAFE_NO_PAD.encode(key.public_key().as_ref())}]});
    let mut issuer = IssuerSettings::new(
        IssuerUrl::parse(ISSUER).unwrap(),
        Arc::new(Keys(set.to_string().into_bytes())),
    );
    issuer.keys = Some(format!("{ISSUER}/keys"));
    let settings = TokenSettings {
        resource: ResourceServer::new("https://gw.example", vec![ISSUER.to_owned()], Vec::new())
            .unwrap(),
        issuers: vec![issuer],
    };
    Arc::new(Authenticator::tokens(Tokens::new(settings).unwrap(), None).unwrap())
}

fn token(bench: &mut Criterion) {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
    let authn = authenticator(&key);
    let now = SystemTime::now();
    let end = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3600;
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k"}).to_string();
    let made = |number: u64| {
        let claims = json!({
            "iss": ISSUER, "sub": "ada", "aud": "https://gw.example/crm/mcp", "exp": end, "jti": number,
            "client_id": "app", "scope": "crm:read crm:write", "groups": vec!["a-group-of-some-length"; 16],
        });
        let signed = format!(
            "{}.{}",
            text(header.as_bytes()),
            text(claims.to_string().as_bytes())
        );
        format!(
            "Bearer {signed}.{}",
            text(key.sign(signed.as_bytes()).as_ref())
        )
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let fresh = Arc::clone(&authn);
    runtime.spawn(async move { fresh.keep_fresh().await });
    let known = made(0);
    let ask = |header: &str| {
        runtime
            .block_on(authn.authenticate(Some(header.as_bytes()), "/crm/mcp", now))
            .unwrap()
    };
    ask(&known);
    let name = format!("token, seen before ({} bytes)", known.len());
    bench.bench_function(&name, |bench| bench.iter(|| ask(black_box(&known))));
    let mut number = 0;
    bench.bench_function("token, first seen", |bench| {
        bench.iter_batched(
            || {
                number += 1;
                made(number)
            },
            |header| ask(&header),
            criterion::BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, token);
criterion_main!(benches);
