//! Calls whose arguments are written out: what is wrong with them is wrong whenever they are made.

use regorus::Value;

use super::nearest::nearest;
use crate::functions::SQL_DIALECTS;
use crate::shadow::{self, Function, Patterns};

/// An argument as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// Its value, where it is made of literals alone.
    pub(crate) value: Option<Value>,
    /// The number of items of an array that is written out.
    pub(crate) items: Option<usize>,
}

/// A fault of a call, and the hint to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Functions whose argument at this place is a pattern.
const PATTERNS: [(&str, usize); 6] = [
    ("regex.find_all_string_submatch_n", 0),
    ("regex.find_n", 0),
    ("regex.match", 0),
    ("regex.replace", 1),
    ("regex.split", 0),
    ("regex.template_match", 0),
];
/// Functions whose argument at this place is a network.
const NETWORKS: [(&str, usize); 3] = [
    ("net.cidr_contains", 0),
    ("net.cidr_expand", 0),
    ("net.cidr_intersects", 0),
];

/// Looks at a call of a built-in function.
pub(crate) fn wrong(name: &str, given: &[Given]) -> Option<Wrong> {
    let value = |index: usize| given.get(index).and_then(|given| given.value.as_ref());
    let text = |index| value(index).and_then(|value| value.as_string().ok());
    if let Some(format) = text(0).filter(|_| name == "sprintf") {
        let items = given.get(1).and_then(|given| given.items);
        if let Some(message) = wrong_format(format, items) {
            return Some(plain(message));
        }
    }
    if name == "sql.parse" {
        let dialect = text(1)?;
        let known = SQL_DIALECTS.iter().any(|known| *known == &**dialect);
        return (!known).then(|| Wrong {
            message: format!("no SQL dialect `{dialect}`"),
            hint: nearest(dialect, SQL_DIALECTS.iter().copied())
                .map(|meant| format!("did you mean `{meant}`?")),
        });
    }
    if let Some((_, at)) = PATTERNS.iter().find(|(named, _)| *named == name)
        && let Some(pattern) = text(*at)
        && name != "regex.template_match"
        && let Err(why) = called("regex.match", &[Value::from(&**pattern), Value::from("")])?
    {
        return Some(plain(format!("`{pattern}`: {why}")));
    }
    if let Some((_, at)) = NETWORKS.iter().find(|(named, _)| *named == name)
        && let Some(network) = text(*at)
        && called("net.cidr_is_valid", &[Value::from(&**network)])? == Ok(Value::Bool(false))
        && !(name == "net.cidr_contains" && *at == 1)
    {
        return Some(plain(format!(
            "`{network}` is no network: write `10.0.0.0/8`"
        )));
    }
    if name == "glob.match"
        && let Some(pattern) = text(0)
    {
        let delimiters = value(1).cloned().unwrap_or_else(|| Value::from(Vec::new()));
        let arguments = [Value::from(&**pattern), delimiters, Value::from("")];
        return called(name, &arguments)?.err().map(plain);
    }
    if !name.starts_with("time.parse") && !name.starts_with("units.") {
        return None;
    }
    let values: Option<Vec<Value>> = given.iter().map(|given| given.value.clone()).collect();
    called(name, &values?)?.err().map(plain)
}

fn plain(message: String) -> Wrong {
    Wrong {
        message,
        hint: None,
    }
}

/// The answer of a function; `None` where there is none, or where it prints or searches.
fn called(name: &str, values: &[Value]) -> Option<Result<Value, String>> {
    if matches!(name, "print" | "trace" | "walk") {
        return None;
    }
    let function = Function::new(name, values.len())?;
    let answer = function.call(values, &mut Patterns::default());
    Some(answer.map_err(|error| {
        let why = super::locate::message(&error);
        if why.starts_with('`') {
            why
        } else {
            format!("`{name}`: {why}")
        }
    }))
}

/// The fault of a format for so many values.
fn wrong_format(format: &str, items: Option<usize>) -> Option<String> {
    let verbs = match shadow::verbs(format) {
        Ok(verbs) => verbs,
        Err(why) => return Some(format!("`{format}`: {why}")),
    };
    let items = items?;
    (verbs != items)
        .then(|| format!("the format `{format}` takes {verbs} values, and there are {items}"))
}
