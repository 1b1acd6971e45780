//! The console in front of a running gateway: agents ask, people decide in pages, the very calls run.

use keepgate_tests::{Answer, Client, FakeServer, Say, upstream::said};
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::process::run;

const POLICY: &str = r#"package mcp.authz

allow contains "all"

approve contains {"code": "destructive", "message": "deletes <b>an account</b>", "risk": "low"} if input.tool.name == "delete"
"#;

/// A server, a gateway before it, the key of an agent and the token of an operator.
async fn console() -> (FakeServer, Gate, String, String) {
    let server = FakeServer::with_tools(|heard| {
        let call = heard.json();
        Say::json(&said(&call["id"], "did it"))
    })
    .await;
    let home = Home::new().url("up", &server.url()).keys();
    let home = home.with(|it| it["approvals"] = json!({"hold": "off"}));
    home.policy(POLICY);
    let key = home.key("agent").await.1;
    let words = [
        "operators",
        "add",
        "ann",
        "--role",
        "approver",
        "--role",
        "sre",
    ];
    let added = home.keepgate(&words).await.json();
    let token = added["token"].as_str().expect("a token").to_owned();
    (server, home.serve().await, key, token)
}

/// A call of the tool that waits: its approval.
async fn ask(gate: &Gate, key: &str, arguments: Value) -> Answer {
    let agent = gate
        .client("up")
        .header("authorization", &format!("Bearer {key}"));
    agent.call_modern("delete", arguments).await
}

fn approval(answer: &Answer) -> String {
    let refusal = &answer.json()["result"]["_meta"]["dev.keepgate/refusal"];
    refusal["approval"]["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// A browser without script: it keeps the cookie and sends forms.
struct Browser {
    gate: Client,
    origin: String,
    cookie: String,
    /// Over http every act takes it.
    token: String,
}

impl Browser {
    async fn log_in(gate: &Gate, token: &str) -> Self {
        let mut browser = Self {
            gate: Client::new(gate.admin),
            origin: format!("http://{}", gate.admin),
            cookie: String::new(),
            token: token.to_owned(),
        };
        let answer = browser
            .post("/console/login", &format!("key={token}"))
            .await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let line = answer.header("set-cookie").expect("a cookie");
        assert!(line.contains("HttpOnly; SameSite=Strict"), "{line}");
        browser.cookie = line.split(';').next().unwrap_or_default().to_owned();
        browser
    }

    async fn get(&self, path: &str) -> String {
        let client = self.gate.clone().path(path).header("cookie", &self.cookie);
        let answer = client.send("GET", "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        String::from_utf8(answer.body.to_vec()).expect("text")
    }

    /// Sends the form of the page of an approval.
    async fn decide(
        &self,
        page: &str,
        id: &str,
        shown: &str,
        verdict: &str,
        reason: &str,
    ) -> Answer {
        let action = format!("/console/approvals/{id}/decision");
        let token = field(page, &action, "token");
        let key = &self.token;
        let body =
            format!("token={token}&key={key}&shown={shown}&verdict={verdict}&reason={reason}");
        self.post(&action, &body).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        let client = self.gate.clone().path(path).header("cookie", &self.cookie);
        let client = client.header("origin", &self.origin);
        let form = "application/x-www-form-urlencoded";
        client
            .header("content-type", form)
            .send("POST", body.to_owned())
            .await
    }
}

/// The digest of what the page of an approval shows.
fn shown(page: &str, id: &str) -> String {
    field(page, &format!("/console/approvals/{id}/decision"), "shown")
}

/// The value of a hidden field of the form for `action`.
fn field(page: &str, action: &str, name: &str) -> String {
    let (_, form) = page
        .split_once(&format!("action=\"{action}\""))
        .unwrap_or_else(|| panic!("no form for {action}: {page}"));
    let (_, value) = form
        .split_once(&format!("name=\"{name}\" value=\""))
        .expect("a field");
    value.split('"').next().expect("a value").to_owned()
}

/// One login of the operator, one that failed, and no token.
fn logins_are_on_record(records: &[Value], token: &str) {
    let logins = of_kind(records, "operator.login");
    assert_eq!(logins.len(), 1, "{logins:?}");
    assert_eq!(logins[0]["user_id"], "ann", "{logins:?}");
    let denied = of_kind(records, "auth.denied");
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert!(!json!(records).to_string().contains(token));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_decide_in_the_console_over_what_they_were_shown() {
    let (server, gate, key, token) = console().await;
    let arguments = json!({"id": 7, "why": "<script>\u{202e}gone"});
    let id = approval(&ask(&gate, &key, arguments.clone()).await);
    let other = approval(&ask(&gate, &key, json!({"id": 8})).await);
    let ann = Browser::log_in(&gate, &token).await;
    let wrong = ann.post("/console/login", "key=kgo_wrong").await;
    assert_eq!(wrong.status, 401, "{wrong:?}");

    let inbox = ann.get("/console/approvals").await;
    for part in [
        &format!("/console/approvals/{id}"),
        &other,
        "deletes &lt;b&gt;an account",
    ] {
        assert!(inbox.contains(part), "{part}: {inbox}");
    }
    let path = format!("/console/approvals/{id}");
    let page = ann.get(&path).await;
    assert!(
        page.contains("&lt;script&gt;<i class=\"esc\">\\u{202e}</i>gone"),
        "{page}"
    );
    // The digest of another approval: nobody decides over what they have not seen.
    let other_page = ann.get(&format!("/console/approvals/{other}")).await;
    let unseen = shown(&other_page, &other);
    let refused = ann.decide(&page, &id, &unseen, "approve", "ticket").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(
        text.contains("approval.not_shown") && text.contains(">ticket</textarea>"),
        "{text}"
    );

    let seen = shown(&page, &id);
    let approved = ann
        .decide(&page, &id, &seen, "approve", "ticket+4711")
        .await;
    assert_eq!(approved.status, 303, "{approved:?}");
    assert_eq!(approved.header("location"), Some(&*path));
    assert!(ann.get(&path).await.contains("ticket 4711"));
    let ran = ask(&gate, &key, arguments).await;
    assert_eq!(
        ran.json()["result"]["content"][0]["text"],
        "did it",
        "{ran:?}"
    );

    // A no, and what became of it.
    let denied = ann.decide(&other_page, &other, &unseen, "deny", "no").await;
    assert_eq!(denied.status, 303, "{denied:?}");
    assert!(
        ann.get("/console/approvals?state=denied")
            .await
            .contains(&other)
    );
    let calls = server.heard().into_iter();
    let calls = calls
        .filter(|heard| heard.json()["method"] == "tools/call")
        .count();
    assert_eq!(calls, 1);
    let records = gate.end().await;
    logins_are_on_record(&records, &token);
    assert_eq!(of_kind(&records, "approval.decided").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_works_the_console_on_a_desktop_and_on_a_phone_without_script() {
    let Some(chromium) = keepgate_machine::installed("chromium") else {
        return;
    };
    let (_server, gate, key, token) = console().await;
    let long = "x".repeat(2000);
    let one = approval(
        &ask(
            &gate,
            &key,
            json!({"id": 1, "why": "<img src=x onerror=alert(1)>", "note": long}),
        )
        .await,
    );
    let two = approval(&ask(&gate, &key, json!({"id": 2, "why": "\u{202e}gone"})).await);
    let url = format!("http://{}", gate.admin);
    let chromium = chromium.display().to_string();
    let words = [chromium.as_str(), &url, &token, &one, &two];
    let found = run("console.mjs", &words, &[]).await.json();
    assert_eq!(found["complaints"], json!([]), "{found}");
    for (at, (id, text)) in [
        (&one, "<img src=x onerror=alert(1)>"),
        (&two, "\\u{202e}gone"),
    ]
    .into_iter()
    .enumerate()
    {
        let step = &found["steps"][at];
        assert_eq!(
            step["landed"],
            format!("/console/approvals/{id}"),
            "{found}"
        );
        let shown = step["shown"].as_str().expect("a text");
        assert!(shown.contains(text), "{shown}");
        assert_eq!(step["state"], "approved", "{found}");
        assert_eq!(step["killed"], true, "{found}");
        assert_eq!(step["out"], "/console/login", "{found}");
    }
    gate.end().await;
}

/// Texts that break a page that does not expect them.
fn hostile() -> Value {
    json!({
        "id": 2,
        "why": "<img src=x onerror=alert(1)> \u{202e}gone  ",
        "path": format!("/srv/{}/../../etc/shadow", "x".repeat(600)),
        "code": "if a:\n    b()\n",
        "empty": "",
        "list": [1.50, true, null, {"a": {"b": []}}],
    })
}

/// Kills with a plain target, and with one that breaks a page that does not expect it.
async fn kill_a_few(gate: &Gate) {
    let target = "\u{202e}nobody<b>".to_owned() + &"y".repeat(300);
    for (kind, target, more) in [
        (
            "caller",
            "runaway-agent",
            &["--reason", "calls in a loop"][..],
        ),
        (
            "session",
            &target,
            &["--tenant", "acme", "--reason", "<script>\u{202e}"],
        ),
    ] {
        let words = [&["kill", "set", kind, target], more].concat();
        let set = gate.home.keepgate(&words).await;
        assert_eq!(set.code, Some(0), "{}", set.stderr);
    }
}

/// Name and path of each page that is pictured.
fn pages(plain: &str, hostile: &str) -> Vec<String> {
    vec![
        "inbox=/console/approvals".to_owned(),
        "empty=/console/approvals?state=denied".to_owned(),
        format!("approval=/console/approvals/{plain}"),
        format!("hostile=/console/approvals/{hostile}"),
        "kills=/console/kills".to_owned(),
        "decisions=/console/decisions".to_owned(),
        "audit=/console/audit".to_owned(),
        "search=/console/audit?kind=kills&text=nobody%3Cb%3E".to_owned(),
        "sessions=/console/sessions".to_owned(),
        "servers=/console/servers".to_owned(),
        "policy=/console/policy".to_owned(),
        "readiness=/console/readiness".to_owned(),
        "missing=/console/none".to_owned(),
    ]
}

/// Every page, in both schemes and sizes, full, empty and failed: no complaint of the browser, nothing that scrolls sideways. With
/// `SHOTS` the pictures are kept there, for the documentation and for those who look at them.
#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_the_console_is_pictured_without_a_complaint() {
    let Some(chromium) = keepgate_machine::installed("chromium") else {
        return;
    };
    let server = FakeServer::with_tools(|heard| {
        let call = heard.json();
        Say::json(&said(&call["id"], "did it"))
    })
    .await;
    let home = Home::new().url("crm", &server.url()).keys();
    let home = home.with(|it| {
        it["approvals"] = json!({"hold": "off"});
        it["servers"]["crm"]["owner"] = json!("team-support");
        it["servers"]["crm"]["environment"] = json!("production");
    });
    home.policy(POLICY);
    let key = home.key("support-agent").await.1;
    let words = ["operators", "add", "ann@example.com", "--role", "admin"];
    let token = home.keepgate(&words).await.json()["token"].clone();
    let token = token.as_str().expect("a token");
    let gate = home.serve().await;
    let agent = gate
        .client("crm")
        .header("authorization", &format!("Bearer {key}"));
    let plain = json!({"id": 4711, "reason": "asked by the customer", "notify": true});
    let plain = approval(&agent.call_modern("delete", plain).await);
    let bad = approval(&agent.call_modern("delete", hostile()).await);
    let session = agent.initialize("2025-11-25").await;
    session.call("echo", json!({})).await;
    kill_a_few(&gate).await;
    let folder = std::env::var_os("SHOTS").map_or_else(|| gate.home.path("shots"), Into::into);
    std::fs::create_dir_all(&folder).expect("a folder");
    let (chromium, folder) = (chromium.display().to_string(), folder.display().to_string());
    let url = format!("http://{}", gate.admin);
    let pages = pages(&plain, &bad);
    let words = [chromium.as_str(), &url, token, &folder];
    let words: Vec<&str> = words
        .into_iter()
        .chain(pages.iter().map(|it| &**it))
        .collect();
    let found = run("console-shots.mjs", &words, &[]).await.json();
    assert_eq!(found["complaints"], json!([]), "{found}");
    assert_eq!(found["shots"], json!(4 * (pages.len() + 4)), "{found}");
    gate.end().await;
}
