//! The key store: what is kept, what is refused, and what two writers do to each other.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use super::*;

/// A moment to count from, in whole seconds as the file keeps them.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn request(subject: &str) -> KeyRequest {
    KeyRequest {
        subject: subject.to_owned(),
        roles: vec![
            "support".to_owned(),
            "audit".to_owned(),
            "support".to_owned(),
        ],
        servers: Some(vec!["crm".to_owned()]),
        expires: Some(noon() + Duration::from_secs(60)),
        ..KeyRequest::default()
    }
}

#[test]
fn a_key_is_kept_without_its_secret() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("deep/state");
    let keys = ApiKeys::open(&state).unwrap();
    let created = keys.create(request("agent-1"), noon()).unwrap();
    assert_eq!(created.key.roles, ["audit", "support"], "sorted, each once");
    assert_eq!(created.key.tenant, "default");
    assert_eq!(keys.list().unwrap(), std::slice::from_ref(&created.key));

    let secret = created
        .secret
        .rsplit_once(&created.key.id)
        .unwrap()
        .1
        .trim_start_matches('_');
    for name in fs::read_dir(&state).unwrap() {
        let path = name.unwrap().path();
        let content = fs::read(&path).unwrap();
        assert!(
            !content
                .windows(secret.len())
                .any(|part| part == secret.as_bytes()),
            "{}",
            path.display()
        );
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
    }
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    assert!(
        !format!("{keys:?}").contains(&created.key.id),
        "the store prints no content"
    );
}

#[test]
fn a_revoked_key_stays_in_the_list_with_its_first_date() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    let id = keys.create(request("agent-1"), noon()).unwrap().key.id;
    assert_eq!(keys.list().unwrap()[0].status(noon()), KeyStatus::Active);
    assert_eq!(
        keys.list().unwrap()[0].status(noon() + Duration::from_secs(60)),
        KeyStatus::Expired
    );
    let first = keys.revoke(&id, noon()).unwrap();
    assert_eq!(first.status(noon()), KeyStatus::Revoked);
    assert_eq!(
        keys.revoke(&id, noon() + Duration::from_secs(9)).unwrap(),
        first
    );
    assert!(matches!(
        keys.revoke("0000000000000000", noon()),
        Err(StoreError::Unknown { .. })
    ));
}

#[test]
fn unusable_wishes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    let change = |apply: fn(&mut KeyRequest)| {
        let mut wish = request("agent-1");
        apply(&mut wish);
        wish
    };
    for wish in [
        change(|wish| wish.subject = String::new()),
        change(|wish| wish.subject = "two words".to_owned()),
        change(|wish| wish.subject = "a".repeat(129)),
        change(|wish| wish.roles = vec!["rôle".to_owned()]),
        change(|wish| wish.scopes = vec!["a\"b".to_owned()]),
        change(|wish| wish.tenant = "a\nb".to_owned()),
        change(|wish| wish.servers = Some(vec!["../crm".to_owned()])),
        change(|wish| wish.expires = Some(noon())),
        change(|wish| wish.roles = (0..65).map(|number| number.to_string()).collect()),
    ] {
        let text = format!("{wish:?}");
        assert!(
            matches!(keys.create(wish, noon()), Err(StoreError::Request { .. })),
            "{text}"
        );
    }
    assert_eq!(keys.list().unwrap(), []);
}

#[test]
fn a_file_open_to_everybody_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    keys.create(request("agent-1"), noon()).unwrap();
    for name in [ApiKeys::FILE, ApiKeys::SECRET_FILE] {
        let path = directory.path().join(name);
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        let error = ApiKeys::open(directory.path()).unwrap_err();
        assert!(
            matches!(error, StoreError::File(FileError::Exposed { .. })),
            "{error:?}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    ApiKeys::open(directory.path()).unwrap();
}

#[test]
fn a_lost_secret_is_an_error_and_not_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    keys.create(request("agent-1"), noon()).unwrap();
    let secret = directory.path().join(ApiKeys::SECRET_FILE);
    fs::remove_file(&secret).unwrap();
    assert!(matches!(
        ApiKeys::open(directory.path()),
        Err(StoreError::SecretMissing { .. })
    ));
    assert!(!secret.exists());
    keepgate_files::replace(&secret, b"short").unwrap();
    assert!(matches!(
        ApiKeys::open(directory.path()),
        Err(StoreError::SecretDamaged { .. })
    ));
}

#[test]
fn a_damaged_key_file_is_found_when_the_store_opens() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    keys.create(request("agent-1"), noon()).unwrap();
    let path = directory.path().join(ApiKeys::FILE);
    let good = fs::read_to_string(&path).unwrap();
    let duplicate = good.replacen(
        "\"keys\": [",
        &format!("\"keys\": [{},", first_entry(&good)),
        1,
    );
    for (damage, text) in [
        ("cut off", good[..good.len() / 2].to_owned()),
        ("unknown field", good.replace("\"roles\"", "\"rules\"")),
        (
            "other version",
            good.replace("\"version\": 1", "\"version\": 2"),
        ),
        ("short hash", good.replace("\"hash\": \"", "\"hash\": \"0")),
        ("no time", good.replace("T", " at ")),
        ("short id", good.replacen("\"id\": \"", "\"id\": \"0", 1)),
        ("twice", duplicate),
    ] {
        keepgate_files::replace(&path, text.as_bytes()).unwrap();
        assert!(ApiKeys::open(directory.path()).is_err(), "{damage}");
    }
    keepgate_files::replace(&path, good.as_bytes()).unwrap();
    ApiKeys::open(directory.path()).unwrap();
}

#[test]
fn two_writers_lose_no_key() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = directory.path();
            scope.spawn(move || {
                let keys = ApiKeys::open(path).unwrap();
                for number in 0..5 {
                    keys.create(request(&format!("agent-{writer}-{number}")), noon())
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(
        ApiKeys::open(directory.path())
            .unwrap()
            .list()
            .unwrap()
            .len(),
        20
    );
}

/// The first entry of a key file, as text.
fn first_entry(file: &str) -> &str {
    let start = file.find("[").unwrap() + 1;
    &file[start..file.rfind(']').unwrap()]
}
