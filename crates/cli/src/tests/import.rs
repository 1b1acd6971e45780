//! `import` on files as clients write them: what is written, what is reported, and that no secret is in either.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Marks every secret of the fixtures.
const SECRET: &str = "S3CR3T";

/// A client's file: where it keeps it, what it has, and its name on the command line.
const FILES: [(&str, &str, &str); 6] = [
    (
        "claude_desktop_config.json",
        include_str!("import/claude_desktop_config.json"),
        "claude",
    ),
    (".mcp.json", include_str!("import/mcp.json"), "claude"),
    (".claude.json", include_str!("import/claude.json"), "claude"),
    (
        ".vscode/mcp.json",
        include_str!("import/vscode.json"),
        "vscode",
    ),
    (
        ".cursor/mcp.json",
        include_str!("import/cursor.json"),
        "cursor",
    ),
    (
        ".codeium/windsurf/mcp_config.json",
        include_str!("import/mcp_config.json"),
        "cursor",
    ),
];

/// A directory with a client's file.
struct Home {
    bench: Bench,
    file: String,
}

impl Home {
    fn new(name: &str, text: &str) -> Self {
        let bench = Bench {
            directory: tempfile::tempdir().unwrap(),
        };
        bench.write(name, text);
        let file = bench.path(name).display().to_string();
        Self { bench, file }
    }

    /// Runs with the variables a person has.
    fn run(&self, arguments: &[&str]) -> Ran {
        let variables = [
            ("HOME", "/home/person"),
            ("PATH", "/usr/bin:/bin"),
            ("DOCS_KEY", "S3CR3T-of-the-environment"),
        ];
        let variables =
            variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let ran = run_with(arguments, variables.to_vec());
        let place = self.bench.directory.path().display().to_string();
        Ran {
            stdout: ran.stdout.replace(&place, "<dir>"),
            stderr: ran.stderr.replace(&place, "<dir>"),
            ..ran
        }
    }

    fn import(&self, more: &[&str]) -> Ran {
        let into = self.path("gate");
        let arguments = [
            &["import", self.file.as_str(), "--into", into.as_str()],
            more,
        ]
        .concat();
        self.run(&arguments)
    }

    fn path(&self, name: &str) -> String {
        self.bench.path(name).display().to_string()
    }

    fn text(&self, name: &str) -> String {
        let place = self.bench.directory.path().display().to_string();
        fs::read_to_string(self.bench.path(name))
            .unwrap()
            .replace(&place, "<dir>")
    }

    /// Everything below the directory: path, mode, content.
    fn all(&self) -> Vec<(String, u32, Vec<u8>)> {
        let mut all = Vec::new();
        let mut open = vec![self.bench.directory.path().to_path_buf()];
        while let Some(path) = open.pop() {
            let mode = path.metadata().unwrap().permissions().mode();
            let name = path.display().to_string();
            if path.is_dir() {
                open.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
                all.push((name, mode, Vec::new()));
            } else {
                let content = fs::read(&path).unwrap();
                all.push((name, mode, content));
            }
        }
        all.sort();
        all
    }
}

#[test]
fn files_of_clients_are_imported_as_reviewed() {
    for (name, text, client) in FILES {
        let home = Home::new(name, text);
        let ran = home.import(&[]);
        assert_eq!(
            (ran.exit, ran.stderr.as_str()),
            (Exit::Success, ""),
            "{name}: {}",
            ran.stdout
        );
        let mut golden = format!(
            "{}\n=== keepgate.yaml\n{}",
            ran.stdout,
            home.text("gate/keepgate.yaml")
        );
        golden.push_str(&format!(
            "=== data.json\n{}",
            home.text("gate/policies/data.json")
        ));
        let changed = home.import(&["--client", client]);
        assert_eq!(changed.exit, Exit::Success, "{name}: {}", changed.stderr);
        golden.push_str(&format!("=== --client {client}\n{}", changed.stdout));
        assert!(!golden.contains(SECRET), "{golden}");
        let file = name.rsplit('/').next().unwrap().trim_start_matches('.');
        let file = if name.starts_with(".vscode") || name.starts_with(".cursor") {
            format!("{client}_{file}")
        } else {
            file.to_owned()
        };
        let golden_file = format!("{}/golden/import/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        expect_file![golden_file].assert_eq(&golden);

        // What was written is valid, and its tests pass.
        let config = home.path("gate/keepgate.yaml");
        let checked = home.run(&["--config", &config, "check"]);
        assert_eq!(
            (checked.exit, checked.stderr.as_str()),
            (Exit::Success, ""),
            "{name}"
        );
        let tested = home.run(&["--config", &config, "policy", "test"]);
        assert_eq!(
            tested.exit,
            Exit::Success,
            "{name}: {}{}",
            tested.stdout,
            tested.stderr
        );
    }
}

#[test]
fn secrets_go_to_files_nobody_else_may_read() {
    let (name, text, _) = FILES[0];
    let home = Home::new(name, text);
    home.import(&[]);
    let mut secrets = Vec::new();
    for (path, mode, content) in home.all() {
        let content = String::from_utf8(content).unwrap();
        if path.ends_with("/secrets/.gitignore") {
            assert_eq!(content, "*\n");
        } else if let Some((_, file)) = path.split_once("/gate/secrets/") {
            assert_eq!(mode & 0o777, 0o600, "{path}");
            secrets.push((file.to_owned(), content));
        } else if path.contains("/gate") {
            assert!(!content.contains(SECRET), "{path}");
        }
    }
    let mode = fs::metadata(home.path("gate/secrets"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let expected = [
        ("aws-aws_access_key_id", "AKIAS3CR3T5S3CR3T5SE"),
        ("aws-aws_secret_access_key", "S3CR3T-6"),
        ("brave-search-brave_api_key", "S3CR3T-3-of-brave"),
        (
            "github-github_personal_access_token",
            "ghp_S3CR3T00000000000000000000000000000001",
        ),
    ];
    let expected = expected.map(|(name, secret)| (name.to_owned(), secret.to_owned()));
    assert_eq!(secrets, expected);
}

#[test]
fn nothing_is_written_over_and_a_failure_leaves_nothing() {
    let (name, text, _) = FILES[0];
    let home = Home::new(name, text);
    home.bench.write("gate/policies/data.json", "{\"mine\": 1}");
    home.bench.write("gate/keepgate.yaml", "mine");
    let before = home.all();
    let ran = home.import(&[]);
    assert_eq!(ran.exit, Exit::State);
    assert!(
        ran.stderr
            .contains("there already: `<dir>/gate/policies/data.json`, `<dir>/gate/keepgate.yaml`"),
        "{}",
        ran.stderr
    );
    assert_eq!(home.all(), before);

    // Nor over what was kept before.
    home.bench.write("gate/keepgate.yaml.bak", "older");
    let before = home.all();
    let ran = home.import(&["--force"]);
    assert_eq!(ran.exit, Exit::State, "{}", ran.stdout);
    assert_eq!(home.all(), before);

    // A file where a directory should be: those that were made before it are gone again.
    fs::remove_file(home.path("gate/keepgate.yaml.bak")).unwrap();
    home.bench.write("gate/secrets", "");
    let before = home.all();
    assert_eq!(home.import(&["--force"]).exit, Exit::State);
    assert_eq!(home.all(), before);

    fs::remove_file(home.path("gate/secrets")).unwrap();
    assert_eq!(home.import(&["--force"]).exit, Exit::Success);
    assert_eq!(home.text("gate/policies/data.json.bak"), "{\"mine\": 1}");
    assert_eq!(home.text("gate/keepgate.yaml.bak"), "mine");
}

#[test]
fn a_client_file_is_changed_in_place_and_only_where_it_has_to_be() {
    for (name, text, client) in FILES {
        let home = Home::new(name, text);
        home.import(&[]);
        let ran = home.import(&["--client", client, "--write"]);
        assert_eq!(ran.exit, Exit::Success, "{name}: {}", ran.stderr);
        assert!(!ran.stdout.contains(SECRET), "{}", ran.stdout);
        assert_eq!(home.text(&format!("{name}.bak")), text, "{name}");
        let mode = fs::metadata(format!("{}.bak", home.file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        let edited = home.text(name);
        // Comments outside what is replaced, and everything else of the file, are kept.
        let kept = |line: &&str| {
            [
                "//",
                "globalShortcut",
                "numStartups",
                "S3CR3T-20",
                "\"display\"",
                "region",
            ]
            .iter()
            .any(|mark| line.contains(mark))
                && !line.contains("\"url\"")
                && !line.contains("input:region")
        };
        for line in text
            .lines()
            .filter(kept)
            .filter(|line| !line.contains("https:") || line.trim().starts_with("//"))
        {
            assert!(
                edited.contains(line.trim_end_matches(',')),
                "{name}: {line}\n{edited}"
            );
        }
        assert!(
            edited.contains("http://127.0.0.1:8080/"),
            "{name}: {edited}"
        );
        let again = home.import(&["--client", client]);
        assert!(
            again.stdout.contains("nothing to change"),
            "{name}: {}",
            again.stdout
        );
    }
}

#[test]
fn files_that_cannot_be_read_end_with_usage_and_show_nothing_of_them() {
    for text in [
        "",
        "{",
        "[]",
        "{} x",
        "{\"mcpServers\": [1]}",
        "{\"a\": \"S3CR3T",
        "{\"mcpServers\": {\"a\": {\"x\": S3CR3T}}}",
        "{\"S3CR3T\" 1}",
        "{\"a\": \"\\x S3CR3T\"}",
        "{\"mcpServers\": {}} /* S3CR3T",
    ] {
        let home = Home::new("mcp.json", text);
        let before = home.all();
        let ran = home.import(&[]);
        assert_eq!(ran.exit, Exit::Usage, "{text}");
        assert!(!ran.stderr.contains(SECRET), "{}", ran.stderr);
        assert_eq!(home.all(), before, "{text}");
    }
    let home = Home::new("mcp.json", "{\"mcpServers\": {}}");
    assert_eq!(home.import(&[]).exit, Exit::Negative);
    let deep = format!(
        "{{\"mcpServers\": {}1{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    assert_eq!(Home::new("mcp.json", &deep).import(&[]).exit, Exit::Usage);
    let one = "\"s{}\": {\"command\": \"x\"},";
    let many: String = (0..600)
        .map(|number| one.replace("{}", &number.to_string()))
        .collect();
    let many = format!("{{\"mcpServers\": {{{many}}}}}");
    let ran = Home::new("mcp.json", &many).import(&[]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(
        ran.stderr.contains("more than 500 servers"),
        "{}",
        ran.stderr
    );
}
