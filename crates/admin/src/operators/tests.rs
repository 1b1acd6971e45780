//! Who holds which token, and what the file may say.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::SystemTime;

use super::*;

fn open(directory: &Path) -> Operators {
    let token = Arc::new(Token::open(directory).unwrap());
    Operators::open(directory, token).unwrap()
}

#[test]
fn a_token_is_its_operators_until_it_is_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let operators = open(directory.path());
    let now = SystemTime::now();
    let roles = vec![Role::Sre, Role::Auditor, Role::Sre];
    let (entry, token) = add(directory.path(), "alice", roles, Vec::new(), now).unwrap();
    assert_eq!(entry.roles, [Role::Sre, Role::Auditor]);
    assert!(
        operators.who(token.as_bytes()).is_none(),
        "not before it is read"
    );
    assert_eq!(operators.reload().unwrap(), 1);
    let who = operators.who(token.as_bytes()).unwrap();
    assert_eq!((&*who.name, &*who.roles), ("alice", &entry.roles[..]));
    for wrong in [
        "",
        "kgo_",
        &token[..token.len() - 1],
        &format!("{}x", &*token),
    ] {
        assert!(operators.who(wrong.as_bytes()).is_none(), "{wrong}");
    }
    let path = directory.path().join(Operators::FILE);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&path).unwrap().contains(&token[4..]));
    assert!(matches!(
        add(
            directory.path(),
            "alice",
            vec![Role::Admin],
            Vec::new(),
            now
        ),
        Err(OperatorError::Taken(_))
    ));
    revoke(directory.path(), "alice", now).unwrap();
    operators.reload().unwrap();
    assert!(operators.who(token.as_bytes()).is_none());
    assert!(matches!(
        revoke(directory.path(), "alice", now),
        Err(OperatorError::Unknown(_))
    ));
    add(
        directory.path(),
        "alice",
        vec![Role::Admin],
        Vec::new(),
        now,
    )
    .unwrap();
    assert_eq!(read(directory.path()).unwrap().len(), 2, "history stays");
}

#[test]
fn a_vanished_file_is_told_from_a_new_directory() {
    let directory = tempfile::tempdir().unwrap();
    let operators = open(directory.path());
    assert!(!operators.is_gone(), "made at the first start");
    let roles = vec![Role::Sre];
    let (_, token) = add(
        directory.path(),
        "alice",
        roles,
        Vec::new(),
        SystemTime::now(),
    )
    .unwrap();
    operators.reload().unwrap();
    fs::remove_file(directory.path().join(Operators::FILE)).unwrap();
    assert!(operators.is_gone());
    assert!(matches!(
        operators.reload(),
        Err(OperatorError::Gone { .. })
    ));
    assert!(
        operators.who(token.as_bytes()).is_some(),
        "known until a restart"
    );
    let bootstrap = Arc::new(Token::open(directory.path()).unwrap());
    fs::write(directory.path().join(keepgate_store::DATABASE), "").unwrap();
    let again = Operators::open(directory.path(), bootstrap).unwrap();
    assert!(again.is_gone());
    assert!(matches!(
        read(directory.path()),
        Err(OperatorError::Gone { .. })
    ));
    let now = SystemTime::now();
    for refused in [
        add(directory.path(), "bob", vec![Role::Sre], Vec::new(), now).map(drop),
        revoke(directory.path(), "alice", now).map(drop),
    ] {
        assert!(matches!(refused, Err(OperatorError::Gone { .. })));
    }
    begin(directory.path()).unwrap();
    assert!(matches!(
        begin(directory.path()),
        Err(OperatorError::Present { .. })
    ));
    add(directory.path(), "bob", vec![Role::Sre], Vec::new(), now).unwrap();
    again.reload().unwrap();
    assert!(again.who(token.as_bytes()).is_none());
}

#[test]
fn the_admin_token_is_bootstrap() {
    let directory = tempfile::tempdir().unwrap();
    let operators = open(directory.path());
    let token = fs::read_to_string(operators.bootstrap().path()).unwrap();
    let who = operators.who(token.trim().as_bytes()).unwrap();
    assert_eq!((&*who.name, &*who.roles), (BOOTSTRAP, &[Role::Admin][..]));
}

#[test]
fn only_the_admin_token_takes_a_claim_of_an_account() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let (_, alice) = add(directory.path(), "alice", vec![Role::Sre], Vec::new(), now).unwrap();
    let operators = open(directory.path());
    let admin = fs::read_to_string(operators.bootstrap().path()).unwrap();
    for (token, account, name) in [
        (admin.trim(), Some("root"), "bootstrap:root"),
        (admin.trim(), Some("keepgate"), "bootstrap:keepgate"),
        (admin.trim(), None, "bootstrap"),
        (admin.trim(), Some(""), "bootstrap"),
        (admin.trim(), Some("a b"), "bootstrap"),
        (admin.trim(), Some("x:alice"), "bootstrap"),
        (admin.trim(), Some(&*"a".repeat(65)), "bootstrap"),
        (&*alice, Some("root"), "alice"),
        (&*alice, None, "alice"),
    ] {
        let who = operators.who(token.as_bytes()).unwrap().claiming(account);
        assert_eq!(&*who.name, name, "{account:?}");
    }
}

#[test]
fn names_and_files_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    for name in [
        "",
        "a b",
        "bootstrap",
        "keepgate",
        "local:root",
        "ü",
        &"a".repeat(65),
    ] {
        let added = add(directory.path(), name, vec![Role::Sre], Vec::new(), now);
        assert!(matches!(added, Err(OperatorError::Name(_))), "{name}");
    }
    assert!(matches!(
        add(directory.path(), "alice", Vec::new(), Vec::new(), now),
        Err(OperatorError::Roles(_))
    ));
    let operators = open(directory.path());
    let (_, token) = add(directory.path(), "bob", vec![Role::Sre], Vec::new(), now).unwrap();
    operators.reload().unwrap();
    let path = directory.path().join(Operators::FILE);
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        "{}".to_owned(),
        good.replace("\"version\": 1", "\"version\": 2"),
        good.replace("\"name\"", "\"names\""),
        good.replace("sre", "god"),
    ] {
        fs::write(&path, &bad).unwrap();
        assert!(operators.reload().is_err(), "{bad}");
        assert!(
            operators.who(token.as_bytes()).is_some(),
            "the last good ones stay"
        );
    }
    fs::write(&path, good).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        operators.reload(),
        Err(OperatorError::File(FileError::Exposed { .. }))
    ));
}

/// Something that ends a token or its role, in a state directory.
type Ending = fn(&Path);

/// A decision counts by the token and the roles of now: each of these ends what its holder has decided.
#[test]
fn a_decision_counts_by_the_token_and_the_roles_of_now() {
    let ends: [(&str, Ending); 4] = [
        ("admin", |directory| {
            fs::write(directory.join(Token::FILE), "c".repeat(32)).unwrap();
        }),
        ("admin", |directory| {
            fs::remove_file(directory.join(Token::FILE)).unwrap();
        }),
        ("alice", |directory| {
            revoke(directory, "alice", SystemTime::now()).unwrap();
            let roles = vec![Role::Approver];
            add(directory, "alice", roles, Vec::new(), SystemTime::now()).unwrap();
        }),
        ("alice", |directory| {
            let path = directory.join(Operators::FILE);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("\"approver\""));
            fs::write(&path, text.replace("\"approver\"", "\"auditor\"")).unwrap();
        }),
    ];
    for (at, (who, end)) in ends.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let operators = open(directory.path());
        let roles = vec![Role::Approver];
        let (_, token) = add(
            directory.path(),
            "alice",
            roles,
            Vec::new(),
            SystemTime::now(),
        )
        .unwrap();
        operators.reload().unwrap();
        let admin = fs::read_to_string(directory.path().join(Token::FILE)).unwrap();
        let token = if who == "admin" { admin.trim() } else { &token };
        let holder = operators.who(token.as_bytes()).unwrap();
        let mut ids = vec![holder.person().id];
        ids.extend((who == "admin").then(|| holder.claiming(Some("bob")).person().id));
        for id in &ids {
            assert!(operators.approver(id).is_some(), "{at} {id}");
        }
        end(directory.path());
        operators.reload().unwrap();
        operators.bootstrap().reload().unwrap();
        for id in &ids {
            assert!(operators.approver(id).is_none(), "{at} {id}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let operators = open(directory.path());
    for never in ["", "bootstrap", "bootstrap:bob", "bootstrap_", "op_"] {
        assert!(operators.approver(never).is_none(), "{never}");
    }
}
