//! What is read out of a statement: a table of texts with what must be told of them, and that nothing goes unseen.

use std::time::{Duration, Instant};

use regorus::Value;

use super::parse;

fn parsed(text: &str, dialect: &str) -> Value {
    parse(&[Value::from(text), Value::from(dialect)]).unwrap()
}

fn is(value: &Value) -> bool {
    *value == Value::Bool(true)
}

fn set(value: &Value) -> String {
    let items = value.as_set().unwrap();
    let items: Vec<&str> = items
        .iter()
        .map(|item| &**item.as_string().unwrap())
        .collect();
    items.join(" ")
}

/// The facts that count, in one line.
fn told(text: &str, dialect: &str) -> String {
    let parsed = parsed(text, dialect);
    if !is(&parsed["ok"]) {
        return "refused".to_owned();
    }
    let kinds: Vec<String> = parsed["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_string().unwrap().to_string())
        .collect();
    let flag = |key: &str, mark: &'static str| if is(&parsed[key]) { mark } else { "" };
    let limit = parsed["statements"][0]["limit"]
        .as_u64()
        .map_or(String::new(), |limit| format!(" limit {limit}"));
    format!(
        "{} | {} | {} | {}{}{}{limit}",
        kinds.join("; "),
        set(&parsed["operations"]),
        set(&parsed["tables"]),
        set(&parsed["columns"]),
        flag("star", " *"),
        flag("into", " into"),
    )
}

/// `dialect: text` and what is told of it, a line each, blank lines and `#` lines aside.
const TABLE: &str = include_str!("../../../tests/sql_facts.txt");

#[test]
fn facts_are_read() {
    let lines: Vec<&str> = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let mut wrong = Vec::new();
    for pair in lines.chunks(2) {
        let [asked, facts] = pair else {
            panic!("an odd number of lines");
        };
        let (dialect, text) = asked.split_once(": ").unwrap();
        let told = told(&text.replace("\\n", "\n").replace("\\r", "\r"), dialect);
        if told.trim() != facts.trim() {
            wrong.push(format!("{asked}\n  {told}"));
        }
    }
    assert!(wrong.is_empty(), "told instead:\n{}", wrong.join("\n"));
}

#[test]
fn what_cannot_be_told_is_on_nobodys_list() {
    let parsed = parsed("SELEKT 1", "generic");
    assert_eq!(parsed["ok"], Value::Bool(false));
    for key in ["star", "multiple", "comments", "into", "unfiltered"] {
        assert!(is(&parsed[key]), "{key}");
    }
    for key in [
        "operations",
        "tables",
        "columns",
        "identifiers",
        "functions",
        "literals",
    ] {
        assert_eq!(set(&parsed[key]), "?", "{key}");
    }
}

#[test]
fn a_dialect_nobody_knows_is_an_error() {
    assert!(parse(&[Value::from("SELECT 1"), Value::from("klingon")]).is_err());
    assert!(parse(&[Value::from(1_u64), Value::from("generic")]).is_err());
}

/// Texts that cost a parser time or stack.
#[test]
fn hostile_texts_are_read_in_time() {
    let repeated = |part: &str, count: usize| part.repeat(count);
    let nested = |open: &str, core: &str, close: &str, count: usize| {
        format!("{}{core}{}", open.repeat(count), close.repeat(count))
    };
    let hostile = [
        format!("SELECT 1{}", repeated("+1", 3_900)),
        format!(
            "SELECT a FROM t WHERE a = 1{}",
            repeated(" OR a = 2", 1_900)
        ),
        format!("SELECT {}1", repeated("NOT ", 4_000)),
        format!("SELECT {}1", repeated("- ", 4_000)),
        format!("SELECT {}", nested("(", "1", ")", 24)),
        format!("SELECT {}", nested("(", "1", ")", 5_000)),
        format!("SELECT * FROM {}", nested("(", "t", ")", 24)),
        format!("SELECT * FROM {}", repeated("(", 24)),
        format!("SELECT {}", nested("f(", "1", ")", 24)),
        format!("SELECT {}", repeated("f(", 24)),
        format!("SELECT {}", nested("CASE WHEN ", "1", " THEN 1 END", 24)),
        format!("SELECT {}", repeated("CASE ", 3_000)),
        format!("SELECT 1{}", repeated(" UNION SELECT 1", 1_900)),
        format!("SELECT a{}", repeated("::int", 3_900)),
        format!("SELECT {}", nested("CAST(", "1", " AS INT)", 24)),
        format!("SELECT {}", repeated("(SELECT ", 24)),
        format!("SELECT * FROM {}", repeated("(SELECT * FROM ", 24)),
        format!("SELECT {}", nested("ARRAY[", "1", "]", 24)),
        format!("SELECT {}", nested("POSITION(", "x", ")", 20)),
        format!("SELECT {}", nested("POSITION /**/ (", "x", ")", 20)),
        format!("SELECT {}", nested("CEIL(", "1 1", ")", 23)),
        format!("SELECT {}", nested("SUBSTRING(", "1 1", ")", 23)),
        format!("SELECT {}", nested("CONVERT(", "1 1", ")", 23)),
        format!("SELECT {}", nested("CONVERT(x, ", "1 1", ")", 23)),
        format!("SELECT {}", nested("OVERLAY(", "1 1", ")", 23)),
        format!("SELECT {}", nested("POINT(", "1 1", ")", 23)),
        format!("SELECT {}", nested("STRUCT(", "1 1", ")", 23)),
        format!("SELECT {}", nested("f(", "1 1", ")", 23)),
        format!("SELECT {}", nested("(", "1 1", ")", 23)),
        format!("SELECT {}", nested("{fn f(", "1 1", ")}", 11)),
        format!("SELECT {}", nested("x IN (", "1 1", ")", 23)),
        repeated("SELECT 1;", 2_600),
        repeated(";", 8_000),
        repeated("'", 60_000),
        repeated("/*", 30_000),
        repeated("a ", 30_000),
        format!("SELECT x IN {}", nested("(", "SELECT 1", ")", 24)),
        format!("WITH {} SELECT 1", repeated("a AS (SELECT 1),", 900)),
    ];
    for text in &hostile {
        for dialect in super::bounds::DIALECTS {
            let started = Instant::now();
            parsed(text, dialect);
            let took = started.elapsed();
            let head: String = text.chars().take(40).collect();
            if took > Duration::from_millis(200) {
                eprintln!("{dialect} {head} {took:?}");
            }
            assert!(took < Duration::from_secs(60), "{dialect} {head}: {took:?}");
        }
    }
}

/// What is parsed where the caller stands fits a stack that an evaluation has used most of: workers have 2 MiB.
#[test]
fn short_texts_fit_a_small_stack() {
    let texts = [
        format!("SELECT {}1", "NOT ".repeat(90)),
        format!("SELECT {}1", "- ".repeat(90)),
        format!("SELECT 1{}", "+1".repeat(46)),
        format!("SELECT {}", "CASE ".repeat(90)),
        format!("SELECT {}1{}", "(".repeat(24), ")".repeat(24)),
        format!("SELECT * FROM {}t{}", "(".repeat(24), ")".repeat(24)),
        format!("SELECT {}", "(SELECT ".repeat(24)),
        format!("SELECT {}1{}", "f(".repeat(23), ")".repeat(23)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(30)),
        "EXPLAIN ".repeat(90),
        format!("{}SELECT 1", "WITH a AS (".repeat(23)),
        "BEGIN ".repeat(90),
        format!("SELECT CAST(1 AS {}INT", "ARRAY<".repeat(80)),
        format!("CREATE TABLE t (a {}INT)", "STRUCT<a ".repeat(40)),
    ];
    for text in texts {
        let small = std::thread::Builder::new().stack_size(1024 * 1024);
        let parsing = small.spawn(move || {
            for dialect in super::bounds::DIALECTS {
                parsed(&text, dialect);
            }
        });
        parsing.unwrap().join().unwrap();
    }
}

mod unseen {
    use proptest::prelude::*;

    use super::{is, parsed, set};

    /// Words a statement may be made of, and some that break it.
    fn words() -> impl Strategy<Value = &'static str> {
        let words = "SELECT * a FROM t WHERE = 1 'x' ( ) , UNION JOIN ON WITH AS INSERT INTO VALUES UPDATE SET DELETE \
            LIMIT ORDER BY -- /* */ \n \"q\" ' \" ` END BEGIN EXPLAIN COPY STDIN $$ E' \\ [ ] ; CASE WHEN THEN RETURNING # \
            { } : RECURSIVE NULL IS NOT EXISTS IN TABLE @ /*!";
        proptest::sample::select(words.split(' ').collect::<Vec<_>>())
    }

    fn dialects() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(super::super::bounds::DIALECTS.to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever stands before it, a statement on a line of its own behind a semicolon is told, or all is refused.
        #[test]
        fn a_statement_behind_another(parts in proptest::collection::vec(words(), 0..16), dialect in dialects()) {
            let text = format!("{}\n;\nDROP TABLE hidden", parts.join(" "));
            let parsed = parsed(&text, dialect);
            if is(&parsed["ok"]) {
                let told = set(&parsed["operations"]).contains("admin");
                let quoted = format!("{} {}", set(&parsed["literals"]), set(&parsed["identifiers"])).contains(';');
                let commented = text.contains("/*") && is(&parsed["comments"]);
                prop_assert!(told || quoted || commented, "{text}");
            }
        }

        /// What is read from a table is told, wherever it stands.
        #[test]
        fn a_table_within(parts in proptest::collection::vec(words(), 0..12), dialect in dialects()) {
            let text = format!("SELECT a FROM t WHERE a IN (SELECT b FROM hidden) {}", parts.join(" "));
            let parsed = parsed(&text, dialect);
            if is(&parsed["ok"]) {
                prop_assert!(set(&parsed["tables"]).contains("hidden"), "{text}");
            }
        }

        /// Any text at all is read or refused.
        #[test]
        fn any_text(text in "\\PC{0,80}", dialect in dialects()) {
            parsed(&text, dialect);
        }
    }
}
