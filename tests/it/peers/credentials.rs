//! Canaries: secrets put into every place a credential can come from, and looked for in everything the program leaves
//! behind. Whoever adds something that leaves the program adds it to [`left_behind`].

use std::{os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use keepgate_tests::{Client, FakeServer, FakeVault, Say, upstream::said, vault::Mood};
use serde_json::{Value, json};

use super::gate::{Gate, Home};

const KV: &str = "canary-kv-a81f+77/Qx==";
const FILE: &str = "canary-file-9d02+31/Rw==";
const VARIABLE: &str = "canary-variable-55c1";
const QUERY: &str = "canary-query-e6b7+12/Tz";
const CHILD: &str = "canary-child-04ad+90/Uv";
const ROLE: &str = "canary-role-id-7f3e";
const SECRET_ID: &str = "canary-secret-id-c29b";
/// What the fake vault says of its own failures.
const WORDS: &str = "canary-vault-internal-words";
/// The tokens and passwords the fake vault makes up begin so.
const ISSUED: [&str; 2] = ["s.login-token-", "leased-password-"];

/// A child that says its secret on every channel it has.
const LEAKY: &str = r#"
import json, os, sys
token = os.environ["TOKEN"]
sys.stderr.write("my token is " + token + "\n"); sys.stderr.flush()
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    if message["method"] == "tools/list":
        result = {"tools": [{"name": "echo", "description": token, "inputSchema": {"type": "object"}}], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    else:
        result = {"content": [{"type": "text", "text": "env " + token}], "resultType": "complete"}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n"); sys.stdout.flush()
"#;

fn private(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
    format!("file:{}", path.display())
}

/// A server that says back all it heard, in one of three ways.
async fn parrot() -> FakeServer {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    FakeServer::with_tools(move |heard| {
        let id = &heard.json()["id"];
        let text = format!("{} | {}", heard.head, STANDARD_NO_PAD.encode(&heard.head));
        match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 4 {
            0 => Say::json(&said(id, &text)),
            1 => Say::sse_whole(&[said(id, &text)]),
            2 => {
                let error =
                    json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": text}});
                Say::http("400 Bad Request", "application/json", &error.to_string())
            }
            _ => Say::http("401 Unauthorized", "text/plain", &text),
        }
    })
    .await
}

/// Everything that left the program, by name.
async fn left_behind(gate: Gate, answers: Vec<Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, answer) in answers.into_iter().enumerate() {
        all.push((format!("answer {number}"), answer));
    }
    let token = std::fs::read_to_string(gate.home.path("state/admin-token")).unwrap_or_default();
    for path in [
        "/metrics",
        "/healthz",
        "/livez",
        "/readyz",
        "/api/v1/kills",
        "/api/v1/sessions",
        "/api/v1/servers",
        "/",
    ] {
        let client = Client::new(gate.admin)
            .path(path)
            .header("authorization", &format!("Bearer {}", token.trim()));
        all.push((path.to_owned(), client.send("GET", "").await.body.to_vec()));
    }
    for words in [&["check"][..], &["servers", "list"]] {
        let done = gate.home.keepgate(words).await;
        all.push((words.join(" "), (done.stdout + &done.stderr).into_bytes()));
    }
    let log = gate.process.stderr();
    assert!(
        log.contains("\"level\":\"TRACE\""),
        "the log is to show everything"
    );
    all.push(("log".to_owned(), log.into_bytes()));
    let state = gate.home.path("state");
    let records = gate.end_keeping().await;
    all.push((
        "log at the end".to_owned(),
        records.process.stderr().into_bytes(),
    ));
    let traces = std::fs::read(records.home.path("traces.jsonl")).expect("traces");
    assert!(
        String::from_utf8_lossy(&traces).contains("tools/call"),
        "there are to be traces"
    );
    all.push(("traces".to_owned(), traces));
    let mut folders = vec![state];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push((
                    path.display().to_string(),
                    std::fs::read(path).expect("a file"),
                ));
            }
        }
    }
    all
}

/// The ways a secret may be written.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![
        secret.to_owned(),
        json!(secret).to_string().trim_matches('"').to_owned(),
    ];
    forms.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
    for before in ["", "a", "ab"] {
        let text = STANDARD_NO_PAD.encode(format!("{before}{secret}"));
        forms.push(text[4..text.len() - 2].to_owned());
    }
    // The first half is a leak, too.
    forms.push(secret[..secret.len() - 4].to_owned());
    forms
}

/// A gateway with a server for each place a credential can come from, that writes down all it does.
async fn start(vault: &FakeVault, parrot: &FakeServer, queried: &FakeServer) -> Gate {
    let home = Home::new();
    let folder = home.path("");
    let file = private(&folder, "file", FILE);
    let query = private(&folder, "query", QUERY);
    let child = private(&folder, "child", CHILD);
    let role = private(&folder, "role", ROLE);
    let secret_id = private(&folder, "secret-id", SECRET_ID);
    let url = parrot.url();
    let traces = home.path("traces.jsonl");
    let provider = json!({
        "address": vault.address, "max_age": "1s",
        "auth": {"approle": {"role_id": role, "secret_id": secret_id}},
        "mounts": {"secret": "kv2", "database": "leased"},
    });
    home
        .env("CANARY", VARIABLE)
        .with(|it| {
            it["log"]["level"] = json!("trace");
            it["telemetry"] = json!({"traces": {"file": traces}});
            it["credentials"] = json!({"providers": {"vault": provider}});
            let credential = |text: &str, form: &str| json!({"ref": text, "as": form});
            let server = |credential: Value| json!({"url": url, "credential": credential});
            it["servers"] = json!({
                "kv": server(credential("vault:secret/crm#token", "bearer")),
                "leased": server(json!({"ref": "vault:database/creds/crm#password", "as": "basic", "user_field": "username"})),
                "file": server(json!({"ref": file, "as": "header", "name": "X-Api-Key"})),
                "variable": server(json!({"ref": "env:CANARY", "as": "basic", "user": "svc"})),
                "query": {"url": queried.url(), "credential": {"ref": query, "as": "query", "name": "key", "in_url": true}},
                "child": {"command": ["python3", "-c", LEAKY], "credential": {"ref": child, "as": "environment", "name": "TOKEN"}},
            });
        })
        .serve()
        .await
}

/// Looks for every canary in everything.
fn search(all: &[(String, Vec<u8>)]) {
    let mut canaries: Vec<String> = Vec::new();
    for secret in [KV, FILE, VARIABLE, QUERY, CHILD, ROLE, SECRET_ID] {
        canaries.extend(forms(secret));
    }
    canaries.extend([WORDS, ISSUED[0], ISSUED[1]].map(str::to_owned));
    for (name, content) in all {
        let text = String::from_utf8_lossy(content);
        for canary in &canaries {
            if let Some(at) = text.find(canary.as_str()) {
                let around: String = text[..at]
                    .chars()
                    .rev()
                    .take(200)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect();
                panic!("{name} holds `{canary}` after ..{around}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_appear_nowhere() {
    let vault = FakeVault::start().await;
    vault.put("secret/crm", json!({"token": KV}));
    vault.content().role = (ROLE.to_owned(), SECRET_ID.to_owned());
    let (parrot, queried) = (parrot().await, parrot().await);
    let gate = start(&vault, &parrot, &queried).await;
    let mut answers = Vec::new();
    let names = ["kv", "leased", "file", "variable", "query", "child"];
    for _ in 0..5 {
        for name in names {
            let answer = gate.client(name).call_modern("echo", json!({})).await;
            answers.push(format!("{:?}", answer.headers).into_bytes());
            answers.push(answer.body.to_vec());
        }
    }
    let listed = gate
        .client("child")
        .ask_modern("tools/list", None, json!({}))
        .await;
    answers.push(listed.body.to_vec());
    vault.content().mood = Mood::Broken;
    loop {
        let refused = gate.client("kv").call_modern("echo", json!({})).await;
        let code = refused.code();
        answers.push(refused.body.to_vec());
        if code.as_deref() == Some("credential_unavailable") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    vault.content().mood = Mood::Fine;

    // The servers did get them: there was something to leak.
    let mut heard: String = parrot
        .heard()
        .iter()
        .map(|heard| heard.head.clone())
        .collect();
    heard.extend(queried.heard().iter().map(|heard| heard.head.clone()));
    for there in [
        KV,
        FILE,
        "canary-query-e6b7%2B12%2FTz",
        &STANDARD_NO_PAD.encode(format!("svc:{VARIABLE}")),
    ] {
        assert!(heard.contains(there), "{there}");
    }

    let all = left_behind(gate, answers).await;
    assert!(all.len() > 60, "{}", all.len());
    let masked = all.iter().filter(|(name, _)| name.starts_with("answer"));
    let masked =
        masked.filter(|(_, text)| String::from_utf8_lossy(text).contains("[masked by keepgate]"));
    assert!(masked.count() > 10);
    search(&all);
}
