//! A vault that keeps nothing safe: the parts of OpenBao's HTTP API that the gateway uses, and every way they fail. Its
//! forms are those of the API's pages; a test has PyPI's `hvac` drive it, so that they are not only ours.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{FakeServer, Gate, Heard, Say};

/// How the vault behaves.
#[derive(Debug, Clone, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Fine,
    /// Sealed.
    Sealed,
    /// On standby: points to another node.
    Standby(String),
    /// On standby without a leader.
    Leaderless,
    /// Never set up.
    Uninitialised,
    /// Over its quota.
    Limited,
    /// Says nothing.
    Silent,
    /// Says nothing until the gate opens, then is fine.
    Waits(Gate),
    /// Breaks off in the middle of its answers.
    Half,
    /// Answers with something that is not its API.
    Proxy,
    /// Answers with more than anybody wants.
    Endless,
    /// Fails, with a reason nobody must see.
    Broken,
}

/// What is in it.
#[derive(Debug, Default)]
pub struct Content {
    /// How it behaves.
    pub mood: Mood,
    /// The namespace requests have to name.
    pub namespace: Option<String>,
    /// Tokens, with the seconds each lives from now; zero for ever.
    pub tokens: HashMap<String, u64>,
    /// Role id and secret id.
    pub role: (String, String),
    /// How long tokens of a login live.
    pub token_ttl: u64,
    /// Secrets by path: versions, the newest last; `None` for a deleted one. `secret/` is KV 2, `kv/` KV 1.
    pub secrets: HashMap<String, Vec<Option<Value>>>,
    /// Leases that are out, with their passwords and when they end.
    pub leases: HashMap<String, (String, Instant)>,
    /// How long leases last.
    pub lease_ttl: u64,
    /// Whether leases can be renewed.
    pub renewable: bool,
    /// Whether it says yes to revocations it does not do.
    pub lies: bool,
    /// Counts what was issued.
    pub issued: u64,
    /// What was asked, as `METHOD path`.
    pub asked: Vec<String>,
}

/// The vault.
#[derive(Debug, Clone)]
pub struct FakeVault {
    /// Its address.
    pub address: String,
    content: Arc<Mutex<Content>>,
}

impl FakeVault {
    /// A vault with AppRole `role` / `role-secret-id`, the root token `root-token`, tokens and leases of an hour.
    pub async fn start() -> Self {
        let content = Arc::new(Mutex::new(Content {
            tokens: HashMap::from([("root-token".to_owned(), 0)]),
            role: ("role".to_owned(), "role-secret-id".to_owned()),
            token_ttl: 3600,
            lease_ttl: 3600,
            renewable: true,
            ..Content::default()
        }));
        let own = Arc::clone(&content);
        let server = FakeServer::start(move |heard| answer(&mut lock(&own), heard)).await;
        Self {
            address: format!("http://{}", server.addr),
            content,
        }
    }

    /// What is in it, to look at and to change.
    pub fn content(&self) -> MutexGuard<'_, Content> {
        lock(&self.content)
    }

    /// Puts a secret, as a new version.
    pub fn put(&self, path: &str, value: Value) {
        let mut content = self.content();
        content
            .secrets
            .entry(path.to_owned())
            .or_default()
            .push(Some(value));
    }

    /// How often `what` was asked, as the beginning of `METHOD path`.
    pub fn asked(&self, what: &str) -> usize {
        let content = self.content();
        content
            .asked
            .iter()
            .filter(|asked| asked.starts_with(what))
            .count()
    }
}

fn lock(content: &Arc<Mutex<Content>>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

fn said(status: &str, body: &Value) -> Vec<Say> {
    Say::http(status, "application/json", &body.to_string())
}

fn refused(status: &str, why: &str) -> Vec<Say> {
    said(status, &json!({"errors": [why]}))
}

/// The form all answers have.
fn envelope(data: &Value) -> Value {
    json!({"request_id": "c0ffee", "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": data, "wrap_info": null, "warnings": null, "auth": null})
}

fn answer(content: &mut Content, heard: &Heard) -> Vec<Say> {
    let target = heard.head.split(' ').nth(1).unwrap_or_default();
    let path = target.trim_start_matches("/v1/").to_owned();
    let path = path.split('?').next().unwrap_or_default();
    content.asked.push(format!("{} {path}", heard.verb));
    let mut before = Vec::new();
    match &content.mood {
        Mood::Fine => {}
        Mood::Sealed => {
            if let ("GET", "sys/health" | "sys/seal-status") = (heard.verb.as_str(), path) {
                return said(
                    "503 Service Unavailable",
                    &json!({"initialized": true, "sealed": true}),
                );
            }
            return refused("503 Service Unavailable", "Vault is sealed");
        }
        Mood::Standby(leader) => {
            let head = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {leader}/v1/{path}\r\ncontent-length: 0\r\n\r\n"
            );
            return vec![Say::Bytes(head.into_bytes())];
        }
        Mood::Leaderless => {
            let why = "local node not active but active cluster node not found";
            return refused("500 Internal Server Error", why);
        }
        Mood::Uninitialised => return refused("501 Not Implemented", "not initialized"),
        Mood::Limited => {
            let body = json!({"errors": ["request path is over its quota"]}).to_string();
            let head = format!(
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            return vec![Say::Bytes(format!("{head}{body}").into_bytes())];
        }
        Mood::Silent => return vec![Say::Hang],
        Mood::Waits(gate) => before.push(Say::Until(gate.clone())),
        Mood::Half => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
            return vec![
                Say::text(head),
                Say::text("{\"request_id\":\"c0f"),
                Say::Close,
            ];
        }
        Mood::Proxy => return Say::http("200 OK", "text/html", "<html>sign in</html>"),
        Mood::Endless => {
            let filler = json!({"data": {"token": "x".repeat(200_000)}});
            return said("200 OK", &filler);
        }
        Mood::Broken => {
            return refused(
                "500 Internal Server Error",
                "storage: canary-vault-internal-words",
            );
        }
    }
    before.extend(routed(content, heard, path));
    before
}

fn routed(content: &mut Content, heard: &Heard, path: &str) -> Vec<Say> {
    let namespace = heard.header("x-vault-namespace").unwrap_or_default();
    if content
        .namespace
        .as_deref()
        .is_some_and(|wanted| namespace.trim_end_matches('/') != wanted)
    {
        return refused("404 Not Found", "no handler for route");
    }
    let body = heard.json();
    match path {
        "sys/health" => {
            return said(
                "200 OK",
                &json!({"initialized": true, "sealed": false, "standby": false}),
            );
        }
        "sys/seal-status" => {
            return said(
                "200 OK",
                &json!({"initialized": true, "sealed": false, "t": 1, "n": 1, "progress": 0}),
            );
        }
        "auth/approle/login" => return login(content, &body),
        _ => {}
    }
    let token = heard.header("x-vault-token").unwrap_or_default().to_owned();
    let Some(ttl) = content.tokens.get(&token).copied() else {
        return refused("403 Forbidden", "permission denied");
    };
    match path {
        "auth/token/lookup-self" => said(
            "200 OK",
            &envelope(
                &json!({"id": token, "ttl": ttl, "renewable": ttl > 0, "policies": ["keepgate"]}),
            ),
        ),
        "auth/token/renew-self" => said("200 OK", &auth(&token, content.token_ttl)),
        "auth/token/revoke-self" => {
            content.tokens.remove(&token);
            said("204 No Content", &Value::Null)
        }
        "sys/leases/renew" | "sys/leases/lookup" | "sys/leases/revoke" => {
            lease(content, path, &body)
        }
        _ => secret(content, heard, path, &body),
    }
}

fn auth(token: &str, ttl: u64) -> Value {
    let mut answer = envelope(&Value::Null);
    answer["auth"] = json!({"client_token": token, "accessor": "acc", "policies": ["keepgate"],
        "token_policies": ["keepgate"], "metadata": {}, "lease_duration": ttl, "renewable": true});
    answer
}

fn login(content: &mut Content, body: &Value) -> Vec<Say> {
    let (role, secret) = (&content.role.0, &content.role.1);
    if body["role_id"] != role.as_str() || body["secret_id"] != secret.as_str() {
        return refused("400 Bad Request", "invalid role or secret ID");
    }
    content.issued += 1;
    let token = format!("s.login-token-{}", content.issued);
    content.tokens.insert(token.clone(), content.token_ttl);
    said("200 OK", &auth(&token, content.token_ttl))
}

fn lease(content: &mut Content, path: &str, body: &Value) -> Vec<Say> {
    let id = body["lease_id"].as_str().unwrap_or_default().to_owned();
    let now = Instant::now();
    content.leases.retain(|_, (_, ends)| *ends > now);
    let Some((_, ends)) = content.leases.get_mut(&id) else {
        return refused("400 Bad Request", "invalid lease");
    };
    match path {
        "sys/leases/renew" => {
            *ends = now + Duration::from_secs(content.lease_ttl);
            let mut answer = envelope(&Value::Null);
            answer["lease_id"] = id.into();
            answer["lease_duration"] = content.lease_ttl.into();
            answer["renewable"] = content.renewable.into();
            said("200 OK", &answer)
        }
        "sys/leases/lookup" => {
            let ttl = ends.duration_since(now).as_secs();
            said(
                "200 OK",
                &envelope(&json!({"id": id, "ttl": ttl, "renewable": content.renewable})),
            )
        }
        _ => {
            if !content.lies {
                content.leases.remove(&id);
            }
            said("204 No Content", &Value::Null)
        }
    }
}

fn secret(content: &mut Content, heard: &Heard, path: &str, body: &Value) -> Vec<Say> {
    let writes = matches!(heard.verb.as_str(), "POST" | "PUT");
    if let Some(below) = path.strip_prefix("secret/data/") {
        let versions = content
            .secrets
            .entry(format!("secret/{below}"))
            .or_default();
        if writes {
            versions.push(Some(body["data"].clone()));
        }
        let metadata = json!({"version": versions.len(), "created_time": "2026-01-01T00:00:00Z",
            "deletion_time": "", "destroyed": false, "custom_metadata": null});
        return match versions.last() {
            None => refused_nothing(),
            Some(None) => said(
                "404 Not Found",
                &envelope(&json!({"data": null, "metadata": metadata})),
            ),
            Some(Some(_)) if writes => said("200 OK", &envelope(&metadata)),
            Some(Some(value)) => said(
                "200 OK",
                &envelope(&json!({"data": value, "metadata": metadata})),
            ),
        };
    }
    if path.starts_with("kv/") {
        let versions = content.secrets.entry(path.to_owned()).or_default();
        if writes {
            *versions = vec![Some(body.clone())];
            return said("204 No Content", &Value::Null);
        }
        return match versions.last() {
            Some(Some(value)) => {
                let mut answer = envelope(value);
                answer["lease_duration"] = 2_764_800.into();
                said("200 OK", &answer)
            }
            Some(None) | None => refused_nothing(),
        };
    }
    let issuing = ["database/creds/", "secret/mcp/salesforce/"];
    if let Some(role) = issuing.iter().find_map(|prefix| path.strip_prefix(prefix)) {
        content.issued += 1;
        let number = content.issued;
        let id = format!("database/creds/{role}/lease-{number}");
        let password = format!("leased-password-{number}-Zx9");
        let ends = Instant::now() + Duration::from_secs(content.lease_ttl);
        content.leases.insert(id.clone(), (password.clone(), ends));
        let mut answer = envelope(
            &json!({"username": format!("v-{role}-{number}"), "password": password, "token": password}),
        );
        answer["lease_id"] = id.into();
        answer["lease_duration"] = content.lease_ttl.into();
        answer["renewable"] = content.renewable.into();
        return said("200 OK", &answer);
    }
    refused("404 Not Found", "no handler for route")
}

fn refused_nothing() -> Vec<Say> {
    said("404 Not Found", &json!({"errors": []}))
}
