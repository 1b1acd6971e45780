//! A real Vault-compatible server: RustyVault, built once by `tests/peers/rvault.sh`. It has KV version 1, AppRole and the
//! revocation of tokens; what it lacks is tested against a fake that `hvac` takes for a vault.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use keepgate_call::ServerName;
use keepgate_credential::{
    Credentials, Engine, Form, Login, Reference, Settings, Use, VaultSettings,
};
use keepgate_tests::Client;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::process::{Running, command, repository, until};

const SECRET: &str = "kept-by-a-real-vault";

/// A running vault: unsealed, with AppRole, and a secret.
struct Vault {
    _process: Running,
    folder: tempfile::TempDir,
    port: u16,
    key: String,
    root: String,
}

impl Vault {
    async fn start() -> Self {
        let script = repository().join("tests/peers/rvault.sh");
        let built = Running::start("rvault.sh", tokio::process::Command::new(script));
        let program = built.finished(Duration::from_secs(1800)).await.good();
        let folder = tempfile::tempdir().expect("a folder");
        // It cannot be told to take any port that is free.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let path = folder.path().display();
        let configuration = format!(
            "storage \"file\" {{\n path = \"{path}/data\"\n}}\nlistener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = \"true\"\n}}\napi_addr = \"http://127.0.0.1:{port}\"\nlog_level = \"info\"\npid_file = \"{path}/pid\"\nwork_dir = \"{path}\"\n"
        );
        let file = folder.path().join("rvault.hcl");
        std::fs::write(&file, configuration).expect("a file");
        let mut start = command(program.trim(), &["server", "--config"]);
        start.arg(&file);
        let process = Running::start("rvault", start);
        let mut vault = Self {
            _process: process,
            folder,
            port,
            key: String::new(),
            root: String::new(),
        };
        until("the vault to listen", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
        let made = vault
            .ask(
                "PUT",
                "sys/init",
                json!({"secret_shares": 1, "secret_threshold": 1}),
            )
            .await;
        vault.key = made["keys"][0].as_str().expect("a key").to_owned();
        vault.root = made["root_token"].as_str().expect("a token").to_owned();
        vault.unseal().await;
        vault
            .ask("POST", "secret/crm", json!({"token": SECRET}))
            .await;
        vault
            .ask("POST", "sys/auth/approle", json!({"type": "approle"}))
            .await;
        let role = json!({"token_ttl": "600s", "token_max_ttl": "3600s", "policies": "keepgate"});
        vault.ask("POST", "auth/approle/role/keepgate", role).await;
        vault
    }

    async fn unseal(&self) {
        self.ask("PUT", "sys/unseal", json!({"key": self.key}))
            .await;
    }

    /// Asks as root.
    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let client = Client::new(([127, 0, 0, 1], self.port).into())
            .path(&format!("/v1/{path}"))
            .header("x-vault-token", &self.root);
        let answer = client.send(method, body.to_string()).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// The gateway's settings for it.
    async fn settings(&self) -> VaultSettings {
        let role = self
            .ask("GET", "auth/approle/role/keepgate/role-id", json!({}))
            .await;
        let secret = self
            .ask("POST", "auth/approle/role/keepgate/secret-id", json!({}))
            .await;
        let file = |name: &str, value: &Value| {
            private(self.folder.path(), name, value.as_str().expect("an id"))
        };
        VaultSettings {
            address: format!("http://127.0.0.1:{}", self.port)
                .parse()
                .expect("an address"),
            namespace: None,
            login: Login::AppRole {
                mount: "approle".to_owned(),
                role_id: file("role-id", &role["data"]["role_id"]),
                secret_id: Some(file("secret-id", &secret["data"]["secret_id"])),
            },
            mounts: BTreeMap::from([("secret".to_owned(), Engine::Kv1)]),
            ca: None,
            timeout: Duration::from_secs(30),
            max_age: Duration::from_millis(1),
        }
    }
}

fn private(folder: &Path, name: &str, content: &str) -> Reference {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
    Reference::parse(&format!("file:{}", path.display())).expect("a reference")
}

fn up() -> ServerName {
    ServerName::parse("up").expect("a name")
}

fn store(vault: VaultSettings, reference: &str) -> Credentials {
    let store = Credentials::new(&TaskTracker::new());
    let wanted = Use {
        reference: Reference::parse(reference).expect("a reference"),
        form: Form::Bearer,
        terms: Default::default(),
    };
    let settings = Settings { vault: Some(vault) };
    store
        .configure(&settings, &BTreeMap::from([(up(), wanted)]))
        .expect("a store");
    store
}

/// The header line a server would get, or the word of the fault.
async fn line(store: &Credentials) -> Result<String, &'static str> {
    // Longer than a value, and a failure, last.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let held = store.of(&up()).expect("a source").acquire().await;
    let held = held.map_err(|error| error.fault.word())?;
    let (_, value) = held.material().line().expect("a line");
    Ok(value.to_str().expect("text").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_vault_gives_its_secret_and_its_refusals_are_understood() {
    let vault = Vault::start().await;
    let settings = vault.settings().await;
    let kept = store(settings.clone(), "vault:secret/crm#token");
    let good = Ok(format!("Bearer {SECRET}"));
    assert_eq!(line(&kept).await, good);
    for (reference, word) in [
        ("vault:secret/absent#token", "vault_not_found"),
        ("vault:secret/crm#absent", "vault_no_field"),
    ] {
        assert_eq!(line(&store(settings.clone(), reference)).await, Err(word));
    }
    vault
        .ask("POST", "secret/crm", json!({"token": "the-next-one"}))
        .await;
    assert_eq!(line(&kept).await, Ok("Bearer the-next-one".to_owned()));
    vault
        .ask("POST", "secret/crm", json!({"token": SECRET}))
        .await;

    // A login that is no longer good; and one whose secret id is wrong.
    private(vault.folder.path(), "secret-id", "another-secret-id");
    assert_eq!(
        line(&store(settings.clone(), "vault:secret/crm#token")).await,
        Err("vault_login_refused")
    );
    assert_eq!(line(&kept).await, good, "who is in stays in");
    let settings = vault.settings().await;

    // Sealed, and open again.
    vault.ask("PUT", "sys/seal", json!({})).await;
    assert_eq!(line(&kept).await, Err("vault_sealed"));
    vault.unseal().await;
    assert_eq!(line(&kept).await, good);

    // A token that is revoked, given to the gateway: read anew when the file holds another.
    let made = vault
        .ask(
            "POST",
            "auth/token/create",
            json!({"policies": ["keepgate"], "ttl": "1h"}),
        )
        .await;
    let token = made["auth"]["client_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let given = VaultSettings {
        login: Login::Token(private(vault.folder.path(), "token", &token)),
        ..settings
    };
    let held = store(given, "vault:secret/crm#token");
    assert_eq!(line(&held).await, good);
    vault
        .ask("POST", &format!("auth/token/revoke/{token}"), json!({}))
        .await;
    assert_eq!(line(&held).await, Err("vault_login_refused"));
    private(vault.folder.path(), "token", &vault.root);
    assert_eq!(line(&held).await, good);
}
