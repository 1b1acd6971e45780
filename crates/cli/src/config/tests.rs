//! What a configuration makes, and what a wrong one is told.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use expect_test::expect;
use keepgate_call::ServerName;
use keepgate_gateway::settings::{HttpTransport, Instructions, Trust, Upstream};
use keepgate_sandbox::Files;
use proptest::prelude::*;

use super::*;

mod egress;
mod expansion;
mod golden;
mod memory;
mod notify;
mod plaintext;

/// A directory in which the usual names exist.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    fs::write(directory.path().join("cert.pem"), "").unwrap();
    keepgate_files::replace(&directory.path().join("key.pem"), b"").unwrap();
    fs::write(directory.path().join("admin.pem"), "").unwrap();
    keepgate_files::replace(&directory.path().join("admin.key.pem"), b"").unwrap();
    directory
}

/// Reads `text` with these variables set; directory names in errors are replaced.
fn read(text: &str, variables: &[(&str, &str)]) -> Result<Configuration, String> {
    let directory = directory();
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    from_text(text, "keepgate.yaml", directory.path(), variables).map_err(|error| {
        error
            .to_string()
            .replace(&directory.path().display().to_string(), "<dir>")
    })
}

/// Reads what has to be right.
fn good(text: &str) -> Configuration {
    read(text, &[]).unwrap_or_else(|report| panic!("{report}"))
}

/// A file that is right, to be changed in one place.
const SMALL: &str = "\
version: 1
servers:
  crm: { url: https://crm.example/mcp }
policies: [./policies]
";

#[test]
fn bundles_stand_beside_directories() {
    let text = SMALL.replace(
        "[./policies]",
        "[./policies, { bundle: https://p.example/a.tar.gz, poll: { max: 5s, wait: 1m }, credential: { ref: env:X } }]",
    );
    let text = format!("{text}tenants: {{ acme: {{ policies: [{{ bundle: ./key.pem }}] }} }}\n");
    let configuration = good(&text);
    assert_eq!(configuration.policies.len(), 1);
    let [fetched, file] = configuration.bundles.as_slice() else {
        panic!("{:?}", configuration.bundles);
    };
    let Place::Http(remote) = &fetched.place else {
        panic!("{fetched:?}");
    };
    assert_eq!(
        remote.pause,
        (Duration::from_secs(5), Duration::from_secs(5))
    );
    assert_eq!(remote.wait, Some(Duration::from_secs(60)));
    assert!(fetched.tenant.is_none() && fetched.keys.is_empty() && remote.credential.is_some());
    assert_eq!(file.tenant.as_deref(), Some("acme"));
    assert!(matches!(&file.place, Place::File(path) if path.ends_with("key.pem")));
    // The directory is gone by now, so the file is only read by who loads it.
    let (sources, unseen) = configuration.local_sources().unwrap();
    assert_eq!(
        (sources.platform.len(), sources.tenants["acme"].len()),
        (1, 1)
    );
    assert_eq!(unseen, ["https://p.example/a.tar.gz"]);
}

#[test]
fn tenants_have_policies_of_their_own() {
    let text = format!("{SMALL}tenants: {{ acme: {{ policies: [./policies] }} }}\n");
    let configuration = good(&text);
    let directories = &configuration.tenants["acme"];
    assert!(directories.first().unwrap().ends_with("policies"));
    assert_eq!(configuration.sources().tenants.len(), 1);
    assert_eq!(configuration.policy_directories().len(), 2);
    let report = read(
        &format!("{SMALL}tenants: {{ acme: {{ policies: [./nowhere] }} }}\n"),
        &[],
    )
    .unwrap_err();
    assert!(report.contains("no such directory"), "{report}");
    let report = read(
        &format!("{SMALL}tenants: {{ acme: {{ policy: [./policies] }} }}\n"),
        &[],
    )
    .unwrap_err();
    assert!(report.contains("tenants.acme.policies"), "{report}");
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let configuration = good(SMALL);
    assert_eq!(configuration.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(
        configuration.admin.listen,
        "127.0.0.1:9080".parse().unwrap()
    );
    assert_eq!(
        configuration.auth,
        AuthMode::Keys,
        "closed unless it says otherwise"
    );
    assert!(configuration.state.ends_with("keepgate-state") && configuration.state.is_absolute());
    assert_eq!(configuration.durability, Durability::Written);
    assert_eq!(
        configuration.log,
        Log {
            format: LogFormat::Text,
            level: "info".to_owned()
        }
    );
    assert_eq!(configuration.header_timeout, Duration::from_secs(10));
    assert_eq!(configuration.drain.patience, Duration::from_secs(30));
    assert_eq!(configuration.drain.delay, Duration::from_secs(5));
    assert_eq!(configuration.gateway.limits.body, 1 << 20);
    assert_eq!(configuration.gateway.limits.depth, 64);
    assert_eq!(configuration.tls, None);
    assert!(
        configuration.warnings.is_empty(),
        "{:?}",
        configuration.warnings
    );
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let configuration = good(include_str!("tests/full.yaml"));
    let gateway = &configuration.gateway;
    assert_eq!(configuration.listen.len(), 2);
    assert_eq!(
        configuration.public_url.as_ref().unwrap().host(),
        Some("Gateway.example")
    );
    assert!(configuration.tls.as_ref().unwrap().key.ends_with("key.pem"));
    assert_eq!(gateway.hosts, ["gw.internal:8443", "gateway.example"]);
    assert_eq!(
        gateway.origins,
        ["https://app.example", "http://localhost:5173"]
    );
    assert_eq!(
        configuration.admin.served_hosts(),
        ["ops.internal", "console.example:9443"]
    );
    let console = configuration.approvals.console.as_ref().unwrap();
    assert_eq!(console.origin(), "https://console.example:9443");
    assert_eq!(configuration.durability, Durability::Synced);
    assert_eq!(
        configuration.log,
        Log {
            format: LogFormat::Json,
            level: "info,keepgate=debug".to_owned()
        }
    );
    let crm = ServerName::parse("crm").unwrap();
    assert_eq!(gateway.clear_arguments, [(crm, "search.cases".to_owned())]);
}

#[test]
fn every_key_of_an_issuer_arrives_where_it_belongs() {
    let configuration = good(include_str!("tests/full.yaml"));
    assert_eq!(configuration.auth, AuthMode::OAuth);
    let oauth = configuration.oauth.unwrap();
    assert_eq!(oauth.base, "https://gateway.example");
    assert!(oauth.keys);
    assert_eq!(oauth.scopes, ["crm:read"]);
    let [one, two] = &*oauth.issuers else {
        panic!("{oauth:?}")
    };
    assert_eq!(one.url.as_str(), "https://idp.example/realms/acme");
    assert_eq!(one.audience.as_deref(), Some("api://gateway"));
    assert_eq!(one.jwks_uri.as_deref(), Some("https://keys.example/acme"));
    assert_eq!(one.typ, TokenKind::Plain);
    assert_eq!(
        one.algorithms,
        [SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa]
    );
    assert_eq!(one.tenant.as_deref(), Some("acme"));
    assert_eq!(one.roles_claim.as_deref(), Some("/realm_access/roles"));
    assert_eq!(
        one.groups_claim.as_deref(),
        Some("https://acme.example/groups")
    );
    assert!(one.ca.as_ref().unwrap().ends_with("cert.pem"));
    assert_eq!(two.typ, TokenKind::AccessToken);
    assert_eq!(two.algorithms, SignatureAlgorithm::ALL);
    assert_eq!(two.audience, None);
}

#[test]
fn tokens_are_for_the_address_clients_use() {
    let oauth = |more: &str| {
        let text = format!(
            "{SMALL}{more}\nauth: {{ mode: oauth, issuers: [{{ issuer: https://idp.example }}] }}"
        );
        good(&text).oauth.unwrap().base
    };
    assert_eq!(oauth(""), "http://127.0.0.1:8080");
    assert_eq!(oauth("listen: '[::1]:1'"), "http://[::1]:1");
    assert_eq!(
        oauth("listen: 0.0.0.0:8080\npublic_url: https://GW.example:8443/"),
        "https://gw.example:8443"
    );
    // A path keeps its case.
    assert_eq!(
        oauth("public_url: https://GW.example/Team/gate/"),
        "https://gw.example/Team/gate"
    );
    let under = |url: &str| good(&format!("{SMALL}public_url: {url}\n")).gateway.path;
    assert_eq!(under("https://gw.example"), "");
    assert_eq!(under("https://gw.example/Team/gate/"), "/Team/gate");
}

#[test]
fn every_limit_arrives_where_it_belongs() {
    let configuration = good(include_str!("tests/full.yaml"));
    assert_eq!(configuration.header_timeout, Duration::from_secs(3));
    assert_eq!(configuration.drain.patience, Duration::from_secs(45));
    assert_eq!(configuration.drain.delay, Duration::from_secs(12));
    let limits = &configuration.gateway.limits;
    assert_eq!((limits.body, limits.result), (512 << 10, 4 << 20));
    assert_eq!((limits.depth, limits.in_flight.get()), (32, 7));
    assert_eq!(
        (limits.sessions.get(), limits.sessions_per_caller.get()),
        (50, 5)
    );
    assert_eq!(limits.read_deadline, Duration::from_secs(5));
    assert_eq!(limits.session_idle, Duration::from_secs(7200));
    assert_eq!(limits.keep_alive, Duration::from_millis(1500));
}

#[test]
fn every_key_of_the_decision_log_arrives_where_it_belongs() {
    let configuration = good(include_str!("tests/full.yaml"));
    let decisions = &configuration.decisions;
    assert!(decisions.content);
    assert_eq!(decisions.per_second.map(|most| most.get()), Some(100));
    assert_eq!(decisions.buffer, 1 << 20);
    let file = decisions.file.as_ref().unwrap();
    assert_eq!((file.max_size, file.keep), (8 << 20, 2));
    let upload = decisions.upload.as_ref().unwrap();
    assert_eq!(upload.url.to_string(), "https://logs.example/opa");
    let token = upload.token.as_ref().unwrap();
    assert_eq!(token.reference.as_str(), "env:LOG_TOKEN");
    assert!(upload.ca.as_ref().unwrap().ends_with("cert.pem"));
    assert_eq!(upload.interval, Duration::from_secs(1));
    assert_eq!(upload.timeout, Duration::from_secs(2));
    let shadow = configuration.shadow.unwrap();
    assert!(shadow.policies[0].ends_with("candidate"));
    assert!((shadow.sample - 0.25).abs() < f64::EPSILON);

    let quiet = good(SMALL);
    assert!(quiet.decisions.file.is_none() && quiet.decisions.upload.is_none());
    assert!(!quiet.decisions.content && quiet.shadow.is_none());
}

#[test]
fn a_server_over_http_and_sse_has_the_keys_of_a_url() {
    let configuration = good(&SMALL.replace(
        "{ url: https://crm.example/mcp }",
        "{ sse: 'https://crm.example/sse', query: { a: b }, headers: { X-Region: eu }, timeouts: { request: 5s } }",
    ));
    let server = &configuration.gateway.servers[&ServerName::parse("crm").unwrap()];
    let Upstream::Http {
        transport,
        url,
        headers,
        ..
    } = &server.upstream
    else {
        panic!("{:?}", server.upstream)
    };
    assert_eq!(*transport, HttpTransport::Sse);
    assert_eq!(url.to_string(), "https://crm.example/sse?a=b");
    assert_eq!(headers.len(), 1);
    assert_eq!(server.timeouts.request, Duration::from_secs(5));
}

#[test]
fn every_key_of_a_server_arrives_where_it_belongs() {
    let configuration = good(include_str!("tests/full.yaml"));
    let gateway = &configuration.gateway;
    let server = &gateway.servers[&ServerName::parse("crm").unwrap()];
    assert_eq!(server.owner.as_deref(), Some("sales-platform"));
    assert_eq!(server.environment.as_deref(), Some("production"));
    assert_eq!(server.trust, Trust::Untrusted);
    assert_eq!(server.instructions, Instructions::Pass);
    assert_eq!(server.idle, None);
    assert_eq!(server.labels, ["pii"]);
    assert_eq!(server.timeouts.connect, Duration::from_secs(2));
    assert_eq!(server.timeouts.request, Duration::from_secs(60));
    assert_eq!(server.timeouts.idle, Duration::from_secs(300));
    let Upstream::Http {
        url, way, headers, ..
    } = &server.upstream
    else {
        panic!("{:?}", server.upstream)
    };
    assert_eq!(
        url.to_string(),
        "https://crm.example/mcp?project_ref=abc&q=a+b%26c&read_only=true"
    );
    let lines = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    assert_eq!(lines, [("user-agent", "acme/1"), ("x-region", "eu")]);
    assert!(way.ca.as_ref().unwrap().ends_with("cert.pem"));
    let identity = way.identity.as_ref().unwrap();
    assert!(identity.certificate.ends_with("cert.pem") && identity.key.ends_with("key.pem"));

    let files = &gateway.servers[&ServerName::parse("files").unwrap()];
    let Upstream::Child {
        program,
        arguments,
        environment,
        directory,
        shared,
        launch,
    } = &files.upstream
    else {
        panic!("{:?}", files.upstream)
    };
    assert_eq!(files.trust, Trust::Vetted);
    assert_eq!(files.instructions, Instructions::Pass);
    assert_eq!(files.idle, Some(Duration::from_secs(600)));
    assert_eq!(program, "npx");
    assert_eq!(arguments, &["-y", "", "1"]);
    assert_eq!(environment["PORT"], "8080");
    assert_eq!(environment["EMPTY"], "");
    assert!(directory.as_ref().unwrap().ends_with("policies"));
    assert!(shared);
    let rules = &launch.as_ref().unwrap().rules;
    let expected = Files::Listed {
        read: vec!["/srv/docs".into()],
        write: vec!["/srv/drafts".into()],
    };
    assert_eq!(rules.files, expected);
}

#[test]
fn every_path_of_the_configuration_is_hidden_from_child_processes() {
    let configuration = good(include_str!("tests/full.yaml"));
    let files = &configuration.gateway.servers[&ServerName::parse("files").unwrap()];
    let Upstream::Child {
        launch: Some(launch),
        ..
    } = &files.upstream
    else {
        panic!("{:?}", files.upstream)
    };
    let at = |name: &str| configuration.definitions.with_file_name(name);
    let mut owned = vec![
        configuration.state.clone(),
        at("keepgate.yaml"),
        configuration.definitions.clone(),
        "/run/secrets".into(),
        "/run/credentials".into(),
    ];
    owned.extend(configuration.policy_directories());
    for tls in configuration.own_tls() {
        owned.extend([tls.certificate.clone(), tls.key.clone()]);
    }
    for path in &owned {
        assert!(
            launch.rules.hidden.contains(path),
            "{path:?}: {:?}",
            launch.rules
        );
    }
    // Where the server runs is its own, though `policies` is named besides; certificates are there for all to read.
    let Upstream::Http { way, .. } =
        &configuration.gateway.servers[&ServerName::parse("crm").unwrap()].upstream
    else {
        panic!()
    };
    let ca = way.ca.as_ref().unwrap();
    assert!(launch.rules.read_only.contains(ca), "{:?}", launch.rules);
}

#[test]
fn trust_is_one_of_three_words_and_instructions_follow_it() {
    let server = |keys: &str| SMALL.replace("example/mcp }", &format!("example/mcp, {keys} }}"));
    for (keys, trust, instructions) in [
        ("owner: a", Trust::Vetted, Instructions::Pass),
        ("trust: vetted", Trust::Vetted, Instructions::Pass),
        ("trust: first_party", Trust::FirstParty, Instructions::Pass),
        ("trust: untrusted", Trust::Untrusted, Instructions::Drop),
        (
            "trust: untrusted, instructions: pass",
            Trust::Untrusted,
            Instructions::Pass,
        ),
        (
            "trust: first_party, instructions: drop",
            Trust::FirstParty,
            Instructions::Drop,
        ),
    ] {
        let configuration = good(&server(keys));
        let up = &configuration.gateway.servers[&ServerName::parse("crm").unwrap()];
        assert_eq!((up.trust, up.instructions), (trust, instructions), "{keys}");
    }
    for keys in [
        "trust: partner",
        "trust: Vetted",
        "trust: first-party",
        "trust: \"\"",
        "trust: true",
        "trust: [vetted]",
        "instructions: yes",
        "instructions: false",
    ] {
        let report = match read(&server(keys), &[]) {
            Ok(_) => panic!("{keys}: accepted"),
            Err(report) => report,
        };
        let words = if keys.starts_with("trust") {
            "one of first_party, vetted, untrusted"
        } else {
            "one of pass, drop"
        };
        assert!(report.contains(words), "{keys}: {report}");
    }
}

#[test]
fn with_several_issuers_only_written_claims_give_roles() {
    const FIRST: &str = "https://one.example";
    for (first, more, given, named) in [
        ("", "", Some("roles"), &[][..]),
        (
            "",
            ", { issuer: https://two.example, roles_claim: r, groups_claim: g }",
            None,
            &["roles_claim", "groups_claim"],
        ),
        (
            ", roles_claim: x",
            ", { issuer: https://two.example, roles_claim: r, groups_claim: g }",
            Some("x"),
            &["groups_claim"],
        ),
        (
            ", roles_claim: x, groups_claim: y",
            ", { issuer: https://two.example, roles_claim: r, groups_claim: g }",
            Some("x"),
            &[],
        ),
    ] {
        let text = format!(
            "{SMALL}auth: {{ mode: oauth, issuers: [{{ issuer: {FIRST}{first} }}{more}] }}\n"
        );
        let configuration = good(&text);
        let oauth = configuration.oauth.as_ref().unwrap();
        assert_eq!(oauth.issuers[0].roles_claim.as_deref(), given, "{text}");
        let warned = configuration
            .warnings
            .iter()
            .filter(|line| line.contains(FIRST));
        let warned: Vec<_> = warned.collect();
        assert_eq!(warned.len(), named.len(), "{warned:?}");
        for (line, key) in warned.iter().zip(named) {
            assert!(line.contains(key), "{line}");
        }
    }
}

#[test]
fn the_page_names_every_key() {
    let page = include_str!("../../docs/configuration.md");
    let mut faults = Faults::default();
    let root = document::parse(include_str!("tests/full.yaml"), &mut faults).unwrap();
    let mut paths = Vec::new();
    leaves(&root, "", &mut paths);
    assert!(paths.len() > 35, "{paths:?}");
    for path in paths {
        let path = path.replace("servers.crm.", "servers.<name>.");
        let path = path.replace("servers.files.", "servers.<name>.");
        let path = path.replace("notify.tickets.", "notify.<name>.");
        let path = path.replace("notify.oncall.", "notify.<name>.");
        // Below these the names are the operator's.
        let maps = ["env", "mounts", "tools", "query", "headers"];
        let path = maps.into_iter().fold(path, |path, map| {
            let below = path.split_once(&format!(".{map}."));
            below.map_or_else(|| path.clone(), |(start, _)| format!("{start}.{map}"))
        });
        let last = path.rsplit_once('.').map(|(_, last)| format!("`.{last}`"));
        let named = page.contains(&format!("`{path}`"));
        assert!(
            named || last.is_some_and(|last| page.contains(&last)),
            "{path}"
        );
    }
}

/// The paths of all values below `node`.
fn leaves(node: &Node, path: &str, paths: &mut Vec<String>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                leaves(&entry.node, &document::join(path, &entry.key), paths);
            }
        }
        Value::Null | Value::Scalar(_) | Value::List(_) => paths.push(path.to_owned()),
    }
}

#[test]
fn warnings_name_what_travels_in_clear() {
    let text = SMALL.replace("https:", "http:");
    let configuration = good(&format!(
        "{text}listen: 0.0.0.0:8080\nhosts: [a.example]\nadmin: {{ listen: 0.0.0.0:9080 }}\n"
    ));
    assert_eq!(
        configuration.warnings.len(),
        3,
        "{:?}",
        configuration.warnings
    );
    assert!(
        good(&SMALL.replace("https://crm.example", "http://127.0.0.1:3000"))
            .warnings
            .is_empty()
    );
    let quoted = SMALL.replace("https://crm.example/mcp", "'http://[::1]:3000/mcp'");
    assert!(good(&quoted).warnings.is_empty());
}

#[test]
fn variables_win_over_the_file() {
    let variables = [
        ("KEEPGATE_LISTEN", "127.0.0.1:1"),
        ("KEEPGATE_ADMIN__LISTEN", "127.0.0.1:2"),
        ("KEEPGATE_PUBLIC_URL", "https://gw.example"),
        ("KEEPGATE_AUTH__MODE", "anonymous"),
        ("KEEPGATE_ORIGINS", "[https://a.example, https://b.example]"),
        ("KEEPGATE_SERVERS__CRM__URL", "https://other.example/mcp"),
        ("KEEPGATE_SERVERS__MY_FILES", "{ command: [cat] }"),
        ("KEEPGATE_SERVERS__MY_FILES__ENV__TOKEN", "x: y # z"),
        ("KEEPGATE_LIMITS__BODY", "2MiB"),
        // Not keys: flags of the command line, and what Kubernetes says of a service named keepgate.
        ("KEEPGATE_CONFIG", "elsewhere.yaml"),
        ("KEEPGATE_OUTPUT", "json"),
        ("KEEPGATE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("KEEPGATE_SERVICE_HOST", "10.0.0.1"),
        ("OTHER", "x"),
    ];
    let text = SMALL.replace("policies:", "  my-files: { command: [ls] }\npolicies:");
    let configuration = read(&text, &variables).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(configuration.listen, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(configuration.admin.listen.port(), 2);
    assert_eq!(configuration.auth, AuthMode::Anonymous);
    assert_eq!(configuration.gateway.origins.len(), 2);
    assert_eq!(configuration.gateway.limits.body, 2 << 20);
    assert_eq!(configuration.gateway.servers.len(), 2);
    let Upstream::Http { url, .. } =
        &configuration.gateway.servers[&ServerName::parse("crm").unwrap()].upstream
    else {
        panic!()
    };
    assert_eq!(url.host(), Some("other.example"));
    let files = &configuration.gateway.servers[&ServerName::parse("my-files").unwrap()];
    let Upstream::Child {
        program,
        environment,
        ..
    } = &files.upstream
    else {
        panic!()
    };
    assert_eq!(program, "cat");
    assert_eq!(
        environment["TOKEN"], "x: y # z",
        "a name of the environment keeps its case"
    );
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let directory = directory();
    let path = directory.path().join("keepgate.yaml");
    let report = |path: &Path| {
        let error = load(path, []).unwrap_err().to_string();
        error.replace(&directory.path().display().to_string(), "<dir>")
    };
    expect![[r#"
        failed to read the configuration `<dir>/keepgate.yaml`: No such file or directory (os error 2)
          hint: name the file with --config or KEEPGATE_CONFIG"#]]
    .assert_eq(&report(&path));
    fs::write(&path, b"version: 1\n\xff").unwrap();
    expect!["<dir>/keepgate.yaml:2: file is not UTF-8 text from this line on"]
        .assert_eq(&report(&path));
    fs::write(&path, " ".repeat(document::MAX_SIZE + 1)).unwrap();
    expect![[r#"
        <dir>/keepgate.yaml: file has 1048577 bytes, more than the 1048576 that are read

        1 error in the configuration"#]]
    .assert_eq(&report(&path));
    fs::write(&path, SMALL).unwrap();
    load(&path, []).unwrap();
}

/// Pieces a YAML file is likely to be broken by.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "version",
        "listen",
        "servers",
        "url",
        "command",
        "env",
        "tls",
        "limits",
        "1",
        "~",
        "true",
        "64KiB",
        "30s",
        "https://a.example/mcp",
        "127.0.0.1:1",
        ": ",
        "- ",
        ", ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "|",
        ">",
        "&a ",
        "*a",
        "!!str ",
        "---\n",
        "...\n",
        "? ",
        "#",
        "%YAML 1.2\n",
        "\\x00",
        "\t",
        "\r",
        "\u{feff}",
        "\u{2028}",
        "é",
        "<<: ",
        "99999999999999999999",
        "",
        "__",
        ".",
        "@",
        "`",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|pieces| pieces.concat())
}

/// Whatever the text is: it is taken, or refused with a reason that does not write to the terminal.
fn survives(text: &str, variable: Option<(OsString, OsString)>) {
    if let Err(error) = from_text(text, "x", Path::new("/nowhere"), variable) {
        let report = error.to_string();
        assert!(
            report.ends_with("in the configuration") || report.ends_with("not shown"),
            "{report}"
        );
        let plain = |letter: char| letter == '\n' || !letter.is_control();
        assert!(report.chars().all(plain), "{report:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_the_loader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        survives(&text, None);
    }

    #[test]
    fn no_mangled_file_panics_the_loader(text in pieces()) {
        survives(&text, None);
    }

    #[test]
    fn no_cut_or_spliced_file_panics_the_loader(at in 0_usize..1800, piece in pieces()) {
        let full = include_str!("tests/full.yaml");
        let at = full.floor_char_boundary(at);
        survives(&full[..at], None);
        let spliced = format!("{}{piece}{}", &full[..at], &full[at..]);
        survives(&spliced, None);
    }

    #[test]
    fn no_variable_panics_the_loader(name in "[A-Z_]{0,40}", value in pieces()) {
        let variable = (OsString::from(format!("KEEPGATE_{name}")), OsString::from(value));
        survives(SMALL, Some(variable));
    }
}
