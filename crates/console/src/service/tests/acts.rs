//! Acts: that they are the operator's own, what a person sees before them, and what is shown of those that did not happen.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::sessions::Channel;

/// A reason, encoded, in a form for everything.
const EVERYTHING: &str = "scope=everything&reason=ticket+4711";

impl Bench {
    /// Sends as a browser at `localhost`, over http.
    async fn plainly(&self, method: &str, path: &str, cookie: &str, body: &str) -> Answer {
        let lines = [
            ("host", "localhost:9080"),
            ("cookie", cookie),
            ("origin", "http://localhost:9080"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.send_to(method, path, &lines, body).await
    }

    async fn log_in_plainly(&self, token: &str) -> String {
        let body = format!("key={token}");
        let answer = self.plainly("POST", "/console/login", "", &body).await;
        let line = answer.header("set-cookie");
        assert!(
            line.starts_with("keepgate-console=") && line.ends_with("Max-Age=3600"),
            "{line}"
        );
        line.split(';').next().unwrap().to_owned()
    }

    /// A token of the form for `action` in the session of this cookie, whether or not a page shows the form.
    fn token_for(&self, cookie: &str, channel: Channel, action: &str) -> String {
        let inner = &self.console.inner;
        let (_, id) = cookie.split_once('=').unwrap();
        let operators = inner.admin.operators();
        let visitor = inner.sessions.find(id, channel, operators, Instant::now());
        visitor.unwrap().form_token(action)
    }

    fn active_kills(&self) -> usize {
        let operator = self.operators.login(self.bootstrap().as_bytes()).unwrap().0;
        let listing = keepgate_admin::KillListing::new(false, None, 100);
        let listed = self.console.inner.admin.list_kills(&operator, &listing);
        listed.unwrap().kills.len()
    }

    fn bootstrap(&self) -> String {
        let path = self.operators.bootstrap().path();
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

/// Acts with their forms. There is no approval `ap_1`, so over it an act that is let through ends with 404.
const ACTS: [(&str, &str, u16); 4] = [
    ("/console/kills", EVERYTHING, 303),
    ("/console/kills/k_0/clear", "reason=over", 404),
    (
        "/console/approvals/ap_1/decision",
        "verdict=approve&reason=ok&shown=x",
        404,
    ),
    ("/console/approvals/ap_1/revocation", "reason=ok", 404),
];

/// Every program on this machine that a browser has visited at `localhost` holds the cookie: over http it reads, and acts never.
#[tokio::test]
async fn over_http_a_cookie_alone_acts_nowhere() {
    let bench = Bench::new("x").await;
    let ann = bench.add("ann", &[Role::Admin]);
    let bob = bench.add("bob", &[Role::Admin]);
    let cookie = bench.log_in_plainly(&ann).await;
    let page = bench.plainly("GET", "/console/kills", &cookie, "").await;
    assert_eq!(page.status(), 200);
    for (path, form, _) in ACTS {
        let token = bench.token_for(&cookie, Channel::Loopback, path);
        for key in ["", "&key=", "&key=kgo_wrong", &format!("&key={bob}")] {
            let body = format!("{form}&token={token}{key}");
            let answer = bench.plainly("POST", path, &cookie, &body).await;
            assert_eq!(answer.status(), 401, "{path} {key}: {}", answer.text());
            assert!(answer.text().contains("admin.token"), "{}", answer.text());
        }
        assert_eq!(bench.active_kills(), 0, "{path}");
    }
    for (path, form, status) in ACTS {
        let token = bench.token_for(&cookie, Channel::Loopback, path);
        let body = format!("{form}&token={token}&key={ann}");
        let answer = bench.plainly("POST", path, &cookie, &body).await;
        assert_eq!(answer.status(), status, "{path}: {}", answer.text());
    }
    assert_eq!(bench.active_kills(), 1);
    // Over TLS the cookie is bound to the origin, and enough.
    let cookie = bench.log_in(&ann).await;
    let token = bench.token_for(&cookie, Channel::Tls, "/console/kills");
    let body = format!("{EVERYTHING}&token={token}");
    assert_eq!(
        bench.post("/console/kills", &cookie, &body).await.status(),
        303
    );
    let page = bench.get("/console/kills", &cookie).await;
    assert!(!page.text().contains("name=\"key\""));
    // The id of one channel is none of the other.
    let (_, id) = cookie.split_once('=').unwrap();
    let stolen = format!("keepgate-console={id}");
    let answer = bench.plainly("GET", "/console/kills", &stolen, "").await;
    assert_eq!(answer.status(), 303);
}

#[tokio::test]
async fn two_cookies_of_our_name_are_reported_and_nothing_is_done() {
    let bench = Bench::new("x").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
    let both = format!("{cookie}; __Host-keepgate=other");
    let token = bench.token_for(&cookie, Channel::Tls, "/console/kills");
    let body = format!("{EVERYTHING}&token={token}");
    for answer in [
        bench.get("/console/kills", &both).await,
        bench.post("/console/kills", &both, &body).await,
    ] {
        assert_eq!(answer.status(), 400);
        let text = answer.text();
        assert!(
            text.contains("console.two_cookies") && text.contains("__Host-keepgate"),
            "{text}"
        );
    }
    assert_eq!(bench.active_kills(), 0);
}

#[tokio::test]
async fn over_tls_browsers_are_bound_to_it_and_a_plain_way_is_refused() {
    let bench = Bench::new("x").await;
    let login = "/console/login";
    let answer = bench.get(login, "").await;
    assert_eq!(
        answer.header("strict-transport-security"),
        "max-age=31536000"
    );
    let answer = bench.plainly("GET", login, "", "").await;
    assert_eq!(answer.header("strict-transport-security"), "");
    let ann = bench.add("ann", &[Role::Admin]);
    for (method, path, body) in [
        ("GET", login, String::new()),
        ("POST", login, format!("key={ann}")),
    ] {
        let lines = [
            ("x-forwarded-proto", "http"),
            ("origin", "https://console.example"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let answer = bench.send(method, path, &lines, &body).await;
        assert_eq!(answer.status(), 403, "{method}");
        assert_eq!(answer.header("set-cookie"), "");
        assert!(answer.text().contains("console.plaintext"));
    }
}

#[tokio::test]
async fn a_kill_is_shown_whole_with_its_tenant_before_it_is_set() {
    let bench = Bench::new("x").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
    let target = format!("{}-the-end", "a".repeat(450));
    for (tenant, shown) in [
        (
            "acme++",
            "acme<i class=\"esc\">\u{b7}\u{b7}</i></bdi></span> alone",
        ),
        ("", "every tenant"),
    ] {
        let page = bench.get("/console/kills", &cookie).await;
        let token = page.form_token("/console/kills/preview");
        let body = format!("scope=caller&target={target}&tenant={tenant}&token={token}");
        let preview = bench.post("/console/kills/preview", &cookie, &body).await;
        assert_eq!(preview.status(), 200, "{}", preview.text());
        let text = preview.text();
        let whole = format!("<bdi class=\"text\" dir=\"ltr\">{target}</bdi>");
        assert!(text.contains(&whole) && text.contains(shown), "{text}");
        // The end of the name and the tenant are on the button, too.
        let button = text.split("<button class=\"danger").nth(1).unwrap();
        let button = button.split("</button>").next().unwrap();
        assert!(button.contains("-the-end"), "{button}");
        assert_eq!(button.contains("of tenant"), !tenant.is_empty(), "{button}");
        // What is sent is what was shown.
        assert!(text.contains(&format!("name=\"target\" value=\"{target}\"")));
    }
}

/// Whatever is down, the kill switch is a click away, and works.
#[tokio::test]
async fn problems_lead_to_the_kill_switch_and_it_needs_no_store() {
    let bench = Bench::without_store().await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
    let link = "href=\"/console/kills\"";
    for (path, status) in [
        ("/console/approvals", 503),
        ("/console/approvals/ap_1", 503),
        ("/console/none", 404),
        ("/console/kills/k_1/clear", 405),
        ("/console/kills", 200),
        ("/console/sessions", 200),
    ] {
        let page = bench.get(path, &cookie).await;
        assert_eq!(page.status(), status, "{path}");
        assert!(page.text().contains(link), "{path}: {}", page.text());
    }
    assert_eq!(
        bench
            .get("/console/kills/k_1/clear", &cookie)
            .await
            .header("allow"),
        "POST"
    );
    let page = bench.get("/console/kills", &cookie).await;
    for body in ["", "token=x", &"x".repeat(17 * 1024)] {
        let answer = bench.post("/console/kills", &cookie, body).await;
        assert!(answer.text().contains(link), "{body}: {}", answer.text());
    }
    let token = page.form_token("/console/kills/preview");
    let body = format!("{EVERYTHING}&token={token}");
    let preview = bench.post("/console/kills/preview", &cookie, &body).await;
    let body = format!(
        "{EVERYTHING}&token={}",
        preview.form_token("/console/kills")
    );
    assert_eq!(
        bench.post("/console/kills", &cookie, &body).await.status(),
        303
    );
    assert_eq!(bench.active_kills(), 1);
}

#[tokio::test]
async fn an_act_after_the_end_of_the_session_is_reported_and_leads_back_to_its_form() {
    let bench = Bench::new("x").await;
    for (path, back) in [
        (
            "/console/kills?scope=tenant&target=acme",
            "/console/kills?scope=tenant&target=acme",
        ),
        ("/console/kills/preview", "/console/kills"),
        ("/console/kills/k_0/clear", "/console/kills"),
        (
            "/console/approvals/ap_1/decision?tenant=a",
            "/console/approvals/ap_1?tenant=a",
        ),
        (
            "/console/approvals/ap_1/revocation",
            "/console/approvals/ap_1",
        ),
    ] {
        let answer = bench
            .post(path, "__Host-keepgate=old", "verdict=approve")
            .await;
        assert_eq!(answer.status(), 401, "{path}");
        let text = answer.text();
        assert!(text.contains("<h1>Nothing was done</h1>"), "{text}");
        let mut login = "/console/login?next=".to_owned();
        keepgate_approval::push_encoded(&mut login, back);
        assert!(
            text.contains(&format!("href=\"{login}\"")),
            "{path}: {text}"
        );
    }
    let answer = bench
        .post("/console/logout", "__Host-keepgate=old", "")
        .await;
    assert_eq!(answer.status(), 303);
}

#[tokio::test]
async fn a_refused_kill_keeps_what_was_written() {
    let bench = Bench::new("x").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
    let token = bench.token_for(&cookie, Channel::Tls, "/console/kills");
    // The reason is too long; everything else is as it was sent.
    let reason = "r".repeat(2000);
    let form = format!("scope=tool&target=crm/delete&tenant=acme&expires_in=8h&reason={reason}");
    let answer = bench
        .post("/console/kills", &cookie, &format!("{form}&token={token}"))
        .await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    for part in [
        "admin.request",
        &format!(">{reason}</textarea>"),
        "name=\"target\" value=\"crm/delete\"",
        "name=\"tenant\" value=\"acme\"",
        "<option value=\"8h\" selected>",
    ] {
        assert!(answer.text().contains(part), "{part}: {}", answer.text());
    }
    // A name that cannot be one has no reach: the first form has it again.
    let token = bench.token_for(&cookie, Channel::Tls, "/console/kills/preview");
    let body = format!("scope=tool&target=no-server&tenant=acme&token={token}");
    let answer = bench.post("/console/kills/preview", &cookie, &body).await;
    assert_eq!(answer.status(), 400);
    for part in [
        "<option selected>tool",
        "value=\"no-server\"",
        "value=\"acme\"",
    ] {
        assert!(answer.text().contains(part), "{part}: {}", answer.text());
    }
    assert_eq!(bench.active_kills(), 0);
    // Nothing was tried on record: one preview is one drill.
    assert!(!bench.directory.path().join("drills").exists());
}

#[tokio::test]
async fn a_kill_with_warnings_is_reported_once_after_a_redirect() {
    let bench = Bench::new("nearest").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
    let token = bench.token_for(&cookie, Channel::Tls, "/console/kills");
    let body = format!("scope=caller&target=nobody&reason=x&token={token}");
    let set = bench.post("/console/kills", &cookie, &body).await;
    assert_eq!(
        (set.status(), set.header("location")),
        (303, "/console/kills")
    );
    let first = bench.get("/console/kills", &cookie).await;
    let warning = "no session and no API key is of a caller called `nobody`";
    assert!(first.text().contains(warning), "{}", first.text());
    assert!(first.text().contains("is set."));
    assert!(
        !bench
            .get("/console/kills", &cookie)
            .await
            .text()
            .contains(warning)
    );
}

#[tokio::test]
async fn clear_is_shown_to_those_who_may_clear_this_kill() {
    let bench = Bench::new("x").await;
    let mut cookies = Vec::new();
    for (name, role) in [
        ("rosa", Role::SecurityResponder),
        ("ruth", Role::SecurityResponder),
        ("ada", Role::Admin),
        ("sam", Role::Sre),
    ] {
        cookies.push(bench.log_in(&bench.add(name, &[role])).await);
    }
    let token = bench.token_for(&cookies[0], Channel::Tls, "/console/kills");
    let body = format!("{EVERYTHING}&token={token}");
    assert_eq!(
        bench
            .post("/console/kills", &cookies[0], &body)
            .await
            .status(),
        303
    );
    for (cookie, (is_shown, is_of_others)) in
        cookies
            .iter()
            .zip([(false, true), (true, false), (true, false), (false, false)])
    {
        let page = bench.get("/console/kills", cookie).await;
        assert_eq!(
            page.text().contains("/clear\""),
            is_shown,
            "{}",
            page.text()
        );
        assert_eq!(
            page.text().contains("Set by you"),
            is_of_others,
            "{}",
            page.text()
        );
    }
}

/// A body that never comes to an end.
#[derive(Debug)]
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Anybody may send a login: those that do not end take a few places, for seconds, and operators get theirs.
#[tokio::test(start_paused = true)]
async fn slow_logins_take_few_places_and_operators_connections_are_known() {
    let bench = Bench::new("x").await;
    let login = |known: &Arc<AtomicUsize>| {
        let known = Arc::clone(known);
        let noted = PeerConnection::new(move || {
            known.fetch_add(1, Ordering::Relaxed);
        });
        Request::post("/console/login")
            .header("host", "console.example")
            .header("origin", "https://console.example")
            .header("content-type", "application/x-www-form-urlencoded")
            .extension(noted)
    };
    let known = Arc::new(AtomicUsize::new(0));
    let slow: Vec<_> = (0..MAX_LOGINS)
        .map(|_| {
            let (console, request) = (bench.console.clone(), login(&known).body(Endless).unwrap());
            tokio::spawn(async move { console.inner.answer(request).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let ann = bench.add("ann", &[Role::Admin]);
    let body = Full::new(Bytes::from(format!("key={ann}")));
    let busy = bench
        .console
        .inner
        .answer(login(&known).body(body.clone()).unwrap())
        .await;
    assert_eq!(busy.status(), 503);
    for answered in slow {
        assert_eq!(answered.await.unwrap().status(), 413);
    }
    assert_eq!(known.load(Ordering::Relaxed), 0);
    let let_in = bench
        .console
        .inner
        .answer(login(&known).body(body).unwrap())
        .await;
    assert_eq!(let_in.status(), 303);
    assert_eq!(known.load(Ordering::Relaxed), 1);
}

/// Decisions are read again by a page that nobody looks at: that is no request of a person.
#[tokio::test]
async fn a_page_that_reads_itself_again_is_answered_and_is_no_presence() {
    let bench = Bench::new("x").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Auditor])).await;
    let page = bench.get("/console/decisions", &cookie).await;
    let again = "/console/decisions?again=true";
    assert!(page.text().contains(&format!("content=\"5;url={again}\"")));
    let inner = &bench.console.inner;
    let used = || {
        let (_, id) = cookie.split_once('=').unwrap();
        inner.sessions.used(id)
    };
    let before = used();
    assert_eq!(bench.get(again, &cookie).await.status(), 200);
    assert_eq!(used(), before);
    assert_eq!(bench.get("/console/audit", &cookie).await.status(), 200);
    assert!(used() > before);
}

#[tokio::test]
async fn the_log_is_searched_and_a_log_that_cannot_be_read_is_reported() {
    let bench = Bench::new("x").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Auditor])).await;
    let bob = bench.log_in(&bench.add("bob", &[Role::Auditor])).await;
    for (query, ann, bob) in [
        ("", true, true),
        ("?kind=logins&text=BOB", false, true),
        ("?text=ann+operator.login", true, false),
        ("?kind=kills", false, false),
        ("?before=0", false, false),
    ] {
        let page = bench.get(&format!("/console/audit{query}"), &cookie).await;
        assert_eq!(page.status(), 200, "{query}");
        let rows = page
            .text()
            .split("<ol class=\"rows")
            .nth(1)
            .unwrap_or_default();
        let has =
            |name: &str| rows.contains(&format!("<span class=\"from\"><bdi dir=\"ltr\">{name}"));
        assert_eq!((has("ann"), has("bob")), (ann, bob), "{query}: {rows}");
    }
    for query in ["?kind=none", "?before=x", "?before=-1"] {
        let page = bench.get(&format!("/console/audit{query}"), &bob).await;
        assert_eq!(page.status(), 404, "{query}");
    }
    std::fs::remove_dir_all(bench.directory.path().join("audit")).unwrap();
    let page = bench.get("/console/audit", &cookie).await;
    let text = page.text();
    assert!(
        page.status() == 503 && text.contains("audit.unreadable"),
        "{text}"
    );
    assert!(text.contains("href=\"/console/kills\""), "{text}");
}
