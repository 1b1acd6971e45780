//! Every page with hostile text in every field.

use keepgate_admin::{BundleStatus, InForce, Plugin};
use keepgate_approval::{
    DecisionView, Destination, Duty, FrozenCall, FrozenCaller, Requirement, Risk, View,
};

use super::*;
use crate::sessions::Channel;

/// A policy in whose every text stands `text`.
pub(super) fn policy(text: &str) -> PolicyStatus {
    let some = || Some(text.to_owned());
    let bundle = BundleStatus {
        name: text.to_owned(),
        active_revision: some(),
        last_request: some(),
        last_successful_request: some(),
        last_successful_download: some(),
        last_successful_activation: some(),
        message: some(),
        errors: vec![text.to_owned()],
        signed_by: some(),
        stale: true,
        ..BundleStatus::default()
    };
    PolicyStatus {
        labels: [("id", text.to_owned())].into(),
        policy: InForce {
            revision: text.to_owned(),
            generation: 2,
            files: 3,
        },
        bundles: [(text.to_owned(), bundle)].into(),
        plugins: [("bundle", Plugin { state: "OK" })].into(),
    }
}

/// Texts that would act, mislead or flood.
fn texts() -> Vec<String> {
    let short = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onfocus=alert(1) autofocus='",
        "</textarea></title><script>alert(1)</script>",
        "{{ frame.logout }}{% include \"login.html\" %}",
        "\u{202e}evitcani\u{202c}\u{2066}\u{200b}\u{feff}",
        "\0\u{1b}[2J\r\n\t\u{7f}",
        "&lt;&amp;#60;&#x202e;",
        " ",
    ];
    let mut texts: Vec<String> = short.map(str::to_owned).into();
    texts.push("<\u{202e}\0".repeat(1 << 16));
    texts
}

/// Checks that a page has the elements of the same page with a plain text in its fields, and no other, and hides nothing.
fn check(plain: &str, page: &str, what: &str) {
    assert!(!page.contains('\0'), "{what}");
    let hidden = page
        .chars()
        .find(|it| *it != '\n' && keepgate_mcp::visible::is_hidden(*it));
    assert_eq!(hidden, None, "{what}");
    let title = page.split("<title>").nth(1).unwrap();
    let title = title.split("</title>").next().unwrap();
    // A browser shows the source of an element in a title.
    assert_eq!(title.find('<'), None, "{what}: {title}");
    // Attributes are set by templates alone, so that a text in a page adds elements of its own type and no others.
    let ours = [
        "<bdi",
        "<i class=\"esc\"",
        "<details class=\"fold\"",
        "<summary",
        "<small",
        "<option",
    ];
    let count = |page: &str| {
        let mut tags: Vec<String> = page
            .split('<')
            .skip(1)
            .map(|tag| tag.split(['>', ' ']).next().unwrap_or_default().to_owned())
            .collect();
        let known = ours.map(|tag| {
            tag.trim_start_matches('<')
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        tags.retain(|tag| !known.contains(&tag.trim_start_matches('/').to_owned()));
        tags
    };
    assert_eq!(count(plain), count(page), "{what}");
}

#[tokio::test]
async fn hostile_texts_stay_text_on_every_page() {
    let plain = Bench::new("plain").await;
    let plain_cookie = plain.log_in(&plain.add("ann", &[Role::Admin])).await;
    for text in texts() {
        let bench = Bench::new(&text).await;
        let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
        for path in PAGES {
            let one = plain.get(path, &plain_cookie).await;
            let two = bench.get(path, &cookie).await;
            if path != "/console/approvals" {
                assert_eq!(two.status(), 200, "{path}");
            }
            let start: String = text.chars().take(20).collect();
            check(one.text(), two.text(), &format!("{path} {start:?}"));
        }
    }
}

/// A frozen call in whose every text stands `text`, also in names of members and in values of every depth.
fn view(text: &str) -> View {
    let string = serde_json::to_string(text).unwrap();
    let json = format!("{{{string}:{{\"a\":[{string},1.50,true,null,{{}}],{string}:{string}}}}}");
    let duty = Duty {
        approvers: vec![text.into()],
        quorum: 2,
        step: 2,
    };
    view_of(text, &json, duty)
}

fn view_of(text: &str, json: &str, duty: Duty) -> View {
    let some = || Some(text.into());
    View {
        id: text.into(),
        tenant: text.to_owned(),
        state: "pending",
        created_at: text.to_owned(),
        expires_at: text.to_owned(),
        decided_at: Some(text.to_owned()),
        usable_from: None,
        usable_until: Some(text.to_owned()),
        uses_left: 1,
        shown: Some("4be1d2a90c77e510".to_owned()),
        call: Some(FrozenCall {
            server: text.into(),
            method: text.into(),
            subject: some(),
            arguments: Some(json.into()),
            others: Some(json.into()),
            sent: Some(json.into()),
            fingerprint: some(),
            destination: Arc::new(Destination {
                address: text.into(),
                environment: vec![text.into()],
                digest: text.into(),
            }),
            caller: FrozenCaller {
                kind: text.into(),
                subject: text.into(),
                issuer: some(),
                client: some(),
                grant: some(),
                key: some(),
                owner: some(),
            },
            session: some(),
            credentials: vec![text.into()],
            client: Some((text.into(), text.into())),
            requirement: Requirement {
                reasons: vec![(text.into(), text.into())],
                duties: vec![duty],
                uses: 1,
                ttl_s: 900,
                valid_for_s: 900,
                is_session_bound: false,
                window: None,
                risk: Risk::High,
                policy: text.into(),
                notify: vec![text.into()],
            },
            decision_id: text.into(),
        }),
        decisions: vec![DecisionView {
            operator: text.into(),
            verdict: "deny",
            at: text.to_owned(),
            reason: text.into(),
        }],
        created_ms: 0,
    }
}

#[tokio::test]
async fn hostile_texts_stay_text_where_a_person_decides() {
    let bench = Bench::new("plain").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
    let inner = &bench.console.inner;
    let id = cookie.split_once('=').unwrap().1;
    let operators = inner.admin.operators();
    let found = inner
        .sessions
        .find(id, Channel::Tls, operators, Instant::now());
    let visitor = found.unwrap();
    let desk = Desk::new(&inner.admin, &visitor, inner.tools(), Form::default());
    let page = async |text: &str| Answer(desk.write_approval(view(text), None).await.unwrap());
    let plain = page("plain").await;
    // Button and sentence say what the yes is for.
    assert!(
        plain.text().contains(">Add my approval</button>"),
        "{}",
        plain.text()
    );
    assert!(
        plain
            .text()
            .contains("may run once, within 15 min of the last one")
    );
    for text in texts() {
        let hostile = page(&text).await;
        let start: String = text.chars().take(20).collect();
        check(plain.text(), hostile.text(), &format!("{start:?}"));
        if text.len() > 1 << 18 {
            // All of it, in each of the places arguments have.
            let whole = hostile.text().matches("\\u{202e}\\u{0}").count();
            assert!(whole > 12 << 16, "{whole}");
        }
    }
}

/// A value of a link stays in the field it fills.
#[tokio::test]
async fn queries_reach_a_page_as_text() {
    let bench = Bench::new("plain").await;
    let cookie = bench.log_in(&bench.add("ann", &[Role::Admin])).await;
    let plain = bench
        .get("/console/kills?scope=tool&target=a&tenant=b", &cookie)
        .await;
    for text in [
        "%22%3E%3Cscript%3E",
        "%27%20autofocus%20onfocus%3Dx",
        "%E2%80%AE%3C%2Fform%3E",
    ] {
        let path = format!("/console/kills?scope={text}&target={text}&tenant={text}");
        let page = bench.get(&path, &cookie).await;
        assert_eq!(page.status(), 200);
        let tags = |page: &Answer| page.text().matches('<').count();
        assert_eq!(tags(&plain), tags(&page), "{text}");
        assert!(!page.text().contains("\u{202e}"));
    }
    for text in ["%00", "%1b", "%ff"] {
        let page = bench
            .get(&format!("/console/kills?target={text}"), &cookie)
            .await;
        assert_eq!(page.status(), 400, "{text}");
    }
}
