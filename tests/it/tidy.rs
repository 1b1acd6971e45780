//! What no compiler checks: the shape of the tree, and that documents say what is there.

mod limits;
mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The floors of the house. A crate uses crates of lower floors only.
const FLOORS: [(&str, u8); 18] = [
    ("keepgate-files", 0),
    ("keepgate-mcp", 0),
    ("keepgate-call", 1),
    ("keepgate-net", 1),
    ("keepgate-jose", 1),
    ("keepgate-authn", 2),
    ("keepgate-policy", 2),
    ("keepgate-audit", 2),
    ("keepgate-telemetry", 2),
    ("keepgate-transport", 2),
    ("keepgate-store", 2),
    ("keepgate-credential", 2),
    ("keepgate-sandbox", 2),
    ("keepgate-approval", 3),
    ("keepgate-gateway", 4),
    ("keepgate-admin", 4),
    ("keepgate-console", 5),
    ("keepgate-cli", 6),
];
/// The longest file, in lines, tests aside.
const LONGEST: usize = 600;
/// The longest stack: it has to fit on one page.
const LONGEST_STACK: usize = 120;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file below `folder`, as its path from the root; nothing that was built.
fn rust_files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules"
            {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let path = path.strip_prefix(root()).unwrap();
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

fn everything() -> Vec<String> {
    let folders = ["crates", "tests", "demo", "benches", "fuzz"];
    let there = folders
        .into_iter()
        .filter(|folder| root().join(folder).is_dir());
    there.flat_map(rust_files).collect()
}

fn is_test(file: &str) -> bool {
    file.starts_with("tests/") || file.contains("/tests/") || file.ends_with("/tests.rs")
}

fn metadata() -> Value {
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo alone knows what depends on what"
    )]
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The functions of all Rust files.
fn functions() -> BTreeSet<String> {
    let mut functions = BTreeSet::new();
    for file in everything() {
        let text = read(&file);
        for (at, _) in text.match_indices("fn ") {
            let name = text.get(at + 3..).unwrap_or_default();
            let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            functions.insert(
                name.get(..end.unwrap_or_default())
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    functions
}

/// The rows of the tables in `docs/threats.md`: threat, layer, tests.
fn threats() -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    for line in read("docs/threats.md").lines() {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect();
        let head = line.starts_with("| trap") || line.starts_with("|---");
        if !line.starts_with('|') || head {
            continue;
        }
        let row: [&str; 3] = cells
            .try_into()
            .unwrap_or_else(|cells| panic!("not three cells: {cells:?}"));
        rows.push(row.map(str::to_owned));
    }
    rows
}

#[test]
fn every_threat_names_tests_and_files_that_are_there() {
    let functions = functions();
    let rows = threats();
    assert!(rows.len() > 30, "{}", rows.len());
    for [threat, layer, tests] in &rows {
        let absent: Vec<&str> = quoted(tests)
            .filter(|name| !functions.contains(*name))
            .collect();
        assert!(absent.is_empty(), "{threat}: no such test: {absent:?}");
        assert!(quoted(tests).next().is_some(), "{threat}: no test");
        let gone: Vec<&str> = quoted(layer)
            .filter(|file| !root().join("crates").join(file).exists())
            .collect();
        assert!(gone.is_empty(), "{threat}: no such file: {gone:?}");
        assert!(quoted(layer).next().is_some(), "{threat}: no layer");
    }
}

#[test]
fn every_test_of_a_trap_stands_among_the_threats() {
    let named = read("docs/threats.md");
    let named: BTreeSet<&str> = quoted(&named).collect();
    let functions = functions();
    let traps = functions.iter().filter(|name| name.starts_with("trap_"));
    let forgotten: Vec<_> = traps
        .filter(|name| name.len() > 5 && !named.contains(name.as_str()))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}

#[test]
fn crates_use_lower_floors_only() {
    let floors = BTreeMap::from(FLOORS);
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let in_crates = package["manifest_path"]
            .as_str()
            .unwrap()
            .contains("/crates/");
        assert_eq!(floors.contains_key(name), in_crates, "{name}");
        let Some(floor) = floors.get(name) else {
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            if used.starts_with("keepgate") && dependency["kind"] != "dev" {
                let below = floors.get(used).is_some_and(|used| used < floor);
                assert!(below, "{name} uses {used}");
            }
        }
    }
}

#[test]
fn every_member_has_the_lints_of_the_workspace() {
    for package in metadata()["packages"].as_array().unwrap() {
        let manifest = package["manifest_path"].as_str().unwrap();
        assert!(
            read(manifest).contains("\n[lints]\nworkspace = true\n"),
            "{manifest}"
        );
    }
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<_> = everything()
        .into_iter()
        .filter(|file| !is_test(file))
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_stack_is_one_page_and_names_every_layer() {
    let stack = read("crates/gateway/src/stack.rs");
    assert!(stack.lines().count() <= LONGEST_STACK);
    let layers = rust_files("crates/gateway/src/layers");
    let own = layers.iter().filter_map(|file| {
        let name = file
            .strip_prefix("crates/gateway/src/layers/")?
            .strip_suffix(".rs")?;
        (!name.contains('/')).then_some(name)
    });
    let absent: Vec<_> = own
        .filter(|name| !stack.contains(&format!("{name}::")))
        .collect();
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn every_file_says_what_it_is_and_none_is_called_mod() {
    let files = everything();
    let modules: Vec<_> = files
        .iter()
        .filter(|file| file.ends_with("/mod.rs"))
        .collect();
    assert!(modules.is_empty(), "{modules:?}");
    let in_sources = files
        .iter()
        .filter(|file| file.starts_with("crates/") && file.contains("/src/"));
    let silent: Vec<_> = in_sources
        .filter(|file| !read(file).starts_with("//! "))
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn nothing_is_put_off_in_a_comment() {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let mut found = Vec::new();
    for file in everything() {
        let text = read(&file);
        let lines = text.lines().enumerate();
        let put_off = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(put_off.map(|(at, line)| format!("{file}:{}: {}", at + 1, line.trim())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_refusal_is_explained() {
    let page = read("docs/refusals.md");
    let explained: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let codes: Vec<&str> = keepgate_call::Code::ALL
        .iter()
        .map(|code| code.as_str())
        .collect();
    assert_eq!(explained, codes);
}

/// Programs every machine has that can build us.
const ALWAYS_THERE: [&str; 7] = ["sh", "bash", "cc", "env", "timeout", "python3", "true"];

/// The word of every `before"word"` in `text`.
fn words_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.match_indices(before)
        .filter_map(|(at, found)| text.get(at + found.len()..)?.split('"').next())
        .collect()
}

#[test]
fn tests_start_what_is_listed_and_list_what_they_start() {
    let listed: BTreeSet<&str> = keepgate_machine::listed().map(|(name, _)| name).collect();
    assert!(listed.len() > 5, "{listed:?}");
    let mut asked = BTreeSet::new();
    for file in everything() {
        let text = read(&file);
        asked.extend(
            words_after(&text, "installed(\"")
                .into_iter()
                .map(str::to_owned),
        );
        if !is_test(&file) || file == "tests/it/tidy.rs" {
            continue;
        }
        // A name alone is found on this machine and fails on the next one, unless a list has its package.
        for start in ["Command::new(\"", " command(\""] {
            let foreign: Vec<_> = words_after(&text, start)
                .into_iter()
                .filter(|name| !ALWAYS_THERE.contains(name))
                .collect();
            assert!(
                foreign.is_empty(),
                "{file}: ask `installed` for {foreign:?}"
            );
        }
    }
    for name in listed {
        assert!(
            asked.contains(name),
            "`{name}` of apt.txt is asked for by no test"
        );
    }
}

/// A skip that is only printed goes unseen.
#[test]
fn skips_are_recorded_where_they_are_listed() {
    for file in everything().into_iter().filter(|file| is_test(file)) {
        let text = read(&file);
        for own in ["SKIPPED", "NOT CHECKED"] {
            let said = text.contains(&format!("eprintln!(\"{own}"))
                || text.contains(&format!("println!(\"{own}"));
            assert!(!said, "{file}: call `keepgate_tests::skip`");
        }
    }
}
