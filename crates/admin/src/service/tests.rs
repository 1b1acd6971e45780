//! Who may see which page.

use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use keepgate_audit::Log;
use keepgate_store::kill::{Ledger, Scope, Switch};

use super::*;
use crate::operators::Role;
use crate::source::{Known, Part, Process, Server, Session, TestNotification, TestingNotification};
use crate::status::{BundleStatus, InForce, Plugin, PolicyStatus};
use crate::token::Token;

mod kills;

/// A source whose audit log can be made to fail.
pub(super) struct Fake {
    failing: AtomicBool,
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
        let failing = self.failing.load(Ordering::Relaxed);
        let state = if failing { "full" } else { "ok" };
        vec![
            Part {
                name: "audit",
                ready: !failing,
                state: state.into(),
            },
            Part::ready("policy", "ok"),
        ]
    }

    fn metrics(&self) -> String {
        "keepgate_calls_total 1\n".to_owned()
    }

    fn processes(&self) -> Vec<Process> {
        vec![Process {
            server: "files".to_owned(),
            tenant: Some("default".to_owned()),
            caller: Some("alice".to_owned()),
            pid: Some(42),
            age_s: 7,
            idle_s: None,
        }]
    }

    fn sessions(&self) -> Vec<Session> {
        ["alice", "bob"]
            .map(|caller| Session {
                id: format!("session of {caller}"),
                tenant: "default".to_owned(),
                caller: caller.to_owned(),
                client: None,
                grant: None,
                key: None,
                server: "crm".to_owned(),
                credentials: Vec::new(),
                age_s: 7,
                idle_s: 1,
            })
            .into()
    }

    fn stray_kills(&self) -> Vec<Arc<keepgate_store::kill::Kill>> {
        Vec::new()
    }

    fn knows(&self, scope: &Scope) -> Known {
        match scope.target().as_deref() {
            Some("crm" | "crm/delete") => Known::Yes,
            Some(target) if target.starts_with("cr") => Known::No {
                nearest: Some("crm".to_owned()),
            },
            Some(_) | None => Known::No { nearest: None },
        }
    }

    fn servers(&self) -> Vec<Server> {
        vec![Server {
            name: "crm".to_owned(),
            kind: "http",
            target: "https://crm.example/mcp".to_owned(),
            owner: None,
            environment: Some("production".to_owned()),
            trust: "vetted",
            labels: vec!["pii".to_owned()],
        }]
    }

    fn policy(&self) -> PolicyStatus {
        PolicyStatus {
            labels: [("id", "keepgate/1".to_owned())].into(),
            policy: InForce {
                revision: "abc".to_owned(),
                generation: 2,
                files: 3,
            },
            bundles: [("b".to_owned(), BundleStatus::default())].into(),
            plugins: [("bundle", Plugin { state: "OK" })].into(),
        }
    }
}

/// A service with its operators and its kill switch, in a directory that lives as long.
pub(super) struct Bench {
    pub(super) admin: Admin<Fake>,
    pub(super) token: String,
    pub(super) ledger: Arc<Ledger>,
    pub(super) log: Log,
    pub(super) directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let token = Arc::new(Token::open(directory.path()).unwrap());
        let text = std::fs::read_to_string(token.path())
            .unwrap()
            .trim()
            .to_owned();
        let fake = Fake {
            failing: AtomicBool::new(false),
        };
        let hosts = vec!["ops.internal".to_owned(), "gw.internal:9443".to_owned()];
        let operators = Arc::new(Operators::open(directory.path(), token).unwrap());
        let ledger = runtime.block_on(Ledger::open(directory.path(), &Switch::new()));
        let settings =
            keepgate_audit::Settings::new(directory.path().join("audit"), "keepgate.test/log", "t");
        let log = Log::open(settings).unwrap();
        let kills = Kills::new(Arc::clone(&ledger), log.clone(), directory.path());
        Self {
            admin: Admin::new(fake, operators, kills, None, hosts),
            token: text,
            ledger,
            log,
            directory,
            runtime,
        }
    }

    /// The answer to a request with these header lines and this body.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        lines: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.runtime.block_on(self.admin.answer(request))
    }

    /// The answer to a request with these header lines.
    pub(super) fn ask(&self, method: &str, path: &str, lines: &[(&str, &str)]) -> Response {
        self.send(method, path, lines, "")
    }

    /// The answer to the holder of `token`, who sends JSON.
    pub(super) fn act(&self, token: &str, method: &str, path: &str, body: &str) -> Response {
        let token = format!("Bearer {token}");
        let lines = [
            ("host", "127.0.0.1:9080"),
            ("authorization", token.as_str()),
            ("content-type", "application/json"),
        ];
        self.send(method, path, &lines, body.to_owned())
    }

    /// The answer to an operator.
    fn page(&self, path: &str) -> Response {
        let token = format!("Bearer {}", self.token);
        self.ask(
            "GET",
            path,
            &[("host", "127.0.0.1:9080"), ("authorization", &token)],
        )
    }

    /// A new operator's token.
    pub(super) fn operator(&self, name: &str, roles: &[Role]) -> String {
        let now = std::time::SystemTime::now();
        let (_, token) =
            crate::operators::add(self.directory.path(), name, roles.to_vec(), Vec::new(), now)
                .unwrap();
        self.admin.inner.operators.reload().unwrap();
        token.to_string()
    }
}

pub(super) fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

#[test]
fn health_needs_no_token_and_everything_else_does() {
    let bench = Bench::new();
    for (path, page) in Page::ALL {
        let expected = if page.is_public() { 200 } else { 401 };
        assert_eq!(
            bench.ask("GET", path, &[("host", "localhost")]).status(),
            expected,
            "{path}"
        );
        let shown = bench.page(path);
        assert_eq!(shown.status(), 200, "{path}");
        assert_eq!(shown.headers()[header::CACHE_CONTROL], "no-store");
    }
    let unknown = bench.ask("GET", "/secret", &[("host", "localhost")]);
    assert_eq!(
        unknown.status(),
        401,
        "who has no token does not learn which pages there are"
    );
    assert_eq!(
        unknown.headers()[header::WWW_AUTHENTICATE],
        "Bearer realm=\"keepgate-admin\""
    );
    assert_eq!(bench.page("/secret").status(), 404);
    assert_eq!(bench.page("/api/v1/servers/").status(), 404);
}

#[test]
fn only_the_token_in_one_line_opens() {
    let bench = Bench::new();
    let host = ("host", "localhost");
    let right = format!("Bearer {}", bench.token);
    let status = |lines: &[(&str, &str)]| bench.ask("GET", "/metrics", lines).status().as_u16();
    assert_eq!(status(&[host, ("authorization", &right)]), 200);
    assert_eq!(
        status(&[host, ("authorization", &right.replace("Bearer", "bearer"))]),
        200
    );
    for wrong in [
        bench.token.clone(),
        format!("Basic {}", bench.token),
        format!("Bearer{}", bench.token),
        format!("Bearer {}x", bench.token),
        format!("Bearer {}", &bench.token[..46]),
        "Bearer ".to_owned(),
        String::new(),
    ] {
        assert_eq!(status(&[host, ("authorization", &wrong)]), 401, "{wrong}");
    }
    assert_eq!(
        status(&[host, ("authorization", &right), ("authorization", &right)]),
        401
    );
    assert_eq!(
        status(&[
            host,
            ("authorization", "Bearer x"),
            ("authorization", &right)
        ]),
        401
    );
}

#[test]
fn readiness_names_the_part_and_the_rest_stays_up() {
    let bench = Bench::new();
    assert_eq!(
        text(&bench.page("/readyz")),
        "ready: yes\naudit: ok\npolicy: ok\n"
    );
    bench
        .admin
        .inner
        .source
        .failing
        .store(true, Ordering::Relaxed);
    let red = bench.page("/readyz");
    assert_eq!(red.status(), 503);
    assert_eq!(
        text(&red),
        "ready: no\naudit: full (not ready)\npolicy: ok\n"
    );
    for path in ["/healthz", "/livez", "/metrics", "/api/v1/servers"] {
        assert_eq!(bench.page(path).status(), 200, "{path}");
    }
}

#[test]
fn names_of_others_do_not_lead_here() {
    let bench = Bench::new();
    let status = |lines: &[(&str, &str)]| bench.ask("GET", "/livez", lines).status().as_u16();
    for ours in [
        "127.0.0.1:9080",
        "localhost:9080",
        "LOCALHOST",
        "[::1]:9080",
        "10.1.2.3:9080",
        "ops.internal",
        "ops.internal:9080",
        "OPS.internal",
        "gw.internal:9443",
    ] {
        assert_eq!(status(&[("host", ours)]), 200, "{ours}");
    }
    for other in [
        "evil.example",
        "localhost.evil.example",
        "gw.internal",
        "gw.internal:1",
        "127.0.0.1.evil.example",
        "user@localhost",
        "",
        "a b",
    ] {
        assert_eq!(status(&[("host", other)]), 421, "{other}");
    }
    assert_eq!(status(&[]), 421);
    assert_eq!(status(&[("host", "localhost"), ("host", "localhost")]), 421);
    let absolute =
        |uri: &str, lines: &[(&str, &str)]| bench.ask("GET", uri, lines).status().as_u16();
    assert_eq!(absolute("http://localhost/livez", &[]), 200);
    assert_eq!(absolute("http://evil.example/livez", &[]), 421);
    assert_eq!(
        absolute("http://evil.example/livez", &[("host", "localhost")]),
        421
    );
}

#[test]
fn web_pages_of_other_sites_may_not_ask() {
    let bench = Bench::new();
    let token = format!("Bearer {}", bench.token);
    let status = |origin: &str| {
        let lines = [
            ("host", "localhost:9080"),
            ("authorization", token.as_str()),
            ("origin", origin),
        ];
        bench.ask("GET", "/metrics", &lines).status().as_u16()
    };
    assert_eq!(status("http://localhost:9080"), 200);
    for other in ["http://evil.example", "null", "", "http://localhost:9081"] {
        assert_eq!(status(other), 403, "{other}");
    }
}

#[test]
fn pages_can_only_be_read() {
    let bench = Bench::new();
    let token = format!("Bearer {}", bench.token);
    let lines = [("host", "localhost"), ("authorization", token.as_str())];
    assert_eq!(bench.ask("HEAD", "/metrics", &lines).status(), 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        assert_eq!(
            bench.ask(method, "/metrics", &lines).status(),
            405,
            "{method}"
        );
        for path in ["/metrics", "/livez", "/api/v1/kills", "/secret"] {
            let status = bench.ask(method, path, &lines[..1]).status();
            assert_eq!(status, 401, "{method} {path}");
        }
        assert_eq!(
            bench.ask(method, "/metrics", &lines[..1]).status(),
            401,
            "{method}"
        );
    }
}

#[test]
fn the_inventory_is_what_the_source_says() {
    let bench = Bench::new();
    assert_eq!(
        text(&bench.page("/api/v1/servers")),
        "{\"servers\":[{\"name\":\"crm\",\"kind\":\"http\",\"target\":\"https://crm.example/mcp\",\"owner\":null,\
         \"environment\":\"production\",\"trust\":\"vetted\",\"labels\":[\"pii\"]}]}\n"
    );
}

#[test]
fn the_processes_are_listed_with_whom_they_serve() {
    let bench = Bench::new();
    assert_eq!(
        text(&bench.page("/api/v1/processes")),
        "{\"count\":1,\"processes\":[{\"server\":\"files\",\"tenant\":\"default\",\"caller\":\"alice\",\"pid\":42,\
         \"age_s\":7,\"idle_s\":null}]}\n"
    );
}

#[test]
fn the_description_names_every_page_and_no_other() {
    let bench = Bench::new();
    let description: serde_json::Value =
        serde_json::from_slice(bench.page("/api/v1/openapi.json").body()).unwrap();
    let mut described: Vec<(String, Vec<String>)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys().cloned().collect();
            (path.clone(), methods)
        })
        .collect();
    let pages = Page::ALL.iter().map(|(path, _)| (*path, &["get"][..]));
    let mut served: Vec<(String, Vec<String>)> = pages
        .chain(crate::route::ACTS)
        .map(|(path, methods)| {
            let methods = methods.iter().map(|&method| method.to_owned()).collect();
            (path.to_owned(), methods)
        })
        .collect();
    described.sort();
    served.sort_unstable();
    assert_eq!(described, served);
    for (path, page) in Page::ALL {
        let open = description["paths"][path]["get"]["security"]
            .as_array()
            .is_some_and(Vec::is_empty);
        assert_eq!(open, page.is_public(), "{path}");
    }
    for (path, methods) in crate::route::ACTS {
        for method in methods {
            let method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{id}", "k_0").replace("{target}", "ops");
            assert!(Route::at(&method, &path).is_ok(), "{method} {path}");
        }
    }
}
