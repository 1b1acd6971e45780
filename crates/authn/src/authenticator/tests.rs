//! Which header makes whom.

use std::time::Duration;

use super::*;
use crate::store::{CreatedKey, KeyRequest};

/// Keys are known without waiting.
fn at_once(
    authenticator: &Authenticator,
    authorization: Option<&[u8]>,
    now: SystemTime,
) -> Result<Arc<Caller>, AuthnError> {
    let mut asked = std::pin::pin!(authenticator.authenticate(authorization, "/up/mcp", now));
    match asked
        .as_mut()
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    {
        std::task::Poll::Ready(known) => known,
        std::task::Poll::Pending => panic!("waits"),
    }
}

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn request(expires: Option<SystemTime>) -> KeyRequest {
    KeyRequest {
        subject: "agent-1".to_owned(),
        expires,
        ..KeyRequest::default()
    }
}

fn create(directory: &Path, expires: Option<SystemTime>) -> CreatedKey {
    ApiKeys::open(directory)
        .unwrap()
        .create(request(expires), noon())
        .unwrap()
}

#[test]
fn only_the_right_key_is_somebody() {
    let directory = tempfile::tempdir().unwrap();
    let created = create(directory.path(), None);
    let other = create(directory.path(), None);
    let authenticator = Authenticator::keys(directory.path()).unwrap();
    let ask = |header: &str| at_once(&authenticator, Some(header.as_bytes()), noon());

    let key = created.secret.as_str();
    let caller = ask(&format!("Bearer {key}")).unwrap();
    assert_eq!(&*caller.subject, "agent-1");
    assert_eq!(caller.key_id.as_deref(), Some(created.key.id.as_str()));
    assert!(
        Arc::ptr_eq(&caller, &ask(&format!("bEARER   {key}")).unwrap()),
        "shared, not made anew"
    );

    let secret_at = key.len() - 43;
    let crossed = format!("{}{}", &key[..secret_at], &other.secret[secret_at..]);
    let unknown = key.replacen(&created.key.id, "0000000000000000", 1);
    for header in [
        "",
        "Bearer",
        "Bearer ",
        key,
        &format!("Basic {key}"),
        &format!("Bearer{key}"),
        &format!("Bearer {key} "),
        &format!("Bearer {key},Bearer {key}"),
        &format!("Bearer {unknown}"),
    ] {
        assert_eq!(ask(header), Err(AuthnError::Invalid), "{header:?}");
    }
    let wrong = ask(&format!("Bearer {crossed}")).unwrap_err();
    assert_eq!(wrong, AuthnError::Secret(name(&created.key.id)));
    assert_eq!(wrong.key().unwrap().as_str(), created.key.id);
    assert_eq!(
        at_once(&authenticator, None, noon()),
        Err(AuthnError::Missing)
    );
}

/// The name of a key by its id.
fn name(id: &str) -> KeyName {
    KeyName(id.as_bytes().try_into().unwrap())
}

#[test]
fn every_flipped_letter_is_another_key() {
    let directory = tempfile::tempdir().unwrap();
    let created = create(directory.path(), None);
    let authenticator = Authenticator::keys(directory.path()).unwrap();
    let header = format!("Bearer {}", created.secret.as_str()).into_bytes();
    for at in b"Bearer ".len()..header.len() {
        let mut flipped = header.clone();
        flipped[at] ^= 1;
        let wrong = at_once(&authenticator, Some(&flipped), noon()).unwrap_err();
        // A letter of the secret that is one still, or one of the form.
        let known = [
            AuthnError::Invalid,
            AuthnError::Secret(name(&created.key.id)),
        ];
        assert!(known.contains(&wrong), "{at}: {wrong:?}");
    }
}

#[test]
fn dead_keys_are_told_apart_only_with_their_secret() {
    let directory = tempfile::tempdir().unwrap();
    let end = noon() + Duration::from_secs(10);
    let created = create(directory.path(), Some(end));
    let authenticator = Authenticator::keys(directory.path()).unwrap();
    let right = format!("Bearer {}", created.secret.as_str());
    let wrong = format!(
        "Bearer {}{}",
        &created.secret[..created.secret.len() - 1],
        "-"
    );
    let ask = |header: &str, now| {
        at_once(&authenticator, Some(header.as_bytes()), now).map(|caller| caller.expires)
    };

    assert_eq!(ask(&right, end - Duration::from_secs(1)), Ok(Some(end)));
    assert_eq!(
        ask(&right, end),
        Err(AuthnError::Expired(name(&created.key.id)))
    );
    ApiKeys::open(directory.path())
        .unwrap()
        .revoke(&created.key.id, noon())
        .unwrap();
    authenticator.reload().unwrap();
    assert_eq!(
        ask(&right, noon()),
        Err(AuthnError::Revoked(name(&created.key.id)))
    );
    let secret = AuthnError::Secret(name(&created.key.id));
    assert_eq!(ask(&wrong, noon()), Err(secret));
}

#[test]
fn reload_sees_new_keys_and_keeps_the_old_ones_when_it_fails() {
    let directory = tempfile::tempdir().unwrap();
    let authenticator = Authenticator::keys(directory.path()).unwrap();
    let created = create(directory.path(), None);
    let header = format!("Bearer {}", created.secret.as_str());
    let ask = || at_once(&authenticator, Some(header.as_bytes()), noon()).map(|_| ());

    assert_eq!(ask(), Err(AuthnError::Invalid));
    assert_eq!(authenticator.reload().unwrap(), 1);
    assert_eq!(ask(), Ok(()));
    keepgate_files::replace(&directory.path().join(ApiKeys::FILE), b"{").unwrap();
    assert!(authenticator.reload().is_err());
    assert_eq!(ask(), Ok(()));
}

#[test]
fn a_vanished_key_file_is_reported_and_lets_in_those_who_were_known() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Authenticator::keys(directory.path()).unwrap();
    let state = |authenticator: &Authenticator| authenticator.key_state(noon());
    let authenticator = open();
    assert_eq!(state(&authenticator), Some(KeyState::Empty));
    let later = noon() + Duration::from_secs(60);
    let created = create(directory.path(), Some(later));
    authenticator.reload().unwrap();
    assert_eq!(state(&authenticator), Some(KeyState::Usable));
    assert_eq!(
        authenticator.key_state(later),
        Some(KeyState::Empty),
        "expired"
    );
    let path = directory.path().join(ApiKeys::FILE);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(state(&authenticator), Some(KeyState::Gone));
    assert!(matches!(
        authenticator.reload(),
        Err(StoreError::Gone { .. })
    ));
    let header = format!("Bearer {}", created.secret.as_str());
    let ask = |authenticator| at_once(authenticator, Some(header.as_bytes()), noon()).map(|_| ());
    assert_eq!(ask(&authenticator), Ok(()));
    // A restart does not take it for a first start.
    let authenticator = open();
    assert_eq!(state(&authenticator), Some(KeyState::Gone));
    assert_eq!(ask(&authenticator), Err(AuthnError::Invalid));
    // Nor does a command: the keys of before would be lost for good, and nobody would have asked for it.
    let keys = ApiKeys::open(directory.path()).unwrap();
    let refused = [
        keys.create(request(None), noon()).map(drop),
        keys.list().map(drop),
        keys.revoke(&created.key.id, noon()).map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(StoreError::Gone { .. })));
    }
    keys.begin().unwrap();
    assert!(matches!(keys.begin(), Err(StoreError::Present { .. })));
    create(directory.path(), None);
    authenticator.reload().unwrap();
    assert_eq!(state(&authenticator), Some(KeyState::Usable));
    assert_eq!(Authenticator::anonymous().key_state(noon()), None);
}

#[test]
fn anonymous_mode_looks_at_no_header() {
    let authenticator = Authenticator::anonymous();
    for header in [None, Some(&b"Bearer nonsense"[..])] {
        let caller = at_once(&authenticator, header, noon()).unwrap();
        assert_eq!(*caller, Caller::anonymous());
    }
    assert_eq!(authenticator.reload().unwrap(), 0);
}
