//! The fake vault is driven by PyPI's `hvac`, so that its forms are the API's and not only ours.

use keepgate_tests::{FakeVault, vault::Mood};

use crate::peers::hvac;

#[tokio::test(flavor = "multi_thread")]
async fn hvac_takes_the_fake_for_a_vault() {
    let fake = FakeVault::start().await;
    fake.content().namespace = Some("team".to_owned());
    let said = hvac(
        &fake.address,
        "everything",
        &["team", "role", "role-secret-id"],
    )
    .await;
    assert!(said.contains("all as it should be"), "{said}");
    assert!(fake.content().leases.is_empty());
    for (mood, exception) in [
        (Mood::Sealed, "VaultDown"),
        (Mood::Limited, "RateLimitExceeded"),
        (Mood::Uninitialised, "VaultNotInitialized"),
        (Mood::Broken, "InternalServerError"),
    ] {
        fake.content().mood = mood;
        let said = hvac(&fake.address, "read", &["team"]).await;
        assert!(said.contains(exception), "{said}");
    }
}
