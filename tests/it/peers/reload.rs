//! Every key of the configuration, changed in a running gateway: its value is applied, or it is reported as one that needs a
//! restart, until the file has the value in use again.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use keepgate_tests::{Answer, Client, FakeServer, Say, upstream::said};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::process::{repository, until};

/// Allows everything.
const ALLOWS: &str = "package mcp.authz\n\nallow contains \"all\"\n";
/// Denies everything.
const NOTHING: &str = "package mcp.authz\n\nallow contains \"none\" if false\n";

/// A definition of the server that lets nothing through.
const DEFINITION: &str = "mcp_server:\n  name: up\n  permissions:\n    allowed_objects: [Account]\n    allowed_operations: [read]\n";

/// Effect of a changed key.
enum Effect {
    /// It needs a restart.
    Restart,
    /// It is applied, and this look at the gateway gives this instead of what it gave before.
    Applied(&'static str, &'static str),
    /// It is applied, and another test looks at the effect.
    Taken,
}

/// A change of the configuration.
type Change = fn(&mut Value);

/// The keys, and a change of each. A key stands for those below it.
const KEYS: [(&str, Change, Effect); 41] = {
    use Effect::{Applied, Restart, Taken};
    [
        (
            "listen",
            |it| it["listen"] = json!(["127.0.0.1:0", "[::1]:0"]),
            Restart,
        ),
        (
            "public_url",
            |it| it["public_url"] = json!("http://other.example"),
            Applied("host", "200"),
        ),
        // Its paths are changed in `a_certificate_that_cannot_be_used_replaces_none`.
        ("tls", tls, Restart),
        (
            "hosts",
            |it| it["hosts"] = json!(["other.example"]),
            Applied("host", "200"),
        ),
        (
            "origins",
            |it| it["origins"] = json!(["https://app.example"]),
            Applied("origin", "200"),
        ),
        (
            "egress",
            |it| it["egress"] = json!({"proxy": "http://127.0.0.1:9"}),
            Taken,
        ),
        (
            "trusted_proxies",
            |it| it["trusted_proxies"] = json!(["10.0.0.0/8"]),
            Restart,
        ),
        (
            "admin.listen",
            |it| it["admin"]["listen"] = json!("[::1]:0"),
            Restart,
        ),
        (
            "admin.hosts",
            |it| it["admin"]["hosts"] = json!(["admin.example"]),
            Restart,
        ),
        (
            "admin.public_url",
            |it| it["admin"]["public_url"] = json!("https://console.example"),
            Restart,
        ),
        (
            "admin.tls",
            |it| {
                it["admin"]["tls"] = json!({"certificate": "certificate.pem", "key": "key.pem"});
            },
            Restart,
        ),
        (
            "auth.mode",
            |it| it["auth"] = json!({"mode": "keys"}),
            Applied("call", "401"),
        ),
        // Read in mode `oauth` alone; see `callers_that_are_not_admitted_any_more_are_cut`.
        ("auth.keys", oauth, Applied("call", "401")),
        ("auth.scopes", oauth, Applied("call", "401")),
        ("auth.issuers", oauth, Applied("call", "401")),
        (
            "state.dir",
            |it| it["state"]["dir"] = json!("elsewhere"),
            Restart,
        ),
        // There is one value.
        (
            "state.store",
            |it| it["state"]["store"] = json!("sqlite"),
            Taken,
        ),
        (
            "policies",
            |it| it["policies"] = json!(["other"]),
            Applied("call", "-32602"),
        ),
        (
            "policies[].bundle",
            |it| it["policies"] = json!(["policies", {"bundle": "bundle.tar.gz"}]),
            Restart,
        ),
        (
            "tenants",
            |it| it["tenants"] = json!({"default": {"policies": ["other"]}}),
            Applied("call", "-32602"),
        ),
        (
            "definitions",
            |it| it["definitions"] = json!("defined"),
            Applied("call", "refused"),
        ),
        (
            "shadow",
            |it| it["shadow"] = json!({"policies": ["other"]}),
            Restart,
        ),
        (
            "status",
            |it| it["status"] = json!({"url": "http://127.0.0.1:9"}),
            Restart,
        ),
        (
            "decisions",
            |it| it["decisions"] = json!({"file": {}}),
            Restart,
        ),
        (
            "approvals",
            |it| it["approvals"] = json!({"ttl": "5m"}),
            Taken,
        ),
        (
            "approvals.notify",
            |it| {
                it["approvals"] = json!({"notify": {"first": {
                    "kind": "generic", "url": "http://127.0.0.1:1", "secret": "env:NONE",
                }}});
            },
            Restart,
        ),
        (
            "audit.durability",
            |it| it["audit"] = json!({"durability": "synced"}),
            Restart,
        ),
        (
            "audit.arguments",
            |it| it["audit"] = json!({"arguments": {"clear": ["up.echo"]}}),
            Taken,
        ),
        (
            "limits.header_timeout",
            |it| it["limits"] = json!({"header_timeout": "9s"}),
            Restart,
        ),
        (
            "limits.connections",
            |it| it["limits"] = json!({"connections": 99}),
            Restart,
        ),
        (
            "limits.memory",
            |it| it["limits"] = json!({"memory": "99MiB"}),
            Restart,
        ),
        (
            "limits.drain",
            |it| it["limits"] = json!({"drain": "9s"}),
            Restart,
        ),
        (
            "limits.drain_delay",
            |it| it["limits"] = json!({"drain_delay": "9s"}),
            Restart,
        ),
        (
            "limits",
            |it| it["limits"] = json!({"body": "8KiB"}),
            Applied("large", "413"),
        ),
        (
            "log.format",
            |it| it["log"]["format"] = json!("text"),
            Applied("log", "text"),
        ),
        (
            "log.level",
            |it| it["log"]["level"] = json!("debug"),
            Applied("log", "debug"),
        ),
        (
            "telemetry",
            |it| it["telemetry"] = json!({"traces": {"file": "traces"}}),
            Restart,
        ),
        // Who uses it is tested with a vault.
        ("credentials", vault, Taken),
        (
            "servers",
            |it| it["servers"]["second"] = it["servers"]["up"].clone(),
            Applied("second", "200"),
        ),
        ("version", |it| it["version"] = json!(1), Taken),
        (
            "tenants.<name>.policies[].bundle",
            |it| {
                it["tenants"] = json!({"default": {"policies": [{"bundle": "bundle.tar.gz"}]}});
            },
            Restart,
        ),
    ]
};

fn tls(it: &mut Value) {
    it["tls"] = json!({"certificate": "certificate.pem", "key": "key.pem"});
}

fn oauth(it: &mut Value) {
    let issuers = json!([{"issuer": "http://127.0.0.1:9"}]);
    it["public_url"] = json!("http://gateway.example");
    it["auth"] = json!({"mode": "oauth", "keys": true, "scopes": ["a"], "issuers": issuers});
}

fn vault(it: &mut Value) {
    let vault = json!({"address": "http://127.0.0.1:9", "auth": {"token": "file:/token"}, "mounts": {"secret": "kv2"}});
    it["credentials"] = json!({"providers": {"vault": vault}});
}

/// The key under which the gateway reports a row of the table.
fn reported(key: &str) -> &str {
    key.split_once('[')
        .map_or(key, |(key, _)| key)
        .trim_end_matches(".<name>.policies")
}

async fn gate() -> (FakeServer, Gate) {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let home = Home::new().url("up", &server.url());
    // Notifications need it.
    let home = home.with(|it| it["admin"]["public_url"] = json!("https://first.example"));
    for folder in ["other", "defined"] {
        std::fs::create_dir(home.path(folder)).expect("a folder");
    }
    home.replace("other/policy.rego", NOTHING);
    home.replace("defined/up.yaml", DEFINITION);
    // Nothing of these is read before a start.
    for file in ["certificate.pem", "key.pem", "bundle.tar.gz"] {
        home.replace(file, "");
    }
    (server, home.serve().await)
}

/// The body of `/readyz`.
async fn readyz(gate: &Gate) -> String {
    let answer = Client::new(gate.admin)
        .path("/readyz")
        .send("GET", "")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

/// The lines of `/readyz` with keys that need a restart.
async fn restart_required(gate: &Gate) -> Vec<String> {
    let ready = readyz(gate).await;
    let keys = ready
        .lines()
        .filter_map(|line| line.strip_prefix("restart_required: "));
    keys.map(str::to_owned).collect()
}

/// Looks at one thing that a key changes.
async fn look(gate: &Gate, at: &str) -> String {
    let client = gate.client("up");
    let brief = |answer: &Answer| match (answer.status, &answer.json()["error"]["code"]) {
        (200, Value::Number(code)) => code.to_string(),
        (200, _) if answer.json()["result"]["isError"] == true => "refused".to_owned(),
        (status, _) => status.to_string(),
    };
    match at {
        "call" => brief(&client.call_modern("echo", json!({})).await),
        "host" => brief(
            &client
                .without("host")
                .header("host", "other.example")
                .call_modern("echo", json!({}))
                .await,
        ),
        "origin" => brief(
            &client
                .header("origin", "https://app.example")
                .call_modern("echo", json!({}))
                .await,
        ),
        "large" => brief(
            &client
                .call_modern("echo", json!({"text": "x".repeat(16 << 10)}))
                .await,
        ),
        "second" => gate
            .client("second")
            .call_modern("echo", json!({}))
            .await
            .status
            .to_string(),
        "log" => {
            // Something to log at the level `debug`.
            assert_eq!(gate.admin("/absent").await, 401);
            gate.process.signal(Signal::SIGHUP);
            let log = gate.process.stderr();
            let last = log
                .lines()
                .rev()
                .find(|line| line.contains("admin token reloaded"))
                .unwrap_or_default();
            let is_debug = log
                .lines()
                .rev()
                .take(40)
                .any(|line| line.contains("\"level\":\"DEBUG\""));
            match (last.starts_with('{'), is_debug) {
                (true, true) => "debug",
                (true, false) => "json",
                (false, _) => "text",
            }
            .to_owned()
        }
        other => panic!("nobody looks at `{other}`"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_key_is_applied_or_reported_until_it_is_changed_back() {
    let (_server, mut gate) = gate().await;
    for (key, change, effect) in KEYS {
        let before = match &effect {
            Effect::Applied(at, after) => {
                let before = look(&gate, at).await;
                assert_ne!(before, *after, "{key}");
                before
            }
            Effect::Restart | Effect::Taken => String::new(),
        };
        let reloads = gate.said("configuration reloaded");
        let home = gate.home;
        let kept = home.configuration();
        gate.home = home.with(change);
        match &effect {
            Effect::Restart => {
                let name = reported(key);
                until(&format!("`{key}` to be reported"), async || {
                    restart_required(&gate).await == [name]
                })
                .await;
                let metric = "keepgate_restart_required_keys 1";
                assert!(
                    gate.metrics().await.lines().any(|line| line == metric),
                    "{key}"
                );
                assert!(gate.said("restart required") > 0);
            }
            Effect::Applied(at, after) => {
                until(&format!("`{key}` to be applied"), async || {
                    look(&gate, at).await == *after
                })
                .await;
                assert_eq!(restart_required(&gate).await, Vec::<String>::new(), "{key}");
            }
            Effect::Taken => {
                gate.process.signal(Signal::SIGHUP);
                gate.says("configuration reloaded", reloads + 1).await;
                assert_eq!(restart_required(&gate).await, Vec::<String>::new(), "{key}");
            }
        }
        assert!(
            !readyz(&gate).await.contains("stale"),
            "{key}: {}",
            gate.process.stderr()
        );

        let home = gate.home;
        gate.home = home.with(|it| *it = kept);
        until(&format!("`{key}` to be changed back"), async || {
            let back = match &effect {
                Effect::Applied(at, _) => look(&gate, at).await == before,
                Effect::Restart | Effect::Taken => true,
            };
            back && restart_required(&gate).await.is_empty()
        })
        .await;
    }
    let metric = "keepgate_restart_required_keys 0";
    assert!(gate.metrics().await.lines().any(|line| line == metric));
    gate.end().await;
}

const BROKEN: &str = "package mcp.authz\n\nallow contains if {{{\n";

/// A part that is wrong, and the file that makes it so: of a path that is new, or of one that was there before.
const WRONG: [(&str, &str, &str, Change); 2] = [
    ("policies", "other/policy.rego", BROKEN, |it| {
        it["policies"] = json!(["other"])
    }),
    ("policies", "policies/policy.rego", BROKEN, |_| {}),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_which_a_part_is_wrong_changes_nothing() {
    for (part, file, broken, change) in WRONG {
        let (_server, mut gate) = gate().await;
        let right = std::fs::read_to_string(gate.home.path(file)).expect("a file");
        gate.home.replace(file, broken);
        let home = gate.home;
        gate.home = home.with(|it| {
            change(it);
            it["hosts"] = json!(["other.example"]);
            it["limits"] = json!({"drain": "9s"});
        });
        gate.says("configuration not taken", 1).await;
        until("readiness to report it", async || {
            readyz(&gate)
                .await
                .contains("configuration: stale, last reload failed\n")
        })
        .await;
        let metric = "keepgate_last_reload_successful{keepgate_part=\"configuration\"} 0";
        let metrics = gate.metrics().await;
        assert!(
            metrics.lines().any(|line| line == metric),
            "{file}: {metrics}"
        );
        let check = gate.home.keepgate(&["check"]).await;
        assert_eq!(check.code, Some(4), "{file}: {}", check.stderr);
        assert_eq!(look(&gate, "call").await, "200");
        assert_ne!(look(&gate, "host").await, "200", "{file}");
        assert_eq!(restart_required(&gate).await, Vec::<String>::new());
        // The configuration itself was right: it is applied as soon as the file it names is.
        gate.home.replace(
            file,
            if file.starts_with("other") {
                ALLOWS
            } else {
                &right
            },
        );
        until("readiness to be well", async || {
            readyz(&gate).await.contains("configuration: ok\n")
        })
        .await;
        assert!(readyz(&gate).await.contains("policy: ok\n"), "{file}");
        assert_eq!(look(&gate, "host").await, "200", "{file}");
        let records = gate.end().await;
        let rejected = of_kind(&records, "config.rejected");
        assert!(!rejected.is_empty(), "{file}");
        for record in rejected {
            let reason = json!([{"code": "part", "message": part}]);
            assert_eq!(record["reasons"], reason, "{file}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_became_unusable_holds_up_the_configuration() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made.expect("a certificate");
    let home = Home::new().url("up", "http://127.0.0.1:9/mcp");
    home.replace("certificate.pem", &made.cert.pem());
    home.replace("key.pem", &made.signing_key.serialize_pem());
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(home.path("key.pem"), closed).expect("closed");
    let mut gate = home.with(tls).serve().await;
    gate.home.replace("certificate.pem", "none");
    gate.says("certificate not taken", 1).await;
    gate.home = gate.home.with(|it| it["log"]["level"] = json!("debug"));
    gate.says("configuration not taken", 1).await;
    assert_eq!(gate.said("configuration reloaded"), 0);
    let ready = readyz(&gate).await;
    for part in ["configuration", "certificate"] {
        let stale = format!("{part}: stale, last reload failed\n");
        assert!(ready.contains(&stale), "{ready}");
    }
    gate.home.replace("certificate.pem", &made.cert.pem());
    gate.says("configuration reloaded", 1).await;
    let ready = readyz(&gate).await;
    assert!(ready.contains("configuration: ok\n"), "{ready}");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_policies_that_were_not_taken_show_in_readiness() {
    let home = Home::new().url("up", "http://127.0.0.1:9/mcp");
    std::fs::create_dir(home.path("other")).expect("a folder");
    home.replace("other/policy.rego", NOTHING);
    let home = home.with(|it| it["shadow"] = json!({"policies": ["other"]}));
    let gate = home.serve().await;
    let stale = "shadow: stale, last reload failed\n";
    assert!(!readyz(&gate).await.contains("shadow"));
    gate.home.replace("other/policy.rego", BROKEN);
    until("readiness to report it", async || {
        readyz(&gate).await.contains(stale)
    })
    .await;
    gate.home.replace("other/policy.rego", NOTHING);
    until("readiness to be well", async || {
        !readyz(&gate).await.contains(stale)
    })
    .await;
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_key_names_is_a_value_of_the_key() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let authority = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        made.expect("a certificate").cert.pem()
    };
    let home = Home::new().url("up", &server.url());
    let (first, second) = (authority(), authority());
    for name in ["vault.pem", "status.pem", "issuer.pem"] {
        home.replace(name, &first);
    }
    let home = home.with(|it| {
        vault(it);
        it["credentials"]["providers"]["vault"]["address"] = json!("https://127.0.0.1:9");
        it["credentials"]["providers"]["vault"]["tls"] = json!({"ca": "vault.pem"});
        it["status"] = json!({"url": "https://127.0.0.1:9", "tls": {"ca": "status.pem"}});
        oauth(it);
        it["auth"]["issuers"][0]["tls"] = json!({"ca": "issuer.pem"});
    });
    let mut gate = home.serve().await;
    for (name, key) in [("vault.pem", "credentials"), ("status.pem", "status")] {
        gate.home.replace(name, &second);
        until(&format!("`{name}` to be reported"), async || {
            restart_required(&gate).await == [key]
        })
        .await;
        gate.home.replace(name, &first);
        until(&format!("`{name}` to be put back"), async || {
            restart_required(&gate).await.is_empty()
        })
        .await;
    }
    assert_eq!(gate.said("authentication reloaded"), 0);
    gate.home.replace("issuer.pem", &second);
    gate.says("authentication reloaded", 1).await;
    assert_eq!(restart_required(&gate).await, Vec::<String>::new());
    gate.end().await;
}

/// The log at a level that leaves out most of it.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_level_silences_start_reload_kill_and_end() {
    for level in ["warning", "error", "off"] {
        let home = Home::new().url("up", "http://127.0.0.1:9");
        let mut gate = home
            .with(|it| it["log"]["level"] = json!(level))
            .serve()
            .await;
        let kill = ["kill", "set", "server", "up", "--reason", "INC-1", "--url"];
        let url = format!("http://{}", gate.admin);
        let token = gate.home.path("state/admin-token");
        let words = [&url, "--token-file", token.to_str().expect("text")];
        gate.home
            .keepgate(&[&kill[..], &words].concat())
            .await
            .good();
        gate.process.signal(Signal::SIGHUP);
        gate.says("configuration reloaded", 1).await;
        gate.home
            .policy("package mcp.authz\n\nallow contains if {{{\n");
        gate.says("policies not taken", 1).await;
        gate.process.signal(Signal::SIGTERM);
        gate.says("ended", 1).await;
        for message in ["keepgate starts", "listening for clients", "ready", "kill"] {
            assert!(
                gate.said(message) > 0,
                "{level}: {message}\n{}",
                gate.process.stderr()
            );
        }
    }
}

#[test]
fn every_documented_key_is_in_the_table_of_reloads() {
    let documentation = repository().join("crates/cli/docs/configuration.md");
    let documentation = std::fs::read_to_string(documentation).expect("a file");
    let rows = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let keys: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let keys = keys.into_iter().filter(|key| !key.starts_with("KEEPGATE_"));
    let known = |key: &str| {
        KEYS.iter().any(|(known, ..)| {
            key == *known
                || key
                    .strip_prefix(known)
                    .is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    };
    let missing: Vec<&str> = keys.filter(|key| !known(key)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
