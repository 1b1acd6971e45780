//! Policies from bundles: made and signed by Python's tarfile and PyJWT, served by Starlette with real ETags.

mod faults;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keepgate_tests::{Client, FakeServer, Gate as Door};
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::operations::server;
use super::process::{Running, run, serve, until};

/// A server whose tools all answer at once.
async fn upstream() -> FakeServer {
    let door = Door::default();
    door.open();
    server(&door).await
}

/// Allows one tool.
fn allows(tool: &str) -> String {
    format!("package mcp.authz\n\nallow contains \"{tool}\" if input.tool.name == \"{tool}\"\n")
}

/// A key made for the tests of the policies, and its public half.
fn key(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = tests.join("../crates/policy/src/bundle/tests").join(name);
    if name != "secret.txt" {
        return path;
    }
    // A checkout is open to everybody, a secret must not be.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let closed = folder.join(format!("{}-{name}", std::process::id()));
    if !closed.exists() {
        std::fs::copy(path, &closed).expect("a copy");
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).expect("closed");
    }
    closed
}

/// A folder of bundles and the server that hands them out.
struct Shop {
    folder: tempfile::TempDir,
    process: Option<Running>,
    url: String,
}

impl Shop {
    async fn open(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("out")).expect("a folder");
        let mut shop = Self {
            folder,
            process: None,
            url: String::new(),
        };
        shop.reopen(environment).await;
        shop
    }

    async fn reopen(&mut self, environment: &[(&str, &str)]) {
        let out = self.folder.path().join("out").display().to_string();
        let mut all = vec![("FOLDER", out.as_str())];
        // The same place as before.
        let port = self.url.rsplit(':').next().unwrap_or_default().to_owned();
        if !port.is_empty() {
            all.push(("PORT", &port));
        }
        all.extend_from_slice(environment);
        let (process, url) = serve("bundles", &all).await;
        self.process = Some(process);
        self.url = url;
    }

    /// Puts a bundle on the shelf: the revision, the rules, and how it is signed.
    async fn stock(&self, revision: &str, rules: &str, signing: &[&str]) {
        let source = self.folder.path().join(format!("source-{revision}"));
        std::fs::create_dir_all(source.join("lists")).expect("a folder");
        let manifest =
            json!({"revision": revision, "roots": ["mcp/authz", "lists"], "rego_version": 1});
        std::fs::write(source.join(".manifest"), manifest.to_string()).expect("a file");
        std::fs::write(source.join("rules.rego"), rules).expect("a file");
        let data = json!({"z": [1.5, "é<>"], "a": {"y": null, "b": true}});
        std::fs::write(source.join("lists/data.json"), data.to_string()).expect("a file");
        std::fs::write(source.join("lists/data.yaml"), "more:\n  - x\n  - 1\n").expect("a file");
        let out = self.folder.path().join("out/policy.tar.gz");
        let (source, out) = (source.display().to_string(), out.display().to_string());
        let mut words = vec![source.as_str(), out.as_str()];
        words.extend_from_slice(signing);
        run("opa_bundle.py", &words, &[]).await.good();
    }

    fn bundle(&self) -> String {
        format!("{}/policy.tar.gz", self.url)
    }

    fn said(&self) -> String {
        let process = self.process.as_ref();
        process.map(Running::stdout).unwrap_or_default()
    }

    /// How often it was asked and answered so.
    fn answered(&self, status: &str) -> usize {
        let said = self.said();
        let lines = said.lines().filter(|line| line.starts_with("asked "));
        lines.filter(|line| line.ends_with(status)).count()
    }
}

/// How a bundle is signed with this algorithm, and how that is verified.
fn signing(algorithm: &str) -> (Vec<String>, Value) {
    let files = match algorithm {
        "ES256" => ("p256.pem", "p256.pub.pem"),
        "ES384" => ("p384.pem", "p384.pub.pem"),
        "HS256" => ("secret.txt", "secret.txt"),
        _ => ("rsa.pem", "rsa.pub.pem"),
    };
    let path = |name: &str| key(name).display().to_string();
    let words = [
        "--key",
        &path(files.0),
        "--algorithm",
        algorithm,
        "--kid",
        "one",
        "--scope",
        "live",
    ];
    let verify =
        json!({"key": path(files.1), "algorithm": algorithm, "id": "one", "scope": "live"});
    (words.map(str::to_owned).to_vec(), verify)
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn remote(shop: &Shop, verify: &Value) -> Value {
    json!([{"bundle": shop.bundle(), "poll": {"min": "100ms", "max": "200ms"}, "verify": verify}])
}

async fn allowed(client: &Client, tool: &str) -> bool {
    client.call_modern(tool, json!({})).await.json()["error"].is_null()
}

async fn status(gate: &Gate) -> Value {
    let token = gate.home.path("state/admin-token");
    let token = std::fs::read_to_string(token).expect("a token");
    let client = Client::new(gate.admin).path("/api/v1/policy/status");
    let client = client.header("authorization", &format!("Bearer {}", token.trim()));
    client.send("GET", "").await.json()
}

/// The second bundle is in force, and operators are told that it may not be the newest.
async fn goes_on_with_the_last_good_one(gate: &Gate, shop: &Shop) {
    let client = gate.client("up");
    assert!(allowed(&client, "delete").await && !allowed(&client, "echo").await);
    let told = status(gate).await;
    let bundle = &told["bundles"][shop.bundle()];
    assert_eq!(bundle["active_revision"], "r2", "{told}");
    assert_eq!(bundle["code"], "bundle_error", "{told}");
    assert_eq!(bundle["stale"], true, "{told}");
    assert_eq!(told["plugins"]["bundle"]["state"], "WARN");
    assert_eq!(gate.admin("/readyz").await, 200);
    let meters = gate.metrics().await;
    let name = shop.bundle();
    let fresh = format!("keepgate_bundle_last_reload_successful{{keepgate_bundle=\"{name}\"}} 0");
    assert!(meters.contains(&fresh), "{meters}");
}

/// Whether the receiver was told that this revision is in force.
fn posted(shop: &Shop, revision: &str) -> bool {
    let said = shop.said();
    let mut told = said
        .lines()
        .filter_map(|line| line.strip_prefix("posted /status "));
    told.any(|told| {
        let told: Value = serde_json::from_str(told).expect("a status");
        told["bundles"][shop.bundle()]["active_revision"] == revision
    })
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "the life of one bundle, in order")]
async fn a_bundle_comes_into_force_is_updated_and_outlives_its_server() {
    let up = upstream().await;
    let mut shop = Shop::open(&[]).await;
    let (signed, verify) = signing("ES256");
    shop.stock("r1", &allows("echo"), &words(&signed)).await;
    let policies = remote(&shop, &verify);
    let home = Home::new().url("up", &up.url()).with(|it| {
        it["policies"] = policies;
        it["status"] = json!({"url": shop.url, "interval": "100ms"});
    });
    let gate = home.serve().await;
    let client = gate.client("up");
    assert!(allowed(&client, "echo").await);
    assert!(!allowed(&client, "delete").await);
    until("the first status", async || posted(&shop, "r1")).await;
    let told = status(&gate).await;
    let bundle = &told["bundles"][shop.bundle()];
    assert_eq!(bundle["active_revision"], "r1", "{told}");
    assert_eq!(
        (&bundle["signed_by"], &bundle["stale"]),
        (&json!("one"), &json!(false))
    );
    assert_eq!(bundle["roots"], json!(["mcp/authz", "lists"]));
    assert_eq!(told["plugins"]["bundle"]["state"], "OK");

    // Nothing new: asked with the tag, and left as it is.
    until("two answers of 304", async || shop.answered(" 304") >= 2).await;
    let before = told["policy"]["generation"].clone();
    assert_eq!(status(&gate).await["policy"]["generation"], before);
    assert_eq!(shop.answered(" 200"), 1);

    shop.stock("r2", &allows("delete"), &words(&signed)).await;
    until("the second bundle", async || {
        allowed(&client, "delete").await
    })
    .await;
    assert!(!allowed(&client, "echo").await);
    until("the second status", async || posted(&shop, "r2")).await;
    until("its revision", async || {
        status(&gate).await["bundles"][shop.bundle()]["active_revision"] == "r2"
    })
    .await;

    // A bundle that is not believed: everything stays, and operators are told.
    let (other, _) = signing("RS256");
    shop.stock("r3", &allows("echo"), &words(&other)).await;
    until("the refusal", async || {
        status(&gate).await["bundles"][shop.bundle()]["stale"] == true
    })
    .await;
    goes_on_with_the_last_good_one(&gate, &shop).await;
    let told = status(&gate).await;
    let error = told["bundles"][shop.bundle()]["errors"][0].as_str();
    let wrong = ".signatures.json: signature is of another algorithm";
    assert!(error.expect("an error").contains(wrong), "{told}");

    // Nor by a start; and when the server is gone, what was in force last comes into force again, verified anew.
    let gate = gate.kill().await.serve().await;
    assert_eq!(
        gate.said("what the bundle's server has now was not taken"),
        1
    );
    goes_on_with_the_last_good_one(&gate, &shop).await;
    let home = gate.kill().await;
    shop.process = None;
    let gate = home.serve().await;
    assert_eq!(gate.said("THE BUNDLE'S SERVER IS DOWN"), 1);
    goes_on_with_the_last_good_one(&gate, &shop).await;

    // And back again: what is in force is the newest.
    shop.stock("r2", &allows("delete"), &words(&signed)).await;
    shop.reopen(&[]).await;
    until("the server again", async || {
        status(&gate).await["bundles"][shop.bundle()]["stale"] == false
    })
    .await;
    let records = gate.end().await;
    assert!(!of_kind(&records, "policy.rejected").is_empty());
    assert!(of_kind(&records, "policy.activated").len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_of_another_hand_are_read_whatever_signs_them() {
    let shop = Shop::open(&[("TOKEN", "a-token-of-the-shop")]).await;
    let up = upstream().await;
    for algorithm in [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "HS256",
    ] {
        let (mut signed, verify) = signing(algorithm);
        signed.extend(["--hash".to_owned(), "SHA-512".to_owned()]);
        shop.stock("r1", &allows("echo"), &words(&signed)).await;
        let mut policies = remote(&shop, &verify);
        policies[0]["credential"] = json!({"ref": "env:SHOP_TOKEN"});
        let home = Home::new()
            .url("up", &up.url())
            .with(|it| it["policies"] = policies);
        let gate = home.env("SHOP_TOKEN", "a-token-of-the-shop").serve().await;
        assert!(allowed(&gate.client("up"), "echo").await, "{algorithm}");
        gate.end().await;
    }
    assert_eq!(shop.answered(" 401"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bundle_there_is_no_start() {
    let shop = Shop::open(&[]).await;
    let (signed, verify) = signing("ES256");
    let mut incomplete = signed.clone();
    incomplete.extend(["--skip".to_owned(), "rules.rego".to_owned()]);
    for (stocked, verify, told) in [
        (None, Some(&verify), "failed to fetch the bundle"),
        (Some(Vec::new()), Some(&verify), "bundle is not signed"),
        (
            Some(signed.clone()),
            None,
            "bundle is signed, and there is no key to check it with",
        ),
        (
            Some(incomplete),
            Some(&verify),
            "rules.rego: file is not in the signature",
        ),
    ] {
        if let Some(signing) = stocked {
            shop.stock("r1", &allows("echo"), &words(&signing)).await;
        }
        let mut policies = remote(&shop, &json!([]));
        match verify {
            Some(verify) => policies[0]["verify"] = verify.clone(),
            None => drop(policies[0].as_object_mut().expect("a map").remove("verify")),
        }
        let home = Home::new().url("up", "http://127.0.0.1:9/mcp");
        let home = home.with(|it| it["policies"] = policies);
        let done = home.keepgate(&["serve"]).await;
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
        assert_ne!(done.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_in_a_file_is_taken_when_it_changes() {
    let shop = Shop::open(&[]).await;
    let up = upstream().await;
    let (signed, verify) = signing("PS256");
    shop.stock("r1", &allows("echo"), &words(&signed)).await;
    let file = shop.folder.path().join("out/policy.tar.gz");
    let policies = json!([{"bundle": file, "verify": verify}]);
    let home = Home::new()
        .url("up", &up.url())
        .with(|it| it["policies"] = policies);
    let mut gate = home.serve().await;
    let client = gate.client("up");
    assert!(allowed(&client, "echo").await);
    shop.stock("r2", &allows("delete"), &words(&signed)).await;
    until("the second bundle", async || {
        allowed(&client, "delete").await
    })
    .await;
    std::fs::write(&file, "no archive").expect("a file");
    gate.says("policies not taken", 1).await;
    assert!(allowed(&client, "delete").await);
    let name = file.display().to_string();
    until("the status", async || {
        status(&gate).await["bundles"][&name]["stale"] == true
    })
    .await;
    assert_eq!(
        status(&gate).await["bundles"][&name]["active_revision"],
        "r2"
    );
    gate.end().await;
}
