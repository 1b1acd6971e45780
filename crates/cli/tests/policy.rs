//! The tools for authors of policies, through the program's own door.

#[cfg(test)]
mod policy {
    use std::ffi::OsString;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use keepgate_cli::{Exit, Surroundings};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// What a run left behind.
    struct Ran {
        exit: Exit,
        stdout: String,
        stderr: String,
    }

    fn keepgate(arguments: &[&str]) -> Ran {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let arguments = std::iter::once("keepgate").chain(arguments.iter().copied());
        let exit = keepgate_cli::run(
            arguments.map(OsString::from),
            Surroundings {
                variables: Vec::new(),
                stdout: &mut stdout,
                stderr: &mut stderr,
            },
        );
        Ran {
            exit,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    fn json(ran: &Ran) -> serde_json::Value {
        serde_json::from_str(&ran.stdout).unwrap()
    }

    const RULES: &str = "\
package mcp.authz

allow contains \"reads\" if startswith(input.tool.name, \"get_\")

deny contains \"closed\" if {
	input.request.hour > 20
}
";

    const TESTS: &str = "\
package mcp.authz_test

import data.mcp.authz

cases := {
	\"a getter\": {\"tool\": \"get_a\", \"allowed\": true},
	\"a setter\": {\"tool\": \"set_a\", \"allowed\": false},
	\"a mistake\": {\"tool\": \"set_a\", \"allowed\": true},
}

test_tools[note] if {
	some note, tc in cases
	print(\"asking for\", tc.tool)
	allowed := count(authz.allow) > 0 with input.tool.name as tc.tool
	allowed == tc.allowed
}

test_get if count(authz.allow) > 0 with input.tool.name as \"get_a\"

todo_test_hours if false
";

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn place(folder: &tempfile::TempDir) -> String {
        folder.path().display().to_string()
    }

    /// What was printed, without the folder's name and without times.
    fn shown(ran: &Ran, folder: &Path) -> String {
        let text = ran.stdout.replace(&format!("{}/", folder.display()), "");
        text.lines()
            .map(|line| match line.split_once(" in ") {
                Some((before, after)) if after.ends_with(" ms") => format!("{before} in N ms\n"),
                Some(_) | None => format!("{line}\n"),
            })
            .collect()
    }

    #[test]
    fn tests_are_told_case_by_case() {
        let folder = folder(&[("a.rego", RULES), ("a_test.rego", TESTS)]);
        let ran = keepgate(&["policy", "test", &place(&folder)]);
        assert_eq!(ran.exit, Exit::Negative, "{}", ran.stderr);
        assert_eq!(
            shown(&ran, folder.path()),
            "a_test.rego:11: failed: mcp.authz_test.test_tools\n    case failed: a mistake\n    2 of 3 cases passed\n    \
         a_test.rego:13: asking for get_a\n    a_test.rego:13: asking for set_a\n    a_test.rego:13: asking for set_a\n\
         FAILED: 1 passed, 1 failed, 1 skipped in N ms\n"
        );
        let ran = keepgate(&["policy", "test", &place(&folder), "--output", "json"]);
        let tests = &json(&ran)["tests"];
        assert_eq!(tests[0]["outcome"], "failed");
        assert_eq!(
            tests[0]["cases"],
            serde_json::json!([
                {"name": "a getter", "passed": true},
                {"name": "a mistake", "passed": false},
                {"name": "a setter", "passed": true},
            ])
        );
    }

    #[test]
    fn a_filter_and_an_empty_folder() {
        let both = folder(&[("a.rego", RULES), ("a_test.rego", TESTS)]);
        let ran = keepgate(&["policy", "test", &place(&both), "--filter", "test_get$"]);
        assert_eq!(ran.exit, Exit::Success);
        assert!(
            ran.stdout.contains("ok: 1 passed, 0 failed"),
            "{}",
            ran.stdout
        );
        let ran = keepgate(&["policy", "test", &place(&both), "--filter", "nothing"]);
        assert_eq!(ran.exit, Exit::Negative);
        assert!(ran.stdout.contains("no test matches"), "{}", ran.stdout);
        let ran = keepgate(&["policy", "test", &place(&both), "--filter", "("]);
        assert_eq!(ran.exit, Exit::Usage);
        // Who looks in the wrong folder must not be told that all is well.
        let untested = folder(&[("a.rego", RULES)]);
        let ran = keepgate(&["policy", "test", &place(&untested)]);
        assert_eq!(ran.exit, Exit::Negative);
        assert!(ran.stdout.contains("no test found"), "{}", ran.stdout);
    }

    #[test]
    fn coverage_names_what_no_test_went_through() {
        let folder = folder(&[("a.rego", RULES), ("a_test.rego", TESTS)]);
        let place = place(&folder);
        let ran = keepgate(&["policy", "coverage", &place]);
        // One test fails, and coverage of failing tests is not to be relied on.
        assert_eq!(ran.exit, Exit::Negative);
        let told = shown(&ran, folder.path());
        let words: Vec<String> = told
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            words,
            [
                "a.rego:5: never held: deny",
                // `authz.allow` of the import evaluates that rule alone.
                "a.rego:6: never reached",
                "file lines rules",
                "a.rego 33 % (1 of 3) 50 % (1 of 2)",
                "all 33 % (1 of 3) 50 % (1 of 2)",
                "some tests failed: see `keepgate policy test`",
            ]
        );
        let good = ["policy", "test", &place, "--filter", "test_get"];
        let with = |more: &[&str]| keepgate(&[&good, more].concat());
        assert!(
            with(&["--coverage"])
                .stdout
                .contains("a.rego:5: never held: deny")
        );
        assert_eq!(with(&["--threshold", "33"]).exit, Exit::Success);
        let short = with(&["--threshold", "34"]);
        assert_eq!(short.exit, Exit::Negative);
        assert!(
            short
                .stdout
                .contains("covered 33 %, and 34 % were asked for")
        );
        let value = json(&with(&["--coverage", "--output", "json"]));
        assert_eq!(value["coverage"]["percent"], 33);
        assert_eq!(value["coverage"]["files"][0]["never"][0]["rule"], "deny");
    }

    #[test]
    fn results_are_written_for_build_servers() {
        let folder = folder(&[("a.rego", RULES), ("a_test.rego", TESTS)]);
        let file = folder.path().join("results.xml");
        let ran = keepgate(&[
            "policy",
            "test",
            &place(&folder),
            "--junit",
            file.to_str().unwrap(),
        ]);
        assert_eq!(ran.exit, Exit::Negative);
        let xml = fs::read_to_string(file).unwrap();
        assert!(
            xml.contains("tests=\"5\" failures=\"1\" errors=\"0\" skipped=\"1\""),
            "{xml}"
        );
        assert!(xml.contains("name=\"test_tools[a mistake]\""), "{xml}");
        let ran = keepgate(&[
            "policy",
            "test",
            &place(&folder),
            "--junit",
            "/nonexistent-keepgate/x.xml",
        ]);
        assert_eq!(ran.exit, Exit::State);
    }

    #[test]
    fn a_check_tells_people_and_machines_what_is_wrong() {
        let folder = folder(&[(
            "a.rego",
            "package mcp.authz\n\nallow contains \"x\" if startwith(input.tool.name, \"get\")\n",
        )]);
        let ran = keepgate(&["policy", "check", &place(&folder)]);
        assert_eq!((ran.exit, ran.stdout.as_str()), (Exit::Policy, ""));
        let told = ran.stderr.replace(&place(&folder), "");
        assert_eq!(
            told,
            "/a.rego:3:23: no function `startwith`\n 3 | allow contains \"x\" if startwith(input.tool.name, \"get\")\n   \
         |                       ^^^^^^^^^\n  hint: did you mean `startswith`?\n\n1 problem in the policies\n"
        );
        let ran = keepgate(&["policy", "check", &place(&folder), "--output", "json"]);
        assert_eq!((ran.exit, ran.stderr.as_str()), (Exit::Policy, ""));
        let problem = &json(&ran)["problems"][0];
        assert_eq!(
            (problem["line"].as_u64(), problem["column"].as_u64()),
            (Some(3), Some(23))
        );
        assert_eq!(problem["hint"], "did you mean `startswith`?");
        fs::write(
            folder.path().join("a.rego"),
            "package mcp.authz\n\nallow contains \"x\"\n",
        )
        .unwrap();
        let ran = keepgate(&["policy", "check", &place(&folder), "--output", "json"]);
        assert_eq!(ran.exit, Exit::Success);
        assert_eq!(
            json(&ran)["warnings"][0]["message"],
            "allows everything that nothing denies"
        );
    }

    /// Definitions, and whether they are ones.
    #[expect(clippy::too_many_lines, reason = "a table of one change per row")]
    fn definitions() -> Vec<(serde_json::Value, bool)> {
        let whole = serde_json::json!({"mcp_server": {
            "name": "crm",
            "description": "for support",
            "credential": {"vault_path": "secret/mcp/crm", "rotation_days": 30, "dynamic_secret": true},
            "permissions": {
                "allowed_objects": ["Account"], "allowed_operations": ["read", "query"],
                "denied_fields": ["SSN__c"], "max_records_per_query": 100,
            },
            "access_control": {
                "requires_active_session": true, "session_timeout_minutes": 60, "high_risk_approval": true,
            },
            "audit": {"log_all_calls": true, "log_response_summary": true, "retention_days": 365},
            "mapping": {
                "language": "soql", "dialect": "postgres", "query": ["q"], "object": ["type"], "functions": ["count"],
                "relationships": {"Owner": "User"}, "methods": ["prompts/get"],
                "tools": {"close": {"object": "Case", "operation": "update"}},
            },
        }});
        let with = |place: &str, value: serde_json::Value| {
            let mut changed = whole.clone();
            let (parent, key) = place.rsplit_once('/').unwrap();
            let parent = changed
                .pointer_mut(&format!("/mcp_server{parent}"))
                .unwrap();
            parent[key] = value;
            changed
        };
        let mut all = vec![(whole.clone(), true)];
        for (place, value, good) in [
            (
                "/permissions/allowed_operations",
                serde_json::json!(["querry"]),
                false,
            ),
            (
                "/permissions/allowed_operation",
                serde_json::json!([]),
                false,
            ),
            (
                "/permissions/max_records_per_query",
                serde_json::json!("many"),
                false,
            ),
            (
                "/permissions/max_records_per_query",
                serde_json::json!(-1),
                false,
            ),
            ("/credential/rotation_days", serde_json::json!(0), false),
            ("/credential/as", serde_json::json!("cookie"), false),
            (
                "/access_control/high_risk_approval",
                serde_json::json!("yes, please"),
                false,
            ),
            ("/audit/retention_days", serde_json::json!(40_000), false),
            ("/mapping/dialect", serde_json::json!("cobol"), false),
            ("/mapping/dialect", serde_json::json!("mssql"), true),
            ("/mapping/language", serde_json::json!("graphql"), false),
            (
                "/mapping/tools",
                serde_json::json!({"x": {"operation": "export"}}),
                true,
            ),
            (
                "/mapping/tools",
                serde_json::json!({"x": {"verb": "export"}}),
                false,
            ),
            ("/more", serde_json::json!(1), false),
        ] {
            all.push((with(place, value), good));
        }
        all
    }

    #[test]
    fn a_definition_is_one_for_the_schema_when_it_is_one_for_the_gateway() {
        let folder = folder(&[
            ("policies/a.rego", RULES),
            (
                "keepgate.yaml",
                "version: 1\nservers:\n  crm: { url: https://crm.example/mcp }\npolicies: [policies]\n\
                 credentials:\n  providers:\n    vault:\n      address: https://vault.example:8200\n      \
                 auth: { token: file:/run/secrets/vault-token }\n      mounts: { secret: leased }\n",
            ),
        ]);
        fs::create_dir(folder.path().join("servers.d")).unwrap();
        let schema = keepgate(&["policy", "schema", "definition"]);
        let validator = jsonschema::validator_for(&json(&schema)).unwrap();
        let config = folder.path().join("keepgate.yaml");
        for (definition, good) in definitions() {
            let text = definition.to_string();
            fs::write(folder.path().join("servers.d/crm.yaml"), &text).unwrap();
            let ran = keepgate(&["check", "--config", config.to_str().unwrap()]);
            assert_eq!(
                ran.exit == Exit::Success,
                good,
                "gateway: {text}\n{}",
                ran.stderr
            );
            assert_eq!(validator.is_valid(&definition), good, "schema: {text}");
        }
    }

    #[test]
    fn without_a_directory_every_layer_of_the_configuration_is_looked_at() {
        let guardrail = "package mcp.authz\n\nallow contains \"the tenant decides\"\n";
        let folder = folder(&[
            (
                "keepgate.yaml",
                "version: 1\nservers:\n  crm: { url: https://crm.example/mcp }\npolicies: [platform]\n\
                 tenants:\n  acme: { policies: [acme] }\n",
            ),
            ("platform/a.rego", guardrail),
            (
                "platform/a_test.rego",
                "package mcp.authz_test\n\nimport data.mcp.authz\n\ntest_open if count(authz.allow) == 1\n",
            ),
            ("acme/a.rego", RULES),
            ("acme/a_test.rego", TESTS),
        ]);
        let config = folder.path().join("keepgate.yaml");
        let config = ["--config", config.to_str().unwrap(), "policy"];
        let with = |more: &[&str]| keepgate(&[&config, more].concat());
        let checked = with(&["check", "--output", "json"]);
        assert_eq!(checked.exit, Exit::Success, "{}", checked.stderr);
        let warnings = json(&checked)["warnings"].as_array().unwrap().len();
        assert_eq!((json(&checked)["files"].as_u64(), warnings), (Some(2), 1));
        // Read together, the platform's allowance would be the tenant's, and its tests would fail.
        let tested = json(&with(&["test", "--output", "json", "--coverage"]));
        let outcomes: Vec<&str> = tested["tests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|test| test["outcome"].as_str().unwrap())
            .collect();
        assert_eq!(outcomes, ["passed", "failed", "passed", "skipped"]);
        assert_eq!(tested["coverage"]["files"].as_array().unwrap().len(), 2);
        fs::write(
            folder.path().join("acme/a.rego"),
            "package mcp.authz\n\nallow := 1\n",
        )
        .unwrap();
        assert_eq!(with(&["check"]).exit, Exit::Policy);
    }

    #[test]
    fn every_template_is_a_policy_that_passes() {
        for (template, warnings) in [
            ("least-privilege", 0),
            ("read-only", 0),
            ("sql", 0),
            // A guardrail allows whatever it does not refuse, and is reminded of it.
            ("guardrail", 1),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("mine");
            let place = place.to_str().unwrap();
            let made = keepgate(&["policy", "new", place, "--template", template]);
            assert_eq!((made.exit, made.stderr.as_str()), (Exit::Success, ""));
            let checked = keepgate(&["policy", "check", place, "--output", "json"]);
            assert_eq!(
                checked.exit,
                Exit::Success,
                "{template}: {}",
                checked.stdout
            );
            let found = json(&checked)["warnings"].as_array().unwrap().len();
            assert_eq!(found, warnings, "{template}: {}", checked.stdout);
            let tested = keepgate(&["policy", "test", place, "--threshold", "100"]);
            assert_eq!(
                tested.exit,
                Exit::Success,
                "{template}: {}{}",
                tested.stdout,
                tested.stderr
            );
            assert!(folder.path().join("mine/.regal/config.yaml").is_file());
            // What is there stays as it is.
            let rules = folder.path().join("mine/policy.rego");
            fs::write(&rules, "mine").unwrap();
            let again = keepgate(&["policy", "new", place]);
            assert_eq!(again.exit, Exit::State);
            assert!(again.stderr.contains("not empty"), "{}", again.stderr);
            assert_eq!(fs::read_to_string(rules).unwrap(), "mine");
        }
    }

    #[test]
    fn schemas_are_printed_as_published() {
        for (which, title) in [
            ("input", "policy input"),
            ("decision", "policy decision"),
            ("definition", "server definition"),
        ] {
            let ran = keepgate(&["policy", "schema", which]);
            assert_eq!(ran.exit, Exit::Success);
            let wanted = format!("Keepgate {title}, keepgate/v1");
            assert_eq!(json(&ran)["title"], wanted.as_str());
        }
        assert_eq!(keepgate(&["policy", "schema", "other"]).exit, Exit::Usage);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the binary under test has to be a process of its own"
    )]
    fn binary() -> Command {
        Command::new(env!("CARGO_BIN_EXE_keepgate"))
    }

    /// A process that is ended with the test, however the test ends.
    struct Watching(Child);

    impl Drop for Watching {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    #[test]
    fn a_watch_tests_again_when_a_file_changes() {
        let folder = folder(&[("a.rego", RULES), ("a_test.rego", TESTS)]);
        let mut watching = Watching(
            binary()
                .args(["policy", "test", "--watch", "--filter", "test_get"])
                .arg(folder.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
        let mut until = |part: &str| {
            for line in lines.by_ref() {
                if line.unwrap().contains(part) {
                    return;
                }
            }
            panic!("ended before it said `{part}`");
        };
        until("ok: 1 passed");
        until("waiting for a change");
        fs::write(
            folder.path().join("a.rego"),
            RULES.replace("get_", "fetch_"),
        )
        .unwrap();
        until("FAILED: 0 passed, 1 failed");
        until("waiting for a change");
        // What cannot be loaded is told, and the watch goes on.
        fs::write(
            folder.path().join("a.rego"),
            "package mcp.authz\n\nallow := 1\n",
        )
        .unwrap();
        until("`allow` must be a set");
        until("waiting for a change");
        fs::write(folder.path().join("a.rego"), RULES).unwrap();
        until("ok: 1 passed");
        let pid = Pid::from_raw(i32::try_from(watching.0.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        assert!(!watching.0.wait().unwrap().success());
    }
}
