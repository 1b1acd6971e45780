//! Tokens nobody would write.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::oauth::jwt::Parts;

/// A good token, its key, and a runtime to ask in.
static WORLD: LazyLock<(World, String, tokio::runtime::Runtime)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let world = runtime.block_on(async { World::new().fetching() });
    let token = world.minted(&json!({}));
    runtime.block_on(world.ask(&token)).unwrap();
    (world, token, runtime)
});

fn refused(token: &[u8]) -> bool {
    let (world, _, runtime) = &*WORLD;
    runtime
        .block_on(world.tokens.authenticate(token, PATH, world.now))
        .is_err()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(parts) = Parts::of(&bytes) {
            drop(parts.read().map(|jwt| jwt.key_id()));
        }
    }

    #[test]
    fn no_texts_make_the_parser_panic(header in ".{0,80}", claims in ".{0,80}", made in "[A-Za-z0-9_-]{0,40}") {
        let text = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.{made}", text(&header), text(&claims));
        let parts = Parts::of(token.as_bytes());
        if let Ok(parts) = &parts {
            drop(parts.read().map(|jwt| jwt.key_id()));
        }
    }

    #[test]
    fn every_changed_byte_is_another_token(at in any::<prop::sample::Index>(), by in any::<u8>()) {
        let (_, token, _) = &*WORLD;
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != by);
        bytes[at] = by;
        prop_assert!(refused(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn every_cut_token_is_another_token(at in any::<prop::sample::Index>()) {
        let (_, token, _) = &*WORLD;
        prop_assert!(refused(&token.as_bytes()[..at.index(token.len())]));
    }
}
