//! Where keys come from: discovery, rotation, outages, and floods of tokens with keys nobody has.

use super::*;
use crate::oauth::issuer::{OUTAGE, PAUSE, REFRESH};
use keepgate_jose::MAX_KEYS;

/// Longer than anything but a pause takes here.
const MOMENT: Duration = Duration::from_secs(1);

/// Lets everything run that is due within `time`.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn metadata_are_found_where_either_standard_puts_them() {
    for place in [
        METADATA,
        "https://idp.example/.well-known/openid-configuration/realms/acme",
        "https://idp.example/realms/acme/.well-known/openid-configuration",
    ] {
        let world = World::new();
        world.documents.held().remove(METADATA);
        world
            .documents
            .put(place, &json!({"issuer": ISSUER, "jwks_uri": JWKS}));
        let world = world.fetching();
        assert!(
            world.ask(&world.minted(&json!({}))).await.is_ok(),
            "{place}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_that_cannot_be_believed_leave_every_token_unknown() {
    let wrong = [
        json!({"issuer": "https://evil.example", "jwks_uri": JWKS}),
        json!({"issuer": format!("{ISSUER}/"), "jwks_uri": JWKS}),
        json!({"issuer": [ISSUER], "jwks_uri": JWKS}),
        json!({"jwks_uri": JWKS}),
        json!({"issuer": ISSUER}),
        json!({"issuer": ISSUER, "jwks_uri": "http://idp.example/keys"}),
        json!({"issuer": ISSUER, "jwks_uri": "http://127.0.0.1/keys"}),
        json!({"issuer": ISSUER, "jwks_uri": "https://a@idp.example/keys"}),
        json!({"issuer": ISSUER, "jwks_uri": "file:///keys"}),
    ];
    let mut texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    texts.push(format!(
        r#"{{"issuer":"x","issuer":"{ISSUER}","jwks_uri":"{JWKS}"}}"#
    ));
    texts.push("<html>".to_owned());
    for text in texts {
        let world = World::new();
        let keys = json!({"keys": world.keys.set("")});
        world.documents.put(METADATA, &text);
        for place in [
            "http://idp.example/keys",
            "http://127.0.0.1/keys",
            "https://a@idp.example/keys",
        ] {
            world.documents.put(place, &keys);
        }
        let world = world.fetching();
        let answer = world.ask(&world.minted(&json!({}))).await;
        assert_eq!(answer.err(), Some(TokenError::Unavailable), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_not_for_signatures_are_left_out() {
    let world = World::new();
    let mut set = world.keys.set("");
    for (key, changed) in set.iter_mut().zip([
        json!({"use": "enc"}),
        json!({"alg": "ES256K"}),
        json!({"key_ops": ["sign"]}),
        json!({"n": "AQAB"}),
    ]) {
        key.as_object_mut()
            .unwrap()
            .extend(changed.as_object().unwrap().clone());
    }
    set.push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "es", "alg": "HS256"}));
    set.push(json!("no key"));
    world.documents.put(JWKS, &json!({"keys": set}));
    let world = world.fetching();
    for (algorithm, kid) in [("ES256", "es"), ("ES384", "es384"), ("EdDSA", "ed")] {
        let header = header(&json!({"alg": algorithm, "kid": kid}));
        let answer = world.ask(&world.keys.token(&header, &world.claims())).await;
        assert_eq!(answer.err(), Some(TokenError::Key), "{algorithm}");
        pass(2 * PAUSE + MOMENT).await;
    }
    // A key too small to be one is refused by the library.
    let header = header(&json!({"alg": "RS256", "kid": "rsa"}));
    let answer = world.ask(&world.keys.token(&header, &world.claims())).await;
    assert_eq!(answer.err(), Some(TokenError::Signature));
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_key_id_is_known_only_where_one_key_fits() {
    let world = World::new().fetching();
    let token = |algorithm: &str| {
        let header = header(&json!({"alg": algorithm, "kid": null}));
        world.keys.token(&header, &world.claims())
    };
    assert!(world.ask(&token("ES256")).await.is_ok());
    let mut set = world.keys.set("");
    set.extend(Keys::new().set("other-"));
    world.documents.put(JWKS, &json!({"keys": set}));
    pass(REFRESH + PAUSE).await;
    let fresh = token("ES256");
    assert_eq!(world.ask(&fresh).await.err(), Some(TokenError::Key));
}

#[tokio::test(start_paused = true)]
async fn new_keys_are_fetched_when_a_token_needs_them() {
    let mut world = World::new().fetching();
    let old = world.minted(&json!({}));
    assert!(world.ask(&old).await.is_ok());
    pass(PAUSE + MOMENT).await;
    let old_set = world.keys.set("");
    world.keys = Keys::new();
    let mut both = world.keys.set("new-");
    both.extend(old_set);
    world.documents.put(JWKS, &json!({"keys": both}));
    let header = header(&json!({"kid": "new-es"}));
    let new = world.keys.token(&header, &world.claims());
    assert!(world.ask(&new).await.is_ok());
    assert!(world.ask(&old).await.is_ok());
    assert_eq!(world.documents.fetches(), 2);

    // The old key is withdrawn: what it signed is nobody from the next fetch on, remembered or not.
    world
        .documents
        .put(JWKS, &json!({"keys": world.keys.set("new-")}));
    pass(REFRESH + PAUSE).await;
    assert_eq!(world.ask(&old).await.err(), Some(TokenError::Key));
    assert!(world.ask(&new).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_back_changed_under_its_id_vouches_for_nothing_old() {
    let mut world = World::new().fetching();
    let old = world.minted(&json!({}));
    assert!(world.ask(&old).await.is_ok());
    world.keys = Keys::new();
    world
        .documents
        .put(JWKS, &json!({"keys": world.keys.set("")}));
    pass(REFRESH + PAUSE).await;
    assert_eq!(world.ask(&old).await.err(), Some(TokenError::Signature));
    assert!(world.ask(&world.minted(&json!({}))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_causes_few_fetches() {
    let world = Arc::new(World::new().fetching());
    assert!(world.ask(&world.minted(&json!({}))).await.is_ok());
    pass(PAUSE + MOMENT).await;
    let before = world.documents.fetches();
    let began = tokio::time::Instant::now();
    for round in 0..20 {
        let asked: Vec<_> = (0..200)
            .map(|number| {
                let world = Arc::clone(&world);
                let header = header(&json!({"kid": format!("k-{round}-{number}")}));
                let token = world.keys.token(&header, &world.claims());
                tokio::spawn(async move { world.ask(&token).await.err() })
            })
            .collect();
        for one in asked {
            let error = one.await.unwrap();
            assert!(
                matches!(error, Some(TokenError::Key | TokenError::Unavailable)),
                "{error:?}"
            );
        }
        pass(Duration::from_secs(1)).await;
    }
    let most = usize::try_from(2 * began.elapsed().as_secs() / PAUSE.as_secs()).unwrap() + 2;
    let fetches = world.documents.fetches() - before;
    assert!((1..=most).contains(&fetches), "{fetches} fetches");
    assert!(world.ask(&world.minted(&json!({}))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_key_that_was_just_rotated_are_not_refused_for_it() {
    let mut world = World::new().fetching();
    assert!(world.ask(&world.minted(&json!({}))).await.is_ok());
    let of_key = |world: &World, id: &str| {
        let header = header(&json!({"kid": id}));
        world.keys.token(&header, &world.claims())
    };
    // Rotated a moment after the fetch: there is an early one.
    pass(MOMENT).await;
    world.keys = Keys::new();
    world
        .documents
        .put(JWKS, &json!({"keys": world.keys.set("second-")}));
    let second = of_key(&world, "second-es");
    assert!(world.ask(&second).await.is_ok());
    assert_eq!(world.documents.fetches(), 2);
    // Once more: now nobody knows until the pause is over, and 401 would be wrong.
    world.keys = Keys::new();
    world
        .documents
        .put(JWKS, &json!({"keys": world.keys.set("third-")}));
    let third = of_key(&world, "third-es");
    assert_eq!(world.ask(&third).await.err(), Some(TokenError::Unavailable));
    // A key the issuer had and withdrew is known to be over, however many ask for unknown ones.
    let first = of_key(&world, "es");
    assert_eq!(world.ask(&first).await.err(), Some(TokenError::Key));
    assert_eq!(world.documents.fetches(), 2);
    pass(PAUSE + MOMENT).await;
    assert!(world.ask(&third).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_dies_just_after_a_fetch_leaves_unknown_keys_unknown() {
    let world = World::new().fetching();
    assert!(world.ask(&world.minted(&json!({}))).await.is_ok());
    world.documents.held().clear();
    let unknown = world
        .keys
        .token(&header(&json!({"kid": "other"})), &world.claims());
    for _ in 0..3 {
        assert_eq!(
            world.ask(&unknown).await.err(),
            Some(TokenError::Unavailable)
        );
        pass(MOMENT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_keys_are_taken_and_none_is_cut_in_silence() {
    for (before, expected) in [
        (500, Ok(())),
        (MAX_KEYS - 4, Ok(())),
        (MAX_KEYS, Err(TokenError::Unavailable)),
    ] {
        let world = World::new();
        let filler = |number: usize| {
            let mut key = world.keys.set("filler-")[2].clone();
            key["kid"] = json!(format!("filler-{number}"));
            key
        };
        let mut set: Vec<_> = (0..before).map(filler).collect();
        set.extend(world.keys.set(""));
        world.documents.put(JWKS, &json!({"keys": set}));
        let world = world.fetching();
        let answer = world.ask(&world.minted(&json!({}))).await;
        assert_eq!(answer.map(|_| ()), expected, "{before}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_away_stops_no_fetch() {
    let mut world = World::new().fetching();
    assert!(world.ask(&world.minted(&json!({}))).await.is_ok());
    pass(PAUSE + MOMENT).await;
    world.keys = Keys::new();
    world
        .documents
        .put(JWKS, &json!({"keys": world.keys.set("new-")}));
    let token = world
        .keys
        .token(&header(&json!({"kid": "new-es"})), &world.claims());
    let gone = tokio::time::timeout(Duration::from_millis(1), world.ask(&token)).await;
    assert!(gone.is_err());
    pass(Duration::from_secs(1)).await;
    assert!(world.ask(&token).await.is_ok());
    assert_eq!(world.documents.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_known_keys_count_for_an_hour_and_unknown_ones_never() {
    let world = World::new().fetching();
    let known = world.minted(&json!({"exp": world.seconds(20_000)}));
    assert!(world.ask(&known).await.is_ok());
    world.documents.held().clear();
    pass(REFRESH + PAUSE).await;
    let ask = async |token: &str| {
        let answer = world.ask(token).await;
        answer.map(|_| ())
    };
    let unknown = world
        .keys
        .token(&header(&json!({"kid": "other"})), &world.claims());
    let fresh = world.minted(&json!({"exp": world.seconds(20_000), "jti": "2"}));
    // The wall clock stands still here: lifetimes do not ask it.
    pass(OUTAGE - REFRESH - PAUSE - Duration::from_secs(60)).await;
    assert_eq!(ask(&known).await, Ok(()));
    assert_eq!(ask(&fresh).await, Ok(()));
    assert_eq!(ask(&unknown).await, Err(TokenError::Unavailable));
    pass(Duration::from_secs(120)).await;
    for token in [&known, &fresh, &unknown] {
        assert_eq!(ask(token).await, Err(TokenError::Unavailable));
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_stays_keeps_its_keys_and_callers_and_fetches_in_another_way() {
    let first = World::new().fetching();
    let token = first.minted(&json!({}));
    let caller = first.ask(&token).await.unwrap();
    first.documents.held().clear();
    for is_kept in [true, false] {
        // With keys of its own, under other ids.
        let second = World::new();
        let settings = TokenSettings {
            resource: ResourceServer::new(BASE, vec![ISSUER.to_owned()], Vec::new()).unwrap(),
            issuers: vec![IssuerSettings::new(
                IssuerUrl::parse(ISSUER).unwrap(),
                Arc::<Documents>::clone(&second.documents),
            )],
        };
        let next = Tokens::succeeding(settings, &first.tokens, |_| is_kept).unwrap();
        let authenticator = crate::Authenticator::tokens(next, None).unwrap();
        assert_eq!(authenticator.admits(&caller), is_kept);
        assert_eq!(authenticator.admits_principal(caller.principal()), is_kept);
        let tokens = authenticator.as_tokens().unwrap();
        let known = tokens.authenticate(token.as_bytes(), PATH, first.now);
        let known = tokio::time::timeout(MOMENT, known).await;
        assert_eq!(known.is_ok_and(|known| known.is_ok()), is_kept);
        if is_kept {
            let before = second.documents.fetches();
            drop(tokio::time::timeout(MOMENT, tokens.keep_fresh()).await);
            assert!(second.documents.fetches() > before);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_known_while_nobody_fetches() {
    let world = World::new();
    let answer = world.ask(&world.minted(&json!({}))).await;
    assert_eq!(answer.err(), Some(TokenError::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn remembered_tokens_are_bounded() {
    let world = World::new().fetching();
    let good = world.minted(&json!({}));
    let caller = world.ask(&good).await.unwrap();
    let cache = Cache::new().unwrap();
    for number in 0..(Cache::MOST * 2) {
        let entry = Entry {
            caller: Arc::clone(&caller),
            audiences: Arc::from([]),
            general: true,
            ends: world.now + Duration::from_secs(1 + number as u64),
            issuer: 0,
            epoch: 0,
        };
        cache.insert(cache.digest(&number.to_le_bytes()), entry, world.now);
    }
    assert!(cache.len() <= Cache::MOST, "{}", cache.len());
    let last = cache.digest(&(Cache::MOST * 2 - 1).to_le_bytes());
    assert!(cache.find(&last).is_some());
}
