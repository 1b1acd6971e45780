//! Recorded decisions explained, taken and replayed, through the program's own door.

#[cfg(test)]
mod decisions {
    use std::ffi::OsString;
    use std::fs;

    use expect_test::{ExpectFile, expect_file};
    use keepgate_cli::{Exit, Surroundings};

    const RULES: &str = r#"package mcp.authz

# METADATA
# title: Support reads cases
allow contains "support reads cases" if {
	"support" in input.caller.roles
	input.server.name == "crm"
	input.tool.name in {"search_cases", "get_case"}
}

deny contains {"code": "sql_not_select", "message": "only SELECT is allowed"} if {
	input.tool.name == "query_database"
	verb := lower(split(input.arguments.sql, " ")[0])
	verb != "select"
}

approve contains {"code": "destructive", "approvers": ["group:leads"], "quorum": 2} if {
	input.tool.name == "delete_case"
}

redact contains {"field": "ssn"} if input.server.name == "crm"

labels contains "pii" if input.server.name == "hr"
"#;

    struct Ran {
        exit: Exit,
        stdout: String,
        stderr: String,
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write("policies/rules.rego", RULES);
            folder
        }

        fn path(&self, name: &str) -> String {
            self.0.path().join(name).display().to_string()
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Runs a command; `@name` stands for a path in the folder.
        fn run(&self, arguments: &[&str]) -> Ran {
            let arguments = arguments
                .iter()
                .map(|argument| match argument.strip_prefix('@') {
                    Some(name) => self.path(name),
                    None => (*argument).to_owned(),
                });
            let arguments = std::iter::once("keepgate".to_owned()).chain(arguments);
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let exit = keepgate_cli::run(
                arguments.map(OsString::from),
                Surroundings {
                    variables: Vec::new(),
                    stdout: &mut stdout,
                    stderr: &mut stderr,
                },
            );
            let plain = |bytes| {
                let text = String::from_utf8(bytes).unwrap();
                text.replace(&format!("{}/", self.0.path().display()), "")
            };
            Ran {
                exit,
                stdout: plain(stdout),
                stderr: plain(stderr),
            }
        }
    }

    fn input(tool: &str, arguments: &str) -> String {
        format!(
            r#"{{"version":"keepgate/v1","phase":"call","method":"tools/call","tenant":"","caller":{{"sub":"ann","roles":["sales"]}},"server":{{"name":"crm"}},"tool":{{"name":"{tool}"}},"arguments":{arguments}}}"#
        )
    }

    fn recorded(id: &str, tool: &str, arguments: &str, result: &str) -> String {
        let input = input(tool, arguments);
        let erased = if arguments == "{}" {
            ""
        } else {
            r#","masked":["/input/arguments/pin"]"#
        };
        format!(
            r#"{{"decision_id":"{id}","timestamp":"2026-11-20T10:00:0{id}.000000000Z","bundles":{{"keepgate":{{"revision":"old"}}}},"input":{input},"result":{result}{erased}}}"#
        )
    }

    const DENIED: &str =
        r#"{"effect":"deny","reasons":[{"code":"no_rule","message":"no rule allows this"}]}"#;
    const SELECT: &str = r#"{"effect":"deny","reasons":[{"code":"sql_not_select","message":"only SELECT is allowed"}]}"#;
    const APPROVE: &str = r#"{"effect":"approve","reasons":[{"code":"destructive","message":""}],"approval":{"approvers":["group:leads"],"quorum":2},"obligations":{"redact":[{"field":"ssn"}]}}"#;

    fn log(folder: &Folder) {
        let older = [recorded("1", "search_cases", "{}", DENIED)];
        let newer = [
            recorded(
                "2",
                "query_database",
                r#"{"sql":"DROP TABLE x","pin":"[masked]"}"#,
                SELECT,
            ),
            recorded("3", "delete_case", "{}", APPROVE),
            recorded("4", "search_cases", "{}", DENIED),
        ];
        folder.write("state/decisions.jsonl.1", &(older.join("\n") + "\n"));
        folder.write("state/decisions.jsonl", &(newer.join("\n") + "\n"));
    }

    fn golden(name: &str) -> ExpectFile {
        expect_file![format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"))]
    }

    /// Revisions are digests of the files; here they are only noise.
    fn without_revision(text: &str) -> String {
        let words = text.split_inclusive([' ', '\n']).map(|word| {
            let digits = word.trim_end();
            let is_digest =
                digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_digest {
                word.replace(digits, "REVISION")
            } else {
                word.to_owned()
            }
        });
        words.collect()
    }

    #[test]
    fn explanations_are_as_reviewed() {
        let folder = Folder::new();
        log(&folder);
        let mut told = String::new();
        for (what, arguments) in [
            ("no rule allows it", ["1", "--dir", "@policies"]),
            ("a rule denies it", ["2", "--dir", "@policies"]),
            (
                "it needs an approval, every rule",
                ["3", "--dir", "@policies"],
            ),
        ] {
            let mut all = vec!["policy", "explain", "--state", "@state"];
            all.extend(arguments);
            if what.ends_with("every rule") {
                all.push("--all");
            }
            let ran = folder.run(&all);
            assert_eq!(ran.exit, Exit::Success, "{}", ran.stderr);
            told.push_str(&format!(
                "=== {what} ===\n{}\n",
                without_revision(&ran.stdout)
            ));
        }
        golden("explain.txt").assert_eq(&told);
    }

    #[test]
    fn an_input_can_be_explained_and_judged() {
        let folder = Folder::new();
        folder.write(
            "in.json",
            &input("query_database", r#"{"sql":"drop","password":"hunter2"}"#),
        );
        let ran = folder.run(&[
            "policy",
            "explain",
            "-i",
            "@in.json",
            "--dir",
            "@policies",
            "--output",
            "json",
        ]);
        assert_eq!(ran.exit, Exit::Success, "{}", ran.stderr);
        assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(told["effect"], "deny");
        assert_eq!(told["layers"][0]["rules"][0]["outcome"], "held");

        let ran = folder.run(&["policy", "eval", "-i", "@in.json", "--dir", "@policies"]);
        assert_eq!(ran.exit, Exit::Negative);
        assert!(ran.stdout.contains("\"sql_not_select\""), "{}", ran.stdout);
        let query = "count(data.mcp.authz.deny)";
        let ran = folder.run(&[
            "policy",
            "eval",
            "-i",
            "@in.json",
            "--dir",
            "@policies",
            query,
        ]);
        assert_eq!(
            (ran.exit, ran.stdout.as_str()),
            (Exit::Success, "1\n"),
            "{}",
            ran.stderr
        );
        let ran = folder.run(&["policy", "eval", "--dir", "@policies", "data.nothing.here"]);
        assert_eq!(
            (ran.exit, ran.stdout.as_str()),
            (Exit::Success, "undefined\n"),
            "{}",
            ran.stderr
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = Folder::new();
        let ran = folder.run(&[
            "policy",
            "explain",
            "7",
            "--state",
            "@state",
            "--dir",
            "@policies",
        ]);
        assert_eq!(ran.exit, Exit::Negative);
        assert!(
            ran.stderr.contains("no decision is recorded"),
            "{}",
            ran.stderr
        );
        log(&folder);
        let ran = folder.run(&[
            "policy",
            "explain",
            "7",
            "--state",
            "@state",
            "--dir",
            "@policies",
        ]);
        assert_eq!(ran.exit, Exit::Negative);
        assert!(
            ran.stderr.contains("no such decision: `7`"),
            "{}",
            ran.stderr
        );
        let ran = folder.run(&["policy", "explain", "--dir", "@policies"]);
        assert_eq!(ran.exit, Exit::Usage);
    }

    #[test]
    fn each_kind_of_call_is_taken_once() {
        let folder = Folder::new();
        log(&folder);
        let ran = folder.run(&[
            "policy",
            "record",
            "--state",
            "@state",
            "--out",
            "@all.jsonl",
        ]);
        assert_eq!(
            ran.stdout,
            "3 of 4 decisions in `all.jsonl`: 1 alike, 0 not asked for, 0 not readable\n"
        );
        let only = [
            "policy",
            "record",
            "--from",
            "@all.jsonl",
            "--tool",
            "crm.delete_case",
            "--caller",
            "ann",
        ];
        let ran = folder.run(&only);
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        let ran = folder.run(&[
            "policy",
            "record",
            "--state",
            "@state",
            "--since",
            "2026-11-20T10:00:03Z",
        ]);
        assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
        let ran = folder.run(&[
            "policy",
            "record",
            "--state",
            "@state",
            "--since",
            "yesterday",
        ]);
        assert_eq!(ran.exit, Exit::Usage);
    }

    #[test]
    fn replays_are_as_reviewed_and_end_as_documented() {
        let folder = Folder::new();
        log(&folder);
        let wider = RULES.replace(
            "\"support\" in input.caller.roles",
            "count(input.caller.roles) > 0",
        );
        let narrower =
            format!("{RULES}\ndeny contains \"frozen\" if input.tool.name == \"delete_case\"\n");
        let reads = format!("{RULES}\ndeny contains \"pin\" if input.arguments.pin == \"1\"\n");
        let mut told = String::new();
        for (name, rules, exit) in [
            ("same", RULES, Exit::Success),
            ("wider", wider.as_str(), Exit::Widened),
            ("narrower", narrower.as_str(), Exit::Narrowed),
            ("reads what is left out", reads.as_str(), Exit::Unreplayed),
        ] {
            folder.write(&format!("{name}/rules.rego"), rules);
            let candidate = format!("@{name}");
            let ran = folder.run(&["policy", "replay", "--state", "@state", &candidate]);
            assert_eq!(ran.exit, exit, "{name}: {} {}", ran.stdout, ran.stderr);
            told.push_str(&format!(
                "=== {name} ===\n{}\n",
                without_revision(&ran.stdout)
            ));
        }
        golden("replay.txt").assert_eq(&told);
        // Without the record that says nothing, the answer is certain.
        let whole = [
            recorded("1", "search_cases", "{}", DENIED),
            recorded("3", "delete_case", "{}", APPROVE),
        ];
        folder.write("whole.jsonl", &whole.join("\n"));
        let candidate = "@reads what is left out";
        let ran = folder.run(&["policy", "replay", "--from", "@whole.jsonl", candidate]);
        assert_eq!(ran.exit, Exit::Success, "{}", ran.stdout);
    }
}
