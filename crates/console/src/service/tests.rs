//! The console over HTTP: who gets in, what a page holds, and that hostile texts stay text.

mod acts;
mod hostile;

use std::time::SystemTime;

use http_body_util::Full;
use keepgate_admin::{
    Kills, Known, Operators, Part, PolicyStatus, Process, Role, Server, Session, TestNotification,
    TestingNotification, Token, add, revoke,
};
use keepgate_store::kill::{Kill, Ledger, Scope, Switch};

use super::*;

/// A gateway in whose every text stands `text`.
#[derive(Debug, Default)]
struct Fake {
    text: String,
}

impl keepgate_approval::Surroundings for Fake {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn person(&self, _id: &str) -> Option<keepgate_approval::Person> {
        None
    }

    fn is_operator(&self, _name: &str) -> bool {
        false
    }

    fn killed(
        &self,
        _facts: &keepgate_store::kill::Facts<'_>,
        _since: SystemTime,
    ) -> Option<Arc<str>> {
        None
    }

    fn kills(&self) -> (usize, Option<Arc<str>>) {
        (0, None)
    }
}

impl Source for Fake {
    fn test_notification<'a>(&'a self, target: &'a str, _by: &'a str) -> TestingNotification<'a> {
        Box::pin(async move {
            match target {
                "ops" => TestNotification::Delivered,
                "down" => TestNotification::Failed("HTTP 500".to_owned()),
                _ => TestNotification::Unknown {
                    known: vec!["ops".to_owned()],
                },
            }
        })
    }

    fn parts(&self) -> Vec<Part> {
        vec![Part::ready("policy", self.text.clone())]
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn sessions(&self) -> Vec<Session> {
        let text = || self.text.clone();
        vec![Session {
            id: text(),
            tenant: text(),
            caller: text(),
            client: Some(text()),
            grant: Some(text()),
            key: Some(text()),
            server: text(),
            credentials: vec![text().into()],
            age_s: 7,
            idle_s: 1,
        }]
    }

    fn processes(&self) -> Vec<Process> {
        Vec::new()
    }

    fn knows(&self, _scope: &Scope) -> Known {
        Known::No {
            nearest: Some(self.text.clone()),
        }
    }

    fn stray_kills(&self) -> Vec<Arc<Kill>> {
        Vec::new()
    }

    fn servers(&self) -> Vec<Server> {
        let text = || self.text.clone();
        vec![Server {
            name: text(),
            kind: "http",
            target: text(),
            owner: Some(text()),
            environment: Some(text()),
            trust: "vetted",
            labels: vec![text()],
        }]
    }

    fn policy(&self) -> PolicyStatus {
        hostile::policy(&self.text)
    }
}

/// A console with its operators, in a directory that lives as long.
struct Bench {
    console: Console<Fake>,
    operators: Arc<Operators>,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn new(text: &str) -> Self {
        Self::open(text, false).await
    }

    /// A console whose store of approvals cannot be opened.
    async fn without_store() -> Self {
        Self::open("x", true).await
    }

    async fn open(text: &str, has_approvals: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token = Arc::new(Token::open(directory.path()).unwrap());
        let operators = Arc::new(Operators::open(directory.path(), token).unwrap());
        let ledger = Ledger::open(directory.path(), &Switch::new()).await;
        let settings =
            keepgate_audit::Settings::new(directory.path().join("audit"), "keepgate.test/log", "t");
        let log = Log::open(settings).unwrap();
        let kills = Kills::new(ledger, log.clone(), directory.path());
        let source = Fake {
            text: text.to_owned(),
        };
        let hosts = vec!["console.example".to_owned()];
        // A directory in the place of the database.
        std::fs::create_dir(directory.path().join("approvals.db")).unwrap();
        let approvals = has_approvals.then(|| {
            let around = Arc::new(Fake::default());
            let settings = keepgate_approval::Settings::default();
            keepgate_approval::Approvals::open(directory.path(), log.clone(), settings, around)
        });
        let admin = Admin::new(source, Arc::clone(&operators), kills, approvals, hosts);
        let settings = ConsoleSettings {
            public_url: Some(ConsoleUrl::new("https://console.example")),
            has_tls: false,
            audit: directory.path().join("audit"),
        };
        Self {
            console: Console::new(admin, log, settings),
            operators,
            directory,
        }
    }

    fn add(&self, name: &str, roles: &[Role]) -> String {
        let now = SystemTime::now();
        let roles = roles.to_vec();
        let (_, token) = add(self.directory.path(), name, roles, Vec::new(), now).unwrap();
        self.operators.reload().unwrap();
        token.to_string()
    }

    async fn send(&self, method: &str, path: &str, lines: &[(&str, &str)], body: &str) -> Answer {
        let lines = [&[("host", "console.example")], lines].concat();
        self.send_to(method, path, &lines, body).await
    }

    async fn send_to(
        &self,
        method: &str,
        path: &str,
        lines: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let response = self.console.inner.answer(request).await;
        Answer(response)
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        self.send("GET", path, &[("cookie", cookie)], "").await
    }

    async fn post(&self, path: &str, cookie: &str, body: &str) -> Answer {
        let lines = [
            ("cookie", cookie),
            ("origin", "null"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.send("POST", path, &lines, body).await
    }

    /// The cookie of a new session.
    async fn log_in(&self, token: &str) -> String {
        let answer = self
            .post("/console/login", "", &format!("key={token}"))
            .await;
        assert_eq!(answer.status(), 303, "{}", answer.text());
        let line = answer.header("set-cookie").to_owned();
        line.split(';').next().unwrap().to_owned()
    }
}

struct Answer(Response<Bytes>);

impl Answer {
    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.0.body()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        let value = self.0.headers().get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The token of the form for `action`.
    fn form_token(&self, action: &str) -> String {
        let (_, form) = self
            .text()
            .split_once(&format!("action=\"{action}\""))
            .or_else(|| self.text().split_once(&format!("action=\"{action}?")))
            .unwrap_or_else(|| panic!("no form: {action}: {}", self.text()));
        let (_, token) = form.split_once("name=\"token\" value=\"").unwrap();
        token.split('"').next().unwrap().to_owned()
    }
}

/// Every page that an operator reads.
const PAGES: [&str; 8] = [
    "/console/approvals",
    "/console/kills",
    "/console/sessions",
    "/console/servers",
    "/console/policy",
    "/console/readiness",
    "/console/audit",
    "/console/decisions",
];

#[tokio::test]
async fn nobody_sees_a_page_without_a_login_and_a_link_leads_on_after_it() {
    let bench = Bench::new("x").await;
    let ann = bench.add("ann", &[Role::Approver]);
    for path in PAGES
        .into_iter()
        .chain(["/console/approvals/ap_1?tenant=a"])
    {
        let answer = bench.get(path, "").await;
        assert_eq!(answer.status(), 303, "{path}");
        assert!(
            answer
                .header("location")
                .starts_with("/console/login?next=%2Fconsole")
        );
        assert!(answer.text().is_empty());
    }
    let answer = bench
        .get("/console/login?next=%2Fconsole%2Fsessions", "")
        .await;
    assert!(
        answer
            .text()
            .contains("name=\"next\" value=\"/console/sessions\"")
    );
    let wrong = bench.post("/console/login", "", "key=kgo_wrong").await;
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.header("set-cookie"), "");
    let body = format!("key={ann}&next=https%3A%2F%2Fevil.example");
    let right = bench.post("/console/login", "", &body).await;
    assert_eq!(
        (right.status(), right.header("location")),
        (303, "/console")
    );
    let line = right.header("set-cookie");
    assert!(line.starts_with("__Host-keepgate="), "{line}");
    assert!(
        line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=28800"),
        "{line}"
    );
    let cookie = line.split(';').next().unwrap();
    assert_eq!(bench.get("/console/sessions", cookie).await.status(), 200);
    // The API takes no cookie, and the console no token in a header.
    let lines = [("authorization", "Bearer x")];
    let answer = bench.send("GET", "/console/sessions", &lines, "").await;
    assert_eq!(answer.status(), 303);
    // Removed, and out with the next request.
    revoke(bench.directory.path(), "ann", SystemTime::now()).unwrap();
    bench.operators.reload().unwrap();
    assert_eq!(bench.get("/console/sessions", cookie).await.status(), 303);
}

#[tokio::test]
async fn failed_logins_are_bounded_and_lock_nobody_out() {
    let bench = Bench::new("x").await;
    let ann = bench.add("ann", &[Role::Approver]);
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(
            bench
                .post("/console/login", "", "key=kgo_wrong")
                .await
                .status(),
        );
    }
    assert_eq!(statuses[..30], [401; 30]);
    assert_eq!(statuses[30..], [429; 10]);
    bench.log_in(&ann).await;
    let mut last = 0;
    for _ in 0..10 {
        last = bench
            .post("/console/login", "", &format!("key={ann}"))
            .await
            .status();
    }
    assert_eq!(last, 429, "sessions of one operator");
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_pages_apart() {
    let bench = Bench::new("x").await;
    let ann = bench.add("ann", &[Role::Admin]);
    let cookie = bench.log_in(&ann).await;
    let others = [
        "/console/login",
        "/console/console.css",
        "/console/none",
        "/",
        "/console/approvals/ap_1",
    ];
    for path in PAGES.into_iter().chain(others) {
        let answer = bench.get(path, &cookie).await;
        let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";
        assert_eq!(answer.header("content-security-policy"), policy, "{path}");
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        let kept = answer.header("cache-control");
        assert_eq!(
            kept == "no-store",
            !path.ends_with(".css"),
            "{path}: {kept}"
        );
        let text = answer.text();
        for inline in ["style=", " on", "<style", "javascript:"] {
            assert!(
                inline == " on" || !text.contains(inline),
                "{path}: {inline}"
            );
        }
        let scripts = text.matches("<script").count();
        assert_eq!(
            scripts,
            text.matches("<script type=\"module\" src=\"").count(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn acts_need_a_form_of_this_session_and_a_get_changes_nothing() {
    let bench = Bench::new("x").await;
    let ann = bench.add("ann", &[Role::SecurityResponder]);
    let (cookie, other) = (bench.log_in(&ann).await, bench.log_in(&ann).await);
    let form = "scope=everything&reason=why";
    let token = |answer: &Answer| answer.form_token("/console/kills/preview");
    let own = token(&bench.get("/console/kills", &cookie).await);
    let of_other = token(&bench.get("/console/kills", &other).await);
    for (path, body) in [
        ("/console/kills", form.to_owned()),
        ("/console/kills/preview", format!("{form}&token={of_other}")),
        // The token of another form of the same session.
        ("/console/kills", format!("{form}&token={own}")),
        ("/console/kills", format!("{form}&token={own}&token={own}")),
    ] {
        let answer = bench.post(path, &cookie, &body).await;
        assert_eq!(answer.status(), 400, "{path} {body}");
    }
    // From a page of another site, with everything else right.
    let body = format!("{form}&token={own}");
    for origin in ["https://evil.example", "http://console.example"] {
        let lines = [
            ("cookie", &*cookie),
            ("origin", origin),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let answer = bench
            .send("POST", "/console/kills/preview", &lines, &body)
            .await;
        assert_eq!(answer.status(), 403, "{origin}");
    }
    for path in [
        "/console/kills/preview",
        "/console/kills/k_1/clear",
        "/console/logout",
    ] {
        let answer = bench.get(&format!("{path}?{body}"), &cookie).await;
        assert_eq!(answer.status(), 405, "{path}");
    }
    let preview = bench.post("/console/kills/preview", &cookie, &body).await;
    assert_eq!(preview.status(), 200, "{}", preview.text());
    assert!(preview.text().contains("Cut off everything now"));
    let token = preview.form_token("/console/kills");
    let body = format!("{form}&token={token}");
    let set = bench.post("/console/kills", &cookie, &body).await;
    assert_eq!(set.status(), 303, "{}", set.text());
    let listed = bench.get("/console/kills", &cookie).await;
    assert!(
        listed.text().contains("<b>everything</b>"),
        "{}",
        listed.text()
    );

    // The session ends, and its cookie with it.
    let token = listed.form_token("/console/logout");
    let ended = bench
        .post("/console/logout", &cookie, &format!("token={token}"))
        .await;
    assert!(ended.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(bench.get("/console/kills", &cookie).await.status(), 303);
    assert_eq!(bench.get("/console/kills", &other).await.status(), 200);
}

#[tokio::test]
async fn roles_decide_over_forms_and_acts() {
    let bench = Bench::new("x").await;
    let olga = bench.add("olga", &[Role::Auditor]);
    let cookie = bench.log_in(&olga).await;
    let page = bench.get("/console/kills", &cookie).await;
    assert!(!page.text().contains("/console/kills/preview"));
    assert!(
        !bench
            .get("/console/sessions", &cookie)
            .await
            .text()
            .contains("scope=session")
    );
    // A form that was not shown has no token to be sent with; one that is made up does not pass either.
    let token = page.form_token("/console/logout");
    let body = format!("scope=everything&reason=why&token={token}");
    let answer = bench.post("/console/kills", &cookie, &body).await;
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn nothing_is_served_by_another_name_or_in_clear() {
    let bench = Bench::new("x").await;
    for (host, status) in [
        ("evil.example", 421),
        ("10.0.0.7:9080", 403),
        ("localhost:9080", 200),
    ] {
        let request = Request::get("/console/login").header("host", host);
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let answer = bench.console.inner.answer(request).await;
        assert_eq!(answer.status().as_u16(), status, "{host}");
    }
    // A link elsewhere: the browser left the cookie out, and sends it with the next request.
    let lines = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
    ];
    let path = "/console/approvals/ap_1?tenant=a";
    let answer = bench.send("GET", path, &lines, "").await;
    assert_eq!(answer.status(), 200);
    let goes_on = format!("http-equiv=\"refresh\" content=\"0;url={path}\"");
    assert!(answer.text().contains(&goes_on), "{}", answer.text());
    let lines = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
    ];
    assert_eq!(bench.send("GET", path, &lines, "").await.status(), 403);
}

#[tokio::test]
async fn bodies_are_short_and_forms_are_what_they_claim() {
    let bench = Bench::new("x").await;
    let long = format!("key={}", "x".repeat(17 * 1024));
    assert_eq!(bench.post("/console/login", "", &long).await.status(), 413);
    let lines = [
        ("origin", "https://console.example"),
        ("content-type", "application/json"),
    ];
    let answer = bench.send("POST", "/console/login", &lines, "{}").await;
    assert_eq!(answer.status(), 415);
}
