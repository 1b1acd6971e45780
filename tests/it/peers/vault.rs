//! Credentials from a real vault: OpenBao, which `make peers` installs, and PostgreSQL for accounts it issues. What OpenBao
//! cannot be made to do (lie, hang, break off) is tested against the fake of `tests/src/vault.rs`.

mod engines;
mod leases;
mod logins;
pub(super) mod postgres;
mod program;
mod state;
mod wrapping;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use keepgate_call::ServerName;
use keepgate_credential::{
    Credentials, Engine, Form, Login, Reference, Settings, Use, VaultSettings,
};
use keepgate_tests::{Answer, Client, free_port};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::process::{Running, command, peer, repository, until};

const SECRET: &str = "kept-by-a-real-vault";
const CRM: &str = "vault:secret/mcp/crm#token";
/// Policy of the gateway's role, as in docs/credentials.md.
const POLICY: &str = r#"
path "secret/data/mcp/*" { capabilities = ["read"] }
path "kv/*" { capabilities = ["read"] }
path "database/creds/*" { capabilities = ["read"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
"#;

/// A running OpenBao: unsealed, with both versions of KV, AppRole, the gateway's policy, and a secret.
struct OpenBao {
    _process: Running,
    folder: tempfile::TempDir,
    port: u16,
    key: String,
    root: String,
}

impl OpenBao {
    async fn start() -> Self {
        peer("install.sh");
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let file = folder.path().join("bao.hcl");
        let configuration = format!(
            "storage \"inmem\" {{}}\ndisable_clustering = true\napi_addr = \"http://127.0.0.1:{port}\"\n\
             listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n"
        );
        std::fs::write(&file, configuration).expect("a file");
        let mut start = command(repository().join(".peers/bin/bao"), &["server", "-config"]);
        start.arg(&file).env("HOME", folder.path());
        let mut vault = Self {
            _process: Running::start("bao", start),
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
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let made = vault.ask("PUT", "sys/init", shares).await;
        vault.key = text(&made, "/keys/0");
        vault.root = text(&made, "/root_token");
        vault.unseal().await;
        vault.fill("").await;
        vault
    }

    /// Puts the same things into a namespace, or into the root with an empty one.
    async fn fill(&self, namespace: &str) {
        let ask = async |path: &str, body: Value| self.ask_in(namespace, path, body).await;
        ask(
            "sys/mounts/secret",
            json!({"type": "kv", "options": {"version": "2"}}),
        )
        .await;
        ask(
            "sys/mounts/kv",
            json!({"type": "kv", "options": {"version": "1"}}),
        )
        .await;
        ask("sys/auth/approle", json!({"type": "approle"})).await;
        ask("sys/policies/acl/keepgate", json!({"policy": POLICY})).await;
        ask(
            "auth/approle/role/keepgate",
            json!({"token_ttl": "600s", "token_max_ttl": "3600s", "token_policies": "keepgate"}),
        )
        .await;
        // A new mount of version 2 answers 400 until it has set itself up.
        let body = json!({"data": {"token": SECRET, "user": "svc", "port": 5432}}).to_string();
        until("version 2 of KV", async || {
            let client = self.client(namespace).path("/v1/secret/data/mcp/crm");
            client.send("POST", body.clone()).await.status == 200
        })
        .await;
        ask("kv/crm", json!({"token": "kv-one-secret"})).await;
    }

    fn client(&self, namespace: &str) -> Client {
        let client = Client::new(([127, 0, 0, 1], self.port).into());
        let client = client.header("x-vault-token", &self.root);
        if namespace.is_empty() {
            client
        } else {
            client.header("x-vault-namespace", namespace)
        }
    }

    async fn unseal(&self) {
        self.ask("PUT", "sys/unseal", json!({"key": self.key}))
            .await;
    }

    /// Asks as root.
    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let client = self.client("").path(&format!("/v1/{path}"));
        good(path, &client.send(method, body.to_string()).await)
    }

    async fn ask_in(&self, namespace: &str, path: &str, body: Value) -> Value {
        let client = self.client(namespace).path(&format!("/v1/{path}"));
        good(path, &client.send("POST", body.to_string()).await)
    }

    /// Asks for a secret, wrapped for a time.
    async fn wrapped(&self, path: &str, body: Value, ttl: &str) -> String {
        let client = self.client("").path(&format!("/v1/{path}"));
        let client = client.header("x-vault-wrap-ttl", ttl);
        let answer = good(path, &client.send("POST", body.to_string()).await);
        // A server that does not wrap answers with the secret itself.
        text(&answer, "/wrap_info/token")
    }

    /// Whether a lease is still there.
    async fn has_lease(&self, lease: &str) -> bool {
        let client = self.client("").path("/v1/sys/leases/lookup");
        let looked = client.send("PUT", json!({"lease_id": lease}).to_string());
        looked.await.status == 200
    }

    /// A reference to a file only we may read.
    fn file(&self, name: &str, content: &str) -> Reference {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
        Reference::parse(&format!("file:{}", path.display())).expect("a reference")
    }

    /// The role's login with a new secret id.
    async fn app_role(&self, namespace: &str) -> Login {
        let role = "auth/approle/role/keepgate";
        let client = self.client(namespace);
        let id = client
            .path(&format!("/v1/{role}/role-id"))
            .send("GET", "")
            .await;
        let secret = self
            .ask_in(namespace, &format!("{role}/secret-id"), json!({}))
            .await;
        Login::AppRole {
            mount: "approle".to_owned(),
            role_id: self.file("role-id", &text(&good(role, &id), "/data/role_id")),
            secret_id: Some(self.file("secret-id", &text(&secret, "/data/secret_id"))),
        }
    }

    /// A token with the gateway's policy.
    async fn token(&self) -> String {
        let body = json!({"policies": ["keepgate"], "ttl": "1h"});
        let made = self.ask("POST", "auth/token/create", body).await;
        text(&made, "/auth/client_token")
    }

    /// The gateway's settings for it. A value is over at once, so that each look asks the vault.
    fn settings(&self, login: Login) -> VaultSettings {
        VaultSettings {
            address: format!("http://127.0.0.1:{}", self.port)
                .parse()
                .expect("an address"),
            namespace: None,
            login,
            wrapped_by: None,
            mounts: BTreeMap::from([
                ("secret".to_owned(), Engine::Kv2),
                ("kv".to_owned(), Engine::Kv1),
                ("database".to_owned(), Engine::Leased),
            ]),
            ca: None,
            egress: Default::default(),
            timeout: Duration::from_secs(60),
            max_age: Duration::from_millis(1),
        }
    }
}

fn good(what: &str, answer: &Answer) -> Value {
    assert!(answer.status < 300, "{what}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn text(answer: &Value, pointer: &str) -> String {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no {pointer} in {answer}"))
        .to_owned()
}

fn up() -> ServerName {
    ServerName::parse("up").expect("a name")
}

fn wanted(reference: &str, form: Form) -> Use {
    Use {
        reference: Reference::parse(reference).expect("a reference"),
        form,
        terms: Default::default(),
    }
}

/// A store for the one server `up`.
fn store(vault: VaultSettings, wanted: Use) -> Credentials {
    let store = Credentials::new(&TaskTracker::new());
    configure(&store, vault, wanted);
    store
}

fn configure(store: &Credentials, vault: VaultSettings, wanted: Use) {
    let settings = Settings { vault: Some(vault) };
    store
        .configure(&settings, &BTreeMap::from([(up(), vec![wanted])]))
        .expect("a store");
}

/// A store that shows the secret as a bearer token.
fn bearer(vault: VaultSettings, reference: &str) -> Credentials {
    store(vault, wanted(reference, Form::Bearer))
}

/// The header line a server would get, or the word of the fault.
async fn line(store: &Credentials) -> Result<String, &'static str> {
    let held = store.of(&up()).expect("a source").acquire().await;
    let held = held.map_err(|error| error.fault.word())?;
    let (_, value) = held.material().line().expect("a line");
    Ok(value.to_str().expect("text").to_owned())
}

/// Waits until a server would get `expected`. A value, and a failure, last for a while.
async fn becomes(store: &Credentials, expected: Result<&str, &'static str>) {
    let expected = expected.map(|secret| format!("Bearer {secret}"));
    until(&format!("{expected:?}"), async || {
        line(store).await == expected
    })
    .await;
}
