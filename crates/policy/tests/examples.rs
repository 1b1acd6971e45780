//! The worked policies: each passes its tests, which go through all of it, and looks as its golden matrix; and
//! `docs/policy.md` speaks of all of them and of nothing that is not there.

#[cfg(test)]
mod examples {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    use keepgate_policy::runner::{self, Options};
    use keepgate_policy::{
        CallerFacts, CallerFields, Effect, Facts, HistoryFacts, Phase, Policy, RequestFacts,
        ServerFacts, ServerFields, Settings, Source, Sources, Subject, lint, matrix,
    };

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn settings() -> Settings {
        Settings {
            workers: 1,
            // A busy machine must not change what is found.
            decision_limit: std::time::Duration::from_secs(10),
            list_limit: std::time::Duration::from_secs(10),
            ..Settings::default()
        }
    }

    /// Every folder of an example that is a policy of its own.
    fn policies() -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root().join("policies/examples")).unwrap() {
            let path = entry.unwrap().path();
            if path.join("policy.rego").is_file() {
                found.push(path);
            } else {
                found.extend(["platform", "tenant"].map(|layer| path.join(layer)));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn every_example_is_tested_in_all_its_parts() {
        let options = Options {
            coverage: true,
            ..Options::default()
        };
        let policies = policies();
        assert_eq!(policies.len(), 15);
        for folder in policies {
            let name = folder.display();
            let report = runner::run(std::slice::from_ref(&folder), &options)
                .unwrap_or_else(|errors| panic!("{errors:#}"));
            assert!(report.is_success(), "{name}: {:#?}", report.cases);
            assert!(
                report.cases.iter().any(|case| case.parts.len() >= 4),
                "{name}: no test whose cases are data"
            );
            let coverage = report.coverage.unwrap();
            assert_eq!(coverage.percent(), 100, "{name}: {coverage:#?}");
        }
    }

    #[test]
    fn only_the_guardrail_is_warned_of() {
        for folder in policies() {
            let warned: Vec<String> = lint::warnings(std::slice::from_ref(&folder))
                .unwrap()
                .iter()
                .map(|warning| warning.message.clone())
                .collect();
            if folder.ends_with("platform") {
                assert_eq!(warned, ["allows everything that nothing denies"]);
            } else {
                assert!(warned.is_empty(), "{}: {warned:?}", folder.display());
            }
        }
    }

    #[test]
    fn every_matrix_is_as_reviewed() {
        let mut count = 0;
        for folder in policies() {
            for path in matrix::find(std::slice::from_ref(&folder)) {
                let policy = Policy::load(std::slice::from_ref(&folder), &settings()).unwrap();
                let comparison = matrix::compare(&policy, &path).unwrap();
                assert_eq!(
                    comparison.expected.as_deref(),
                    Some(&*comparison.drawn),
                    "{}",
                    path.display()
                );
                count += 1;
            }
        }
        assert!(count >= 2, "{count}");
    }

    /// What a call of a tenant's support comes to, with the platform's layer above the tenant's.
    fn judged(policy: &Policy, tenant: &str, server: &str, tool: &str) -> (String, Option<u64>) {
        let caller = CallerFacts::new(&CallerFields {
            subject: "sam",
            kind: "user",
            roles: &["support"],
            ..CallerFields::default()
        })
        .unwrap();
        let server = ServerFacts::new(&ServerFields {
            name: server,
            ..ServerFields::default()
        });
        let decision = policy.judge(&Facts {
            phase: Phase::Call,
            caller: &caller,
            server: &server,
            client: None,
            session: None,
            tenant,
            method: "tools/call",
            subject: Subject::Tool {
                name: tool,
                definition: None,
            },
            arguments: Some("{}"),
            response: None,
            history: HistoryFacts::NONE,
            labels: &[],
            approval: None,
            request: RequestFacts {
                unix_nanos: 1_795_170_600_000_000_000,
                ip: None,
                size: 2,
                trace: None,
            },
            id: "",
        });
        let codes: Vec<&str> = decision
            .reasons
            .iter()
            .map(|reason| &*reason.code)
            .collect();
        let word = match decision.effect {
            Effect::Allow => "allow".to_owned(),
            Effect::Approve(_) => "approve".to_owned(),
            Effect::Deny => codes.join(" "),
        };
        let bytes = decision.obligations.and_then(|found| found.max_bytes);
        (word, bytes)
    }

    #[test]
    fn a_tenant_is_stricter_than_its_platform_and_never_wider() {
        let folder = root().join("policies/examples/tenant-under-platform");
        let directory = |name: &str| vec![Source::Directory(folder.join(name))];
        let sources = Sources {
            platform: directory("platform"),
            tenants: BTreeMap::from([("acme".to_owned(), directory("tenant"))]),
            ..Sources::default()
        };
        let policy = Policy::load(sources, &settings()).unwrap();
        let judged = |tenant, server, tool| judged(&policy, tenant, server, tool);
        // The tenant's cap is the smaller, the platform's holds where the tenant has none.
        assert_eq!(
            judged("acme", "acme-crm", "get_case"),
            ("allow".to_owned(), Some(65_536))
        );
        assert_eq!(
            judged("acme", "wiki", "search"),
            ("allow".to_owned(), Some(1_048_576))
        );
        assert_eq!(judged("acme", "acme-crm", "drop_all").0, "no_rule");
        assert_eq!(
            judged("acme", "globex-crm", "get_case").0,
            "no_rule other_tenant"
        );
        // A tenant without a layer of its own has the platform's alone.
        assert_eq!(judged("globex", "globex-crm", "get_case").0, "allow");
        assert_eq!(judged("globex", "acme-crm", "get_case").0, "other_tenant");
    }

    fn document() -> String {
        fs::read_to_string(root().join("docs/policy.md")).unwrap()
    }

    #[test]
    fn the_document_and_the_folder_name_the_same_examples() {
        let document = document();
        let named: BTreeSet<String> = document
            .split("policies/examples/")
            .skip(1)
            .map(|rest| {
                let word = |letter: &char| letter.is_ascii_lowercase() || *letter == '-';
                rest.chars().take_while(word).collect()
            })
            .filter(|name: &String| !name.is_empty())
            .collect();
        let there: BTreeSet<String> = fs::read_dir(root().join("policies/examples"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(named, there);
    }

    #[test]
    fn every_rule_in_the_document_loads() {
        let document = document();
        let mut count = 0;
        for block in document.split("```rego\n").skip(1) {
            let text = block.split("\n```").next().unwrap();
            let text = if text.contains("package ") {
                text.to_owned()
            } else {
                format!("package mcp.authz\n\n{text}")
            };
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("data.json"), r#"{"blocked": ["a"]}"#).unwrap();
            if text.contains("package mcp.authz_test") {
                fs::write(folder.path().join("a_test.rego"), &text).unwrap();
                let rules = "package mcp.authz\n\nallow contains \"x\" if input.tool.name == \"get_case\"\n";
                fs::write(folder.path().join("a.rego"), rules).unwrap();
                let report = runner::run(&[folder.path().to_owned()], &Options::default());
                let report = report.unwrap_or_else(|errors| panic!("{text}\n{errors:#}"));
                assert!(report.is_success(), "{text}\n{:#?}", report.cases);
            } else {
                fs::write(folder.path().join("a.rego"), &text).unwrap();
                let loaded = Policy::load(&[folder.path().to_owned()], &settings());
                if let Err(errors) = loaded {
                    panic!("{text}\n{errors:#}");
                }
            }
            count += 1;
        }
        assert!(count >= 8, "{count}");
    }

    #[test]
    fn every_set_function_and_pattern_is_in_the_document() {
        let document = document();
        let schema: serde_json::Value =
            serde_json::from_str(keepgate_policy::schema::DECISION).unwrap();
        let input: serde_json::Value =
            serde_json::from_str(keepgate_policy::schema::INPUT).unwrap();
        let patterns =
            &schema["properties"]["redact"]["items"]["oneOf"][2]["properties"]["pattern"]["enum"];
        let sets = schema["properties"].as_object().unwrap().keys();
        let fields = input["properties"].as_object().unwrap().keys();
        let phases = &input["properties"]["phase"]["enum"];
        let words = [patterns, phases]
            .into_iter()
            .flat_map(|list| list.as_array().unwrap());
        let words = words.map(|word| word.as_str().unwrap().to_owned());
        for word in sets.chain(fields).cloned().chain(words) {
            assert!(
                document.contains(&format!("`{word}")),
                "{word} is not explained"
            );
        }
    }
}
