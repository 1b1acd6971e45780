//! Tokens nobody would write.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

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
