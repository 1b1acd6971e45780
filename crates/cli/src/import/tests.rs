//! Properties of an import: any text is read or refused, and what is read makes a valid configuration.

use proptest::prelude::*;

use super::*;
use crate::config::from_text;

/// Texts that have been trouble somewhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,20}",
        "[a-zA-Z0-9 _./:@$?=&#%-]{0,40}",
        "\\$\\{[a-zA-Z_:/-]{0,10}\\}?",
        "https?://[a-z.:@/?=&]{0,30}",
        Just("Bearer abcdefgh".to_owned()),
        Just("${env:HOME}/${input:a}${workspaceFolder}".to_owned()),
        Just("npx".to_owned()),
        Just("\u{2028}\u{0}\u{7f}\u{85}\u{feff}\u{fffe}".to_owned()),
    ]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    let key = prop_oneof![
        text(),
        prop::sample::select(vec![
            "command",
            "args",
            "env",
            "url",
            "serverUrl",
            "headers",
            "type",
            "cwd",
            "Authorization",
            "API_KEY",
            "disabledTools",
            "inputs",
            "id",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A server that looks like one.
fn server() -> impl Strategy<Value = serde_json::Value> {
    let list = prop::collection::vec(text(), 0..5);
    let map = || prop::collection::btree_map("[A-Za-z_-]{1,12}", text(), 0..4);
    prop_oneof![
        (text(), list, map()).prop_map(|(command, args, env)| serde_json::json!({
            "command": command, "args": args, "env": env,
        })),
        (text(), map())
            .prop_map(|(url, headers)| serde_json::json!({ "url": url, "headers": headers })),
        json(),
    ]
}

fn read_in(text: &str) -> Result<Import, ImportError> {
    let variables = [(OsString::from("HOME"), OsString::from("/home/a b"))];
    let around = Surroundings {
        file: Path::new("/tmp/mcp.json"),
        into: Path::new("/tmp/gate"),
        variables: &variables,
    };
    let import = read(text, around)?;
    if !import.servers.is_empty() {
        let configuration = import.configuration(around, Path::new("/"));
        let configuration = configuration.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            configuration.gateway.servers.len(),
            import.servers.len(),
            "{text}"
        );
    }
    Ok(import)
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}", json_like in "[\\[\\]{}:,\"a/* \n\\\\-]{0,200}") {
        drop(json::parse(&text));
        drop(json::parse(&json_like));
        drop(read_in(&json_like));
    }

    #[test]
    fn whatever_is_imported_makes_a_valid_configuration(
        servers in prop::collection::btree_map(text(), server(), 0..4),
        key in prop::sample::select(vec!["mcpServers", "servers"]),
    ) {
        let text = serde_json::json!({ key: servers }).to_string();
        let import = read_in(&text).unwrap();
        prop_assert_eq!(import.servers.len() + import.skipped.len(), servers.len());
    }

    #[test]
    fn any_json_is_read_as_serde_reads_it(value in json()) {
        let text = value.to_string();
        let node = json::parse(&text).unwrap();
        prop_assert_eq!(node.span, 0..text.len());
    }

    #[test]
    fn a_quoted_text_is_the_same_text_to_a_reader(value in ".{0,40}") {
        let text = format!(
            "version: 1\npolicies: [/]\nservers:\n  a: {{ command: [cat, {}] }}\n",
            yaml::scalar(&value.replace('$', "$$"))
        );
        let read = from_text(&text, "keepgate.yaml", Path::new("/"), []);
        // The one thing no argument may have.
        prop_assert_eq!(read.is_ok(), !value.contains('\0'));
        if let Ok(read) = read {
            let server = read.gateway.servers.values().next().unwrap();
            let keepgate_gateway::settings::Upstream::Child { arguments, .. } = &server.upstream else {
                panic!()
            };
            prop_assert_eq!(&arguments[0], &value);
        }
    }

    #[test]
    fn names_are_valid_and_none_comes_twice(written in prop::collection::vec(".{0,80}", 1..20)) {
        let mut names = Names::default();
        let mut given = BTreeSet::new();
        for written in written {
            let name = names.take(&written);
            prop_assert!(keepgate_call::ServerName::parse(&name).is_some(), "{}", name);
            prop_assert!(name != "t");
            prop_assert!(given.insert(name));
        }
    }
}

#[test]
fn secrets_are_known_by_name_and_by_look() {
    for (name, value) in [
        ("GITHUB_TOKEN", "x"),
        ("OPENAI_KEY", "x"),
        ("GITHUB_PAT", "x"),
        ("DB_PASS", "x"),
        ("SENTRY_DSN", "x"),
        ("NAME", "ghp_0123456789abcdef"),
        ("NAME", "sk-0123456789abcdef"),
        ("NAME", "postgres://user:password@host/db"),
        ("NAME", "Bearer abc"),
        ("NAME", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh"),
        ("NAME", "-----BEGIN PRIVATE KEY-----\n"),
    ] {
        assert!(secrets::is_secret(name, value), "{name}={value}");
    }
    for (name, value) in [
        ("GITHUB_TOKEN", ""),
        ("LOG_LEVEL", "debug"),
        ("NAME", "sk-short"),
        ("URL", "https://host/path@x:y"),
        ("MONKEY", "george"),
        ("NAME", "postgres://host/db"),
    ] {
        assert!(!secrets::is_secret(name, value), "{name}={value}");
    }
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (line, place) in [
        ("npx --api-key abc", Some(3)),
        ("npx --api-key=abc", Some(2)),
        (
            "npx mcp-remote https://x --header Authorization:abc",
            Some(5),
        ),
        ("npx --header X-Api-Key:abc", Some(3)),
        ("env TOKEN=abc npx", Some(2)),
        ("npx postgres://a:b@c/d", Some(2)),
        ("npx -y mcp-remote https://h/sse?api_key=abc123", Some(4)),
        ("npx --url=https://h?a=b&token=abc", Some(2)),
        ("npx --api-key ${X:-sk-live}", Some(3)),
        ("npx mcp-remote https://h/sse?project=abc", None),
        ("npx --token ${TOKEN}", None),
        ("npx --api-key --verbose", None),
        ("docker run -e API_KEY image", None),
        ("npx -y some-server /srv/token", None),
    ] {
        assert_eq!(secrets::in_arguments(&words(line)), place, "{line}");
    }
}

/// A variable called nothing that secrets are called may hold one: neither the configuration nor a report has it.
#[test]
fn a_value_of_a_variable_is_looked_at_too() {
    let value = "postgres://user:hunter2@host/db";
    let variables = [(OsString::from("DATABASE_URL"), OsString::from(value))];
    let around = Surroundings {
        file: Path::new("/tmp/mcp.json"),
        into: Path::new("/tmp/gate"),
        variables: &variables,
    };
    for server in [
        r#"{"url": "https://x.example/mcp?db=${DATABASE_URL}"}"#,
        r#"{"url": "https://x.example/mcp", "headers": {"X-Db": "${DATABASE_URL}"}}"#,
    ] {
        let import = read(&format!(r#"{{"mcpServers": {{"x": {server}}}}}"#), around).unwrap();
        let text = yaml::document(
            &import.servers,
            "./policies",
            Path::new("/tmp/gate/secrets"),
        );
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!import.servers[0].target().contains("hunter2"), "{server}");
        assert_eq!(import.servers[0].files.len(), 1, "{server}");
    }
}
