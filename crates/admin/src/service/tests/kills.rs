//! The kill switch over the API: who may what, what is accepted, what is on record.

use serde_json::{Value, json};

use super::*;

const SET: &str = r#"{"scope":"server","target":"crm","reason":"leak"}"#;

fn json(response: &Response) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn code(response: &Response) -> String {
    json(response)["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// What is on record, as (kind, operator, reasons).
fn recorded(bench: &Bench) -> Vec<(String, String, Value)> {
    bench.log.close();
    let directory = bench.directory.path().join("audit");
    let report = keepgate_audit::verify(&directory, &bench.log.public_key(), &[]).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    let start = keepgate_audit::Start::Index(0);
    let mut reader = keepgate_audit::Reader::open(&directory, start).unwrap();
    let mut records = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let record: Value = serde_json::from_str(&entry.json).unwrap();
        let kind = record["kind"].as_str().unwrap();
        if kind.starts_with("kill.") {
            assert_eq!(record["caller_kind"], "operator");
            let who = record["user_id"].as_str().unwrap().to_owned();
            records.push((kind.to_owned(), who, record["reasons"].clone()));
        }
    }
    records
}

#[test]
fn each_role_may_what_it_is_for() {
    let bench = Bench::new();
    // Page, list, set, drill, clear another's, clear one's own.
    let table: [(Role, [u16; 6]); 4] = [
        (Role::Admin, [200, 200, 201, 200, 200, 200]),
        (Role::SecurityResponder, [200, 200, 201, 200, 200, 403]),
        (Role::Sre, [200, 200, 201, 200, 403, 403]),
        (Role::Auditor, [200, 200, 403, 403, 403, 403]),
    ];
    let set = |token: &str| {
        let answer = bench.act(token, "POST", "/api/v1/kills", SET);
        let id = json(&answer)["kill"]["id"]
            .as_str()
            .unwrap_or("k_none")
            .to_owned();
        (answer.status().as_u16(), format!("/api/v1/kills/{id}"))
    };
    for (role, expected) in table {
        let token = bench.operator(role.as_str(), &[role]);
        let (_, others) = set(&bench.token);
        let (status, own) = set(&token);
        let clear = r#"{"reason":"over"}"#;
        let found = [
            bench
                .act(&token, "GET", "/api/v1/servers", "")
                .status()
                .as_u16(),
            bench
                .act(&token, "GET", "/api/v1/kills?all=true", "")
                .status()
                .as_u16(),
            status,
            bench
                .act(
                    &token,
                    "POST",
                    "/api/v1/kills/drill",
                    r#"{"scope":"everything"}"#,
                )
                .status()
                .as_u16(),
            bench
                .act(&token, "DELETE", &others, clear)
                .status()
                .as_u16(),
            bench.act(&token, "DELETE", &own, clear).status().as_u16(),
        ];
        assert_eq!(found, expected, "{role:?}");
    }
}

#[test]
fn a_kill_is_set_listed_and_cleared_with_names_on_record() {
    let bench = Bench::new();
    let alice = bench.operator("alice", &[Role::SecurityResponder]);
    let bob = bench.operator("bob", &[Role::SecurityResponder]);
    let wish = json!({"scope": "tool", "target": "crm/delete", "tenant": "acme",
        "reason": "it deletes too much", "expires_in": "30m"});
    let set = bench.act(&alice, "POST", "/api/v1/kills", &wish.to_string());
    assert_eq!(set.status(), 201, "{}", text(&set));
    let set = json(&set);
    assert_eq!(
        (&set["durable"], &set["recorded"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(set["warnings"], json!([]));
    assert_eq!(set["kill"]["by"], "alice");
    assert_eq!(set["kill"]["target"], "crm/delete");
    assert!(set["kill"]["expires_at"].is_string());
    let list = json(&bench.act(&bob, "GET", "/api/v1/kills", ""));
    assert_eq!(list["kills"], json!([set["kill"]]));
    let path = format!("/api/v1/kills/{}", set["kill"]["id"].as_str().unwrap());
    let own = bench.act(&alice, "DELETE", &path, r#"{"reason":"mended"}"#);
    assert_eq!(
        (own.status().as_u16(), code(&own)),
        (403, "admin.own".to_owned())
    );
    let cleared = json(&bench.act(&bob, "DELETE", &path, r#"{"reason":"mended"}"#));
    assert_eq!(cleared["kill"]["state"], "cleared");
    assert_eq!(cleared["kill"]["cleared_by"], "bob");
    let again = bench.act(&bob, "DELETE", &path, r#"{"reason":"mended"}"#);
    assert_eq!(
        (again.status().as_u16(), code(&again)),
        (409, "admin.over".to_owned())
    );
    let none = bench.act(&bob, "DELETE", "/api/v1/kills/k_0", r#"{"reason":"x"}"#);
    assert_eq!(
        (none.status().as_u16(), code(&none)),
        (404, "admin.unknown".to_owned())
    );
    assert_eq!(
        json(&bench.act(&bob, "GET", "/api/v1/kills", ""))["kills"],
        json!([])
    );
    let all = json(&bench.act(&bob, "GET", "/api/v1/kills?all=true", ""));
    assert_eq!(all["kills"][0]["state"], "cleared");
    let records = recorded(&bench);
    let kinds: Vec<_> = records
        .iter()
        .map(|(kind, who, _)| (kind.as_str(), who.as_str()))
        .collect();
    assert_eq!(kinds, [("kill.set", "alice"), ("kill.cleared", "bob")]);
    assert_eq!(records[0].2[0]["message"], "tool crm/delete");
    assert_eq!(records[0].2[1]["message"], "it deletes too much");
    assert_eq!(records[1].2[1]["message"], "mended");
}

#[test]
fn kills_are_listed_page_by_page() {
    let bench = Bench::new();
    let alice = bench.operator("alice", &[Role::SecurityResponder]);
    let ids: Vec<String> = (0..5)
        .map(|number| {
            let body = format!(r#"{{"scope":"caller","target":"c{number}","reason":"x"}}"#);
            let set = json(&bench.act(&alice, "POST", "/api/v1/kills", &body));
            set["kill"]["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let (mut found, mut after) = (Vec::new(), String::new());
    let mut sizes = Vec::new();
    loop {
        let path = format!("/api/v1/kills?limit=2{after}");
        let page = json(&bench.act(&alice, "GET", &path, ""));
        let kills = page["kills"].as_array().unwrap();
        sizes.push(kills.len());
        found.extend(
            kills
                .iter()
                .map(|kill| kill["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    assert_eq!((found, sizes), (ids.clone(), vec![2, 2, 1]));
    // A page that ends with the last of them is the last.
    let path = format!("/api/v1/kills?limit=3&after={}", ids[1]);
    assert_eq!(
        json(&bench.act(&alice, "GET", &path, ""))["next"],
        Value::Null
    );
    for query in [
        "after=k_0123456789abcdef",
        "limit=0",
        "all=true&all=true",
        "",
    ] {
        let refused = bench.act(&alice, "GET", &format!("/api/v1/kills?{query}"), "");
        assert_eq!(refused.status().as_u16(), 400, "{query}");
    }
}

#[test]
fn what_another_kill_still_cuts_off_is_said() {
    let bench = Bench::new();
    let set = |body: &str| {
        let set = json(&bench.act(&bench.token, "POST", "/api/v1/kills", body));
        set["kill"]["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (set(SET), set(SET));
    let everything = set(r#"{"scope":"everything","reason":"x"}"#);
    set(r#"{"scope":"server","target":"files","reason":"x"}"#);
    let path = format!("/api/v1/kills/{first}");
    let cleared = json(&bench.act(&bench.token, "DELETE", &path, r#"{"reason":"over"}"#));
    let warnings = cleared["warnings"].to_string();
    assert_eq!(
        cleared["warnings"].as_array().unwrap().len(),
        2,
        "{warnings}"
    );
    assert!(warnings.contains(&second) && warnings.contains(&everything));
}

#[test]
fn a_drill_writes_a_report_and_changes_nothing() {
    let bench = Bench::new();
    let token = bench.operator("sam", &[Role::Sre]);
    let wish = r#"{"scope":"caller","target":"alice"}"#;
    let report = json(&bench.act(&token, "POST", "/api/v1/kills/drill", wish));
    assert_eq!(report["would_cut"]["sessions"], 1);
    assert_eq!(report["would_cut"]["sessions_active"], 1);
    assert_eq!(report["would_cut"]["callers"], json!(["alice"]));
    assert_eq!(report["would_cut"]["servers"], json!(["crm"]));
    let path = std::path::Path::new(report["path"].as_str().unwrap()).to_owned();
    assert!(path.starts_with(bench.directory.path().join("drills")));
    let kept: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(kept["would_cut"], report["would_cut"]);
    assert!(bench.ledger.list().is_empty() && bench.ledger.switch().in_force().is_empty());
    let records = recorded(&bench);
    assert_eq!((&*records[0].0, &*records[0].1), ("kill.drill", "sam"));
}

#[test]
fn bodies_are_strict_short_and_json() {
    let bench = Bench::new();
    let long = format!(
        r#"{{"scope":"everything","reason":"{}"}}"#,
        "x".repeat(20_000)
    );
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        (r#"{"scope":"everything"}"#, 400),
        (r#"{"scope":"everything","reason":""}"#, 400),
        (r#"{"scope":"everything","reason":"a\nb"}"#, 400),
        (r#"{"scope":"everything","reason":"x","force":true}"#, 400),
        (
            r#"{"scope":"everything","scope":"server","reason":"x"}"#,
            400,
        ),
        (r#"{"scope":"everything","target":"crm","reason":"x"}"#, 400),
        (r#"{"scope":"server","reason":"x"}"#, 400),
        (r#"{"scope":"galaxy","target":"x","reason":"x"}"#, 400),
        (
            r#"{"scope":"everything","reason":"x","expires_in":"soon"}"#,
            400,
        ),
        (
            r#"{"scope":"everything","reason":"x","expires_in":"0s"}"#,
            400,
        ),
        (
            r#"{"scope":"everything","reason":"x","expires_in":"9999d"}"#,
            400,
        ),
        (r#"{"scope":"everything","reason":"x","tenant":""}"#, 400),
        (r#"{"scope":"everything","reason":"x"} {}"#, 400),
        (long.as_str(), 413),
    ] {
        let answer = bench.act(&bench.token, "POST", "/api/v1/kills", body);
        assert_eq!(answer.status(), status, "{body}: {}", text(&answer));
    }
    assert!(bench.ledger.list().is_empty());
}

#[test]
fn what_a_browser_can_be_made_to_send_is_no_kill() {
    let bench = Bench::new();
    let token = format!("Bearer {}", bench.token);
    let lines = |media| {
        [
            ("host", "localhost"),
            ("authorization", token.as_str()),
            ("content-type", media),
        ]
    };
    // What a web form can send without asking first is no kill.
    for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = bench.send("POST", "/api/v1/kills", &lines(media), SET);
        assert_eq!(answer.status(), 415, "{media}");
    }
    let foreign = [
        &lines("application/json")[..],
        &[("origin", "http://evil.example")],
    ]
    .concat();
    assert_eq!(
        bench.send("POST", "/api/v1/kills", &foreign, SET).status(),
        403
    );
    assert_eq!(bench.act("", "POST", "/api/v1/kills", SET).status(), 401);
    assert!(bench.ledger.list().is_empty());
}

#[test]
fn queries_methods_and_paths_are_exact() {
    let bench = Bench::new();
    assert_eq!(
        bench
            .act(&bench.token, "GET", "/api/v1/kills?all=yes", "")
            .status(),
        400
    );
    for (method, path, allowed) in [
        ("PUT", "/api/v1/kills", "GET, HEAD, POST"),
        ("GET", "/api/v1/kills/drill", "POST"),
        ("GET", "/api/v1/kills/k_0", "DELETE"),
    ] {
        let answer = bench.act(&bench.token, method, path, SET);
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.headers()[header::ALLOW], allowed);
    }
    for path in [
        "/api/v1/kills/",
        "/api/v1/kills/a/b",
        "/api/v1/kills/%2e",
        "/api/v1/killsx",
    ] {
        assert_eq!(
            bench.act(&bench.token, "DELETE", path, "{}").status(),
            404,
            "{path}"
        );
    }
    assert!(bench.ledger.list().is_empty());
}

#[test]
fn a_kill_of_a_name_nobody_knows_warns_and_names_the_nearest() {
    let bench = Bench::new();
    for (scope, target, warning) in [
        ("server", "crm", None),
        (
            "server",
            "crn",
            Some("no server of the configuration is called `crn`; did you mean `crm`?"),
        ),
        (
            "tool",
            "cr/list",
            Some(
                "no server of the configuration has shown a tool called `cr/list`; did you mean `crm`?",
            ),
        ),
        (
            "caller",
            "zoe",
            Some("no session and no API key is of a caller called `zoe`"),
        ),
        (
            "session",
            "s-1",
            Some("no session is open that is called `s-1`"),
        ),
        (
            "credential",
            "key:1",
            Some("no server is given, and no caller has, a credential called `key:1`"),
        ),
    ] {
        let body = json!({"scope": scope, "target": target, "reason": "typo"}).to_string();
        let set = json(&bench.act(&bench.token, "POST", "/api/v1/kills", &body));
        let expected: Vec<&str> = warning.into_iter().collect();
        assert_eq!(set["warnings"], json!(expected), "{scope}");
        // It holds all the same.
        assert_eq!(set["kill"]["state"], "active", "{scope}");
        let drill = json!({"scope": scope, "target": target}).to_string();
        let drilled = json(&bench.act(&bench.token, "POST", "/api/v1/kills/drill", &drill));
        assert_eq!(drilled["warnings"], json!(expected), "{scope}");
    }
}

#[test]
fn without_log_and_disk_a_kill_holds_and_says_so() {
    let bench = Bench::new();
    bench.log.close();
    std::fs::remove_dir_all(bench.directory.path()).unwrap();
    std::fs::write(bench.directory.path(), "").unwrap();
    let set = bench.act(&bench.token, "POST", "/api/v1/kills", SET);
    assert_eq!(set.status(), 201, "{}", text(&set));
    let set = json(&set);
    assert_eq!(
        (&set["durable"], &set["recorded"]),
        (&json!(false), &json!(false))
    );
    let warnings = set["warnings"].to_string();
    assert!(
        warnings.contains("NOT DURABLE") && warnings.contains("audit log"),
        "{warnings}"
    );
    assert_eq!(bench.ledger.switch().in_force().len(), 1);
    let list = json(&bench.act(&bench.token, "GET", "/api/v1/kills", ""));
    assert_eq!(list["warnings"].as_array().unwrap().len(), 2, "{list}");
    std::fs::remove_file(bench.directory.path()).unwrap();
    std::fs::create_dir(bench.directory.path()).unwrap();
}
