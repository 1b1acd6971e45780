//! The terms that `words.md` replaces, counted per file: a count may only fall.

use std::collections::BTreeMap;

use regex::Regex;

use super::{everything, read, root};

/// Counts written down once, as `count path` per line. A file that is not listed has none.
const COUNTS: &str = "tests/it/tidy/terms.txt";

/// Replaced terms of comments, string literals and prose, each with the term that is used instead.
const TERMS: [(&str, &str); 16] = [
    (r"judg(e|es|ed|ing)", "evaluate, authorize"),
    (r"turn(s|ed|ing)? away", "rejected"),
    (r"(in|into) force", "active, activate"),
    (r"taken over", "reloaded, applied"),
    (r"rest(s|ing)", "circuit open, idle"),
    (r"is spent|are spent", "exceeded, exhausted"),
    (r"let be|lets be", "ignored"),
    (r"mend(s|ed|ing)?", "fix"),
    (r"tell|tells|told|says|said", "report; message"),
    (r"put aside|puts aside", "rotated"),
    (r"meters?", "metrics"),
    (r"anew", "again"),
    (r"apart", "separate"),
    (r"beside", "next to; in shadow"),
    (r"stands? in", "is in"),
    (r"whose doing", "fault"),
];

/// Openings of documentation lines that name nothing: nouns name things, verbs name acts.
const OPENINGS: &str = r"^\s*//[/!] (What|Who|How|Where|Which|Why)\b";

/// Comments and string literals of a line of Rust, without its code.
fn spoken(line: &str) -> String {
    let (code, comment) = match line.find("//") {
        // A `//` within a literal, as in a URL, leaves an odd number of quotes before it.
        Some(at) if line[..at].matches('"').count().is_multiple_of(2) => line.split_at(at),
        Some(_) | None => (line, ""),
    };
    let literals = code.split('"').skip(1).step_by(2);
    let mut text: String = literals.collect::<Vec<_>>().join(" ");
    text.push(' ');
    text.push_str(comment);
    text
}

/// Markdown files at the root and in `docs`, `deploy`, `demo`, `benches`, `policies` and the crates' own `docs`.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let built =
                name == "target" || name == "node_modules" || name.starts_with("keepgate-state");
            if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && !built {
                folders.push(path);
            } else if name.ends_with(".md") && name != "CHANGELOG.md" {
                let path = path.strip_prefix(root()).unwrap();
                pages.push(path.to_string_lossy().into_owned());
            }
        }
    }
    pages
}

/// Number of replaced terms in each file that has any.
fn counted() -> BTreeMap<String, usize> {
    let terms: Vec<String> = TERMS.iter().map(|(term, _)| (*term).to_owned()).collect();
    let terms = Regex::new(&format!(r"\b({})\b", terms.join("|"))).unwrap();
    let openings = Regex::new(OPENINGS).unwrap();
    let rust = everything()
        .into_iter()
        .filter(|file| !file.ends_with("tidy/terms.rs"));
    let mut counts = BTreeMap::new();
    for file in rust.chain(pages()) {
        let mut count = 0;
        for line in read(&file).lines() {
            let text = if file.ends_with(".rs") {
                count += usize::from(openings.is_match(line));
                spoken(line)
            } else {
                line.to_owned()
            };
            count += terms.find_iter(&text).count();
        }
        if count > 0 {
            counts.insert(file, count);
        }
    }
    counts
}

#[test]
fn replaced_terms_only_become_fewer() {
    let allowed: BTreeMap<String, usize> = read(COUNTS)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(count, file)| (file.to_owned(), count.parse().unwrap()))
        .collect();
    let counts = counted();
    let more: Vec<String> = counts
        .iter()
        .filter(|(file, count)| **count > allowed.get(*file).copied().unwrap_or_default())
        .map(|(file, count)| {
            let before = allowed.get(file).copied().unwrap_or_default();
            format!("{file}: {count}, {before} allowed")
        })
        .collect();
    assert!(
        more.is_empty(),
        "replaced terms were added (see TERMS and OPENINGS in {}):\n{}",
        file!(),
        more.join("\n")
    );
    if std::env::var_os("UPDATE").is_some() {
        let lines: String = counts
            .iter()
            .map(|(file, count)| format!("{count} {file}\n"))
            .collect();
        std::fs::write(root().join(COUNTS), lines).unwrap();
    }
}

#[test]
fn code_is_not_counted_but_comments_and_literals_are() {
    assert_eq!(
        spoken("let judged = call.judged(); // evaluated").trim(),
        "// evaluated"
    );
    assert_eq!(spoken(r#"panic!("it rests"); // why"#), "it rests // why");
    assert_eq!(spoken(r#"let url = "http://mend";"#).trim(), "http://mend");
}
