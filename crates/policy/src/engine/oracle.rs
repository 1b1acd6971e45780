//! OPA's verdicts, recorded in `tests/opa`, and what the evaluator and the functions called directly make of the same
//! expressions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use regorus::Value;
use regorus::unstable::BUILTINS;

use super::bare;
use crate::functions;
use crate::load::rewrite::rewrite;
use crate::shadow::{Function, Patterns};

/// Differences that are listed; it may only get smaller.
const MAX_DIFFERENCES: usize = 580;

/// The outcome of an expression.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Value(Value),
    Undefined,
    Error,
}

/// One expression with what OPA makes of it.
struct Record {
    family: String,
    call: String,
    input: Value,
    /// The whole line, for people.
    line: String,
    verdict: Verdict,
    set: bool,
}

impl Record {
    fn key(&self) -> String {
        if self.input == Value::new_object() {
            self.call.clone()
        } else {
            format!("{} <- {}", self.call, self.input)
        }
    }

    /// Sets have no form in JSON: they compare as sets, and a set is no array.
    fn agrees(&self, ours: &Verdict) -> bool {
        match (&self.verdict, ours) {
            (Verdict::Value(theirs), Verdict::Value(ours)) => {
                matches!(ours, Value::Set(_)) == self.set && same(theirs, ours)
            }
            (theirs, ours) => theirs == ours,
        }
    }
}

fn same(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Array(theirs), Value::Set(ours)) => {
            theirs.len() == ours.len()
                && ours
                    .iter()
                    .all(|one| theirs.iter().any(|other| same(other, one)))
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len()
                && theirs
                    .iter()
                    .zip(ours.iter())
                    .all(|(one, other)| same(one, other))
        }
        (Value::Object(theirs), Value::Object(ours)) => {
            theirs.len() == ours.len()
                && ours.iter().all(|(key, one)| {
                    // JSON has texts as keys.
                    let key = key
                        .as_string()
                        .map_or_else(|_| key.to_string(), |key| key.to_string());
                    theirs
                        .get(&Value::from(key.as_str()))
                        .is_some_and(|other| same(other, one))
                })
        }
        (theirs, ours) => theirs == ours,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/opa")
}

fn records() -> Vec<Record> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let family = file.file_stem().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let line = line.trim_end_matches(',');
            if line.len() < 2 {
                continue;
            }
            // As arguments are read: integers of any length keep their digits.
            let entry =
                crate::json::parse(line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
            let entry = entry.as_object().unwrap();
            let field = |name: &str| entry.get(&Value::from(name)).cloned();
            let verdict = match (field("value"), field("undefined")) {
                (Some(value), None) => Verdict::Value(value),
                (None, Some(_)) => Verdict::Undefined,
                _ => {
                    assert!(field("error").is_some(), "{line}");
                    Verdict::Error
                }
            };
            found.push(Record {
                family: family.clone(),
                call: field("call").unwrap().as_string().unwrap().to_string(),
                input: field("input").unwrap_or_else(Value::new_object),
                line: line.to_owned(),
                verdict,
                set: field("set").is_some(),
            });
        }
    }
    found
}

/// Our verdicts: those of the evaluator, in the order of the records.
fn evaluated(records: &[Record]) -> Vec<Verdict> {
    let mut engine = bare().unwrap();
    let mut found = Vec::new();
    let rules = std::fs::read_to_string(folder().join("language.rego")).unwrap();
    for record in records {
        engine.set_input(record.input.clone());
        if record.family == "language" {
            found.push(as_rule(&rules, record));
            continue;
        }
        let query = format!("x := {}", record.call);
        found.push(match engine.eval_query(query, false) {
            Err(_) => Verdict::Error,
            Ok(answers) => answers.result.first().map_or(Verdict::Undefined, |row| {
                let value = row.bindings["x"].clone();
                if value == Value::Undefined {
                    Verdict::Undefined
                } else {
                    Verdict::Value(value)
                }
            }),
        });
    }
    found
}

/// The verdict on an expression that is the value of a rule, as a policy's own texts are prepared.
fn as_rule(rules: &str, record: &Record) -> Verdict {
    let text = format!("{rules}\nasked := {}\n", record.call);
    let evaluated = || {
        let text = rewrite("oracle.rego", &text.as_str().into())?;
        let mut engine = bare()?;
        let loaded = engine.add_policy("oracle.rego".to_owned(), text.to_string());
        loaded.map_err(|error| error.to_string())?;
        engine.set_input(record.input.clone());
        let value = engine.eval_rule("data.oracle.asked".to_owned());
        value.map_err(|error| error.to_string())
    };
    match evaluated() {
        Ok(Value::Undefined) => Verdict::Undefined,
        Ok(value) => Verdict::Value(value),
        Err::<_, String>(_) => Verdict::Error,
    }
}

/// The function and the arguments of a call whose arguments are fields of the input.
fn direct(record: &Record) -> Option<(Function, Vec<Value>)> {
    let (name, rest) = record.call.split_once('(')?;
    let names: Vec<&str> = rest.strip_suffix(')')?.split(", ").collect();
    let values: Option<Vec<Value>> = names
        .iter()
        .map(|name| {
            let field = name
                .strip_prefix("input.")
                .filter(|field| field.len() == 1)?;
            Some(record.input[field].clone())
        })
        .collect();
    Some((Function::new(name, names.len())?, values?))
}

/// The expressions on which the two differ, by reason.
fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(folder().join("differences.txt")).unwrap_or_default();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut reason = String::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
    {
        match line.strip_prefix("== ") {
            Some(next) => reason = next.to_owned(),
            None => {
                found
                    .entry(reason.clone())
                    .or_default()
                    .insert(line.to_owned());
            }
        }
    }
    found
}

/// Drops what no longer differs; what is new has no reason yet, and fails the next run.
fn write_differences(listed: &BTreeMap<String, BTreeSet<String>>, differing: &BTreeSet<String>) {
    let mut text =
        String::from("# Expressions on which OPA and we differ, by reason: see docs/opa.md.\n");
    let known: BTreeSet<&String> = listed.values().flatten().collect();
    let unexplained: BTreeSet<String> = differing
        .iter()
        .filter(|key| !known.contains(key))
        .cloned()
        .collect();
    for (reason, keys) in listed
        .iter()
        .chain([(&"unexplained".to_owned(), &unexplained)])
    {
        let kept: Vec<_> = keys.intersection(differing).map(String::as_str).collect();
        if !kept.is_empty() {
            text += &format!("\n== {reason}\n{}\n", kept.join("\n"));
        }
    }
    std::fs::write(folder().join("differences.txt"), text).unwrap();
}

#[test]
fn answers_are_those_of_opa_where_not_listed() {
    let records = records();
    let verdicts = evaluated(&records);
    let listed = listed();
    let known: BTreeSet<&String> = listed.values().flatten().collect();
    let mut differing = BTreeSet::new();
    let mut report = String::new();
    for (record, ours) in records.iter().zip(&verdicts) {
        let key = record.key();
        if record.agrees(ours) {
            continue;
        }
        if !known.contains(&key) {
            report += &format!("{}: {}\n  ours: {ours:?}\n", record.family, record.line);
        }
        differing.insert(key);
    }
    if std::env::var_os("UPDATE").is_some() {
        write_differences(&listed, &differing);
    }
    let agreed = records.len() - differing.len();
    println!(
        "{} expressions, {agreed} as in OPA, {} differ",
        records.len(),
        differing.len()
    );
    for (reason, keys) in &listed {
        println!("{:5} {reason}", keys.len());
    }
    assert!(
        report.is_empty(),
        "differ from OPA and are not in tests/opa/differences.txt:\n{report}"
    );
    let settled: Vec<_> = known
        .into_iter()
        .filter(|key| !differing.contains(*key))
        .collect();
    assert!(
        settled.is_empty(),
        "no longer differ, delete them: {settled:#?}"
    );
    assert_eq!(
        differing.len(),
        MAX_DIFFERENCES,
        "lower it, and the figures in docs/opa.md"
    );
    assert!(
        !listed.contains_key("unexplained"),
        "give each new difference a reason"
    );
    let page = std::fs::read_to_string(folder().join("../../docs/opa.md")).unwrap();
    for (reason, keys) in &listed {
        let row = format!("| `{reason}` | {} |", keys.len());
        assert!(page.contains(&row), "docs/opa.md lacks the row {row}");
    }
}

#[test]
fn direct_calls_answer_as_the_evaluator() {
    let records = records();
    let verdicts = evaluated(&records);
    let mut patterns = Patterns::default();
    let mut compared = 0;
    for (record, evaluated) in records.iter().zip(verdicts) {
        let Some((function, values)) = direct(record) else {
            continue;
        };
        let answer = match function.call(&values, &mut patterns) {
            Err(_) => Verdict::Error,
            Ok(Value::Undefined) => Verdict::Undefined,
            Ok(value) => Verdict::Value(value),
        };
        assert_eq!(answer, evaluated, "{}", record.line);
        compared += 1;
    }
    assert!(compared > 2_000, "{compared}");
}

/// Offered to rules, and no function of OPA or none with an answer of its own.
const APART: [&str; 16] = [
    "__builtin_sets.intersection",
    "__builtin_sets.union",
    "facts.leaves",
    "facts.mentions",
    "facts.words",
    "graph.reachable_paths",
    "net.url",
    "opa.runtime",
    "print",
    "rand.intn",
    "soql.parse",
    "sql.parse",
    "test.sleep",
    "time.now_ns",
    "trace",
    "uuid.rfc4122",
];

#[test]
fn every_function_has_records() {
    let records = records();
    let calls = |name: &str| {
        let call = format!("{name}(");
        records
            .iter()
            .filter(|record| record.call.contains(&call))
            .count()
    };
    let forgotten: Vec<&str> = BUILTINS
        .keys()
        .copied()
        .chain(functions::names())
        .filter(|name| !APART.contains(name) && calls(name) < 5)
        .collect();
    assert!(forgotten.is_empty(), "with too few records: {forgotten:?}");
}
