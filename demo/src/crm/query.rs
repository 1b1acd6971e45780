//! As much SQL as the demo needs: `SELECT` on one table, and statements that would change it.
//!
//! Changing statements claim success and change nothing: the next run must find the same data.
//! That they arrived at all stands in the ledger.

use rmcp::model::CallToolResponse;
use serde_json::{Map, Value, json};

use super::cases::{ALL, COLUMNS, Case};
use crate::reply;

/// Runs `sql`.
pub(crate) fn run(sql: &str) -> CallToolResponse {
    let words: Vec<&str> = sql
        .trim()
        .trim_end_matches(';')
        .split_whitespace()
        .collect();
    let verb = words.first().copied().unwrap_or_default().to_lowercase();
    match verb.as_str() {
        "select" => select(&words),
        "delete" | "update" | "insert" | "drop" | "truncate" => {
            reply::said(format!("{verb}: {} rows affected", matching(&words).len()))
        }
        _ => reply::failed(format!("cannot read this statement: {sql}")),
    }
}

fn select(words: &[&str]) -> CallToolResponse {
    let Some(from) = position(words, "from") else {
        return reply::failed("a SELECT needs a FROM");
    };
    if words.get(from + 1).copied() != Some("cases") {
        return reply::failed("the only table is `cases`");
    }
    let wanted = words.get(1..from).unwrap_or_default().concat();
    let columns: Vec<&str> = if wanted == "*" {
        COLUMNS.to_vec()
    } else {
        wanted.split(',').collect()
    };
    if let Some(unknown) = columns.iter().find(|name| !COLUMNS.contains(name)) {
        return reply::failed(format!("there is no column `{unknown}`"));
    }
    let rows: Vec<Value> = matching(words)
        .iter()
        .map(|case| row(case, &columns))
        .collect();
    reply::structured(json!({ "rows": rows }))
}

fn row(case: &Case, columns: &[&str]) -> Value {
    let row: Map<String, Value> = columns
        .iter()
        .map(|name| ((*name).to_owned(), json!(case.column(name))))
        .collect();
    Value::Object(row)
}

/// The cases that `WHERE column = 'value'` names; all of them without a `WHERE`.
fn matching(words: &[&str]) -> Vec<Case> {
    let Some(place) = position(words, "where") else {
        return ALL.to_vec();
    };
    let condition = words.get(place + 1..).unwrap_or_default().concat();
    let Some((column, value)) = condition.split_once('=') else {
        return Vec::new();
    };
    let value = value.trim_matches('\'');
    ALL.iter()
        .copied()
        .filter(|case| case.column(column) == Some(value))
        .collect()
}

fn position(words: &[&str], word: &str) -> Option<usize> {
    words
        .iter()
        .position(|candidate| candidate.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use rmcp::model::CallToolResult;

    use super::*;

    fn check(sql: &str) -> (bool, Option<Value>) {
        let CallToolResponse::Complete(CallToolResult {
            is_error,
            structured_content,
            ..
        }) = run(sql)
        else {
            panic!("a query always completes");
        };
        (is_error == Some(true), structured_content)
    }

    #[test]
    fn select_filters_rows_and_columns() {
        let (failed, rows) = check("SELECT id, status FROM cases WHERE account = 'A-77';");
        assert!(!failed);
        assert_eq!(
            rows,
            Some(json!({ "rows": [
                { "id": "C-1001", "status": "open" },
                { "id": "C-1002", "status": "closed" },
            ] }))
        );
    }

    #[test]
    fn what_it_cannot_read_fails_in_words() {
        assert!(check("EXPLAIN everything").0);
        assert!(check("select secret from cases").0);
        assert!(check("select id from users").0);
    }

    #[test]
    fn a_delete_claims_success_and_changes_nothing() {
        assert!(!check("DELETE FROM cases").0);
        let (_, rows) = check("SELECT id FROM cases");
        assert_eq!(rows.unwrap()["rows"].as_array().unwrap().len(), ALL.len());
    }
}
