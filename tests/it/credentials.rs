//! Credentials: where they come from, how long they last, what a server gets, and that nobody else does.

mod echo;
mod fake_vault;

mod servers;
mod several;
mod store;
mod tls;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use keepgate_call::ServerName;
use keepgate_credential::{
    Credentials, Engine, Form, Login, Reference, Settings, Use, VaultSettings,
};
use keepgate_tests::FakeVault;
use tokio_util::task::TaskTracker;

/// A secret no honest text holds.
const SECRET: &str = "x7Qp-2LdV9mZ_kTa81+cReW/45=";

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("a reference")
}

fn wanted(text: &str, form: Form) -> Use {
    Use {
        reference: reference(text),
        form,
        terms: Default::default(),
    }
}

/// A file as secrets are kept.
fn private(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
    format!("file:{}", path.display())
}

/// A vault as the gateway is told of it: AppRole, its ids in files of `directory`.
fn vault(vault: &FakeVault, directory: &Path) -> VaultSettings {
    let (role, secret) = vault.content().role.clone();
    VaultSettings {
        address: vault.address.parse().expect("an address"),
        namespace: None,
        login: Login::AppRole {
            mount: "approle".to_owned(),
            role_id: reference(&private(directory, "role-id", &role)),
            secret_id: Some(reference(&private(directory, "secret-id", &secret))),
        },
        wrapped_by: None,
        mounts: BTreeMap::from([
            ("secret".to_owned(), Engine::Kv2),
            ("kv".to_owned(), Engine::Kv1),
            ("database".to_owned(), Engine::Leased),
        ]),
        ca: None,
        egress: Default::default(),
        timeout: Duration::from_secs(10),
        max_age: VaultSettings::LONGEST_AGE,
    }
}

/// A store for the one server `up`.
fn store(settings: Option<VaultSettings>, wanted: Use) -> Credentials {
    let store = Credentials::new(&TaskTracker::new());
    let uses = BTreeMap::from([(up(), vec![wanted])]);
    store
        .configure(&Settings { vault: settings }, &uses)
        .expect("a store");
    store
}

fn up() -> ServerName {
    ServerName::parse("up").expect("a name")
}

/// What `Authorization` would say now, or the word of the fault.
async fn line(store: &Credentials) -> Result<String, &'static str> {
    let source = store.of(&up()).expect("a source");
    let held = source.acquire().await.map_err(|error| error.fault.word())?;
    let (_, value) = held.material().line().expect("a header line");
    Ok(value.to_str().expect("text").to_owned())
}
