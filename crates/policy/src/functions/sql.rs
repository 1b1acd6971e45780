//! `sql.parse`: what a text in SQL would do, as facts.
//!
//! Everything is reported that is there: every statement, every table through subqueries, joins and `WITH`, every
//! identifier. What cannot be told makes the whole answer `ok: false`, with the other fields such that a rule that
//! forgets to ask for `ok` still finds nothing it allows.

mod aside;
mod bounds;
mod kind;
mod walk;
mod words;

use regorus::Value;
use regorus::value::{Object, Set};
use sqlparser::parser::{Parser, ParserOptions};
use sqlparser::tokenizer::{Token, TokenWithSpan};

pub use self::bounds::DIALECTS;
use self::bounds::Dialect;
use self::walk::Found;
use super::{Answer, text_at};

/// Longest name of a dialect, with room to spare.
const MAX_NAME: usize = 32;
/// Most tokens that are parsed where the caller stands. An expression without brackets gets as deep as it is long.
const INLINE: usize = 96;
/// Deepest brackets that are parsed there: a parser that tries again at each of them may take twice as long for each.
const INLINE_BRACKETS: usize = 6;
/// Deepest recursion of the parser.
const MAX_RECURSION: usize = 40;

/// `sql.parse(text, dialect)`. The dialects are `generic` and those of [`bounds::DIALECTS`]; another is an error.
pub(super) fn parse(values: &[Value]) -> Answer {
    let name = text_at(values, 1, MAX_NAME)?;
    let dialect = Dialect::named(name).ok_or_else(|| format!("no dialect `{name}`"))?;
    let Some(Value::String(text)) = values.first() else {
        return Err("argument 1 must be a text".to_owned());
    };
    Ok(match read(text, dialect) {
        Ok(parsed) => parsed.into_value(),
        Err(why) => unknown(&why),
    })
}

/// What a text holds.
struct Parsed {
    statements: Vec<Found>,
    comments: bool,
}

fn read(text: &str, dialect: Dialect) -> Result<Parsed, String> {
    bounds::text(text, dialect)?;
    let tokens = bounds::tokens(text, dialect)?;
    let comments = bounds::has_comments(&tokens);
    let unnamed = bounds::has_unnamed(&tokens, dialect);
    let small = tokens.len() <= INLINE && bounds::depth(&tokens) <= INLINE_BRACKETS;
    let mut statements = if small {
        statements(tokens, dialect)
    } else {
        aside::aside(aside::PATIENCE, move || statements(tokens, dialect))
    }?;
    for statement in statements.iter_mut().filter(|_| unnamed) {
        statement.star = true;
    }
    Ok(Parsed {
        statements,
        comments,
    })
}

fn statements(tokens: Vec<TokenWithSpan>, dialect: Dialect) -> Result<Vec<Found>, String> {
    let reader = dialect.reader();
    let mut parser = Parser::new(&*reader)
        .with_recursion_limit(MAX_RECURSION)
        .with_options(ParserOptions::new())
        .with_tokens_with_locations(tokens);
    let parsed = parser
        .parse_statements()
        .map_err(|error| error.to_string())?;
    // The parser stops at a stray `END`, and what follows would go unseen.
    if parser.peek_token().token != Token::EOF {
        return Err("text after the last statement".to_owned());
    }
    if parsed.is_empty() {
        return Err("no statement".to_owned());
    }
    parsed
        .iter()
        .map(|statement| walk::statement(statement, dialect))
        .collect()
}

impl Parsed {
    fn into_value(self) -> Value {
        let mut all = Object::new();
        let union = |of: fn(&Found) -> Vec<&str>| {
            texts(self.statements.iter().flat_map(of).collect::<Vec<_>>())
        };
        let count = self.statements.len();
        put(&mut all, "ok", Value::Bool(true));
        put(&mut all, "count", Value::from(count as u64));
        put(&mut all, "multiple", Value::Bool(count > 1));
        put(&mut all, "comments", Value::Bool(self.comments));
        for (key, of) in COLLECTED {
            put(&mut all, key, union(of));
        }
        for (key, of) in TOLD {
            put(&mut all, key, Value::Bool(self.statements.iter().any(of)));
        }
        let each: Vec<Value> = self.statements.iter().map(one).collect();
        put(&mut all, "statements", Value::from(each));
        all.into_value()
    }
}

type Collected = fn(&Found) -> Vec<&str>;

/// What is collected, of each statement and of all.
const COLLECTED: [(&str, Collected); 6] = [
    ("operations", |found| {
        found.operations.iter().copied().collect()
    }),
    ("tables", |found| borrowed(&found.tables)),
    ("columns", |found| borrowed(&found.columns)),
    ("identifiers", |found| borrowed(&found.identifiers)),
    ("literals", |found| borrowed(&found.literals)),
    ("functions", |found| borrowed(&found.functions)),
];

type Told = fn(&Found) -> bool;

/// What holds or not, of each statement and of any.
const TOLD: [(&str, Told); 3] = [
    ("star", |found| found.star),
    ("into", |found| found.into),
    ("unfiltered", |found| !found.filtered),
];

fn borrowed(set: &std::collections::BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

fn one(found: &Found) -> Value {
    let mut statement = Object::new();
    put(&mut statement, "kind", Value::from(found.kind));
    put(&mut statement, "operation", Value::from(found.operation()));
    for (key, of) in COLLECTED {
        put(&mut statement, key, texts(of(found)));
    }
    for (key, of) in TOLD {
        put(&mut statement, key, Value::Bool(of(found)));
    }
    if let Some(limit) = found.limit {
        put(&mut statement, "limit", Value::from(limit));
    }
    statement.into_value()
}

/// The answer for a text that cannot be told: nothing in it is on anybody's list.
fn unknown(why: &str) -> Value {
    let mut all = Object::new();
    put(&mut all, "ok", Value::Bool(false));
    put(&mut all, "error", Value::from(why));
    put(&mut all, "count", Value::from(0_u64));
    for key in ["multiple", "comments"] {
        put(&mut all, key, Value::Bool(true));
    }
    for (key, _) in TOLD {
        put(&mut all, key, Value::Bool(true));
    }
    for (key, _) in COLLECTED {
        put(&mut all, key, texts(vec!["?"]));
    }
    put(&mut all, "statements", Value::from(Vec::<Value>::new()));
    all.into_value()
}

fn put(object: &mut Object, key: &str, value: Value) {
    object.insert(Value::from(key), value);
}

fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    let mut set = Set::new();
    for item in items {
        set.insert(Value::from(item));
    }
    Value::Set(set.into())
}

#[cfg(test)]
mod tests;
