//! `soql.parse`: what a query in the language of Salesforce would read, as facts.
//!
//! A reader of our own: strict about the letters and the brackets, so that nothing goes unseen, and loose about the
//! order of what stands behind `FROM`, of which only the names count. What it cannot read is `ok: false`, with the other
//! fields such that nothing in them is on anybody's list.

mod letters;

use std::collections::BTreeSet;

use regorus::Value;
use regorus::value::{Object, Set};

use self::letters::Token;
use super::Answer;

/// Longest text, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Queries in each other; the language allows fewer.
const MAX_DEPTH: usize = 8;

/// Words that are no field where they stand alone behind `FROM`.
const WORDS: [&str; 48] = [
    "above",
    "all",
    "and",
    "asc",
    "at",
    "below",
    "by",
    "category",
    "cube",
    "custom",
    "data",
    "delegated",
    "desc",
    "else",
    "end",
    "everything",
    "excludes",
    "false",
    "first",
    "for",
    "from",
    "group",
    "having",
    "in",
    "includes",
    "last",
    "like",
    "limit",
    "mine",
    "not",
    "null",
    "nulls",
    "offset",
    "or",
    "order",
    "reference",
    "rollup",
    "rows",
    "scope",
    "security_enforced",
    "system_mode",
    "then",
    "true",
    "user_mode",
    "using",
    "view",
    "when",
    "where",
];

/// `soql.parse(text)`.
pub(super) fn parse(values: &[Value]) -> Answer {
    let Some(Value::String(text)) = values.first() else {
        return Err("argument 1 must be a text".to_owned());
    };
    Ok(match read(text) {
        Ok(found) => found.into_value(),
        Err(why) => unknown(&why),
    })
}

fn read(text: &str) -> Result<Found, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("longer than {MAX_TEXT} bytes"));
    }
    // One end of the statement is no second one, and servers drop it.
    let text = text.trim_end();
    let text = text.strip_suffix(';').unwrap_or(text);
    let mut reader = Reader {
        tokens: letters::tokens(text)?,
        at: 0,
        found: Found::default(),
        aliases: BTreeSet::new(),
    };
    reader.select(0, Place::Whole)?;
    if reader.at < reader.tokens.len() {
        return Err("text after the query".to_owned());
    }
    Ok(reader.found)
}

/// Where a query stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the whole text.
    Whole,
    /// Among the fields: what it names behind `FROM` is a relationship.
    Field,
    /// Behind `IN`.
    Filter,
}

#[derive(Default)]
struct Found {
    objects: BTreeSet<String>,
    relationships: BTreeSet<String>,
    /// Ways to fields as written in the query that is being read, in lower case.
    ways: BTreeSet<String>,
    identifiers: BTreeSet<String>,
    functions: BTreeSet<String>,
    literals: BTreeSet<String>,
    star: bool,
    filtered: bool,
    locks: bool,
    limit: Option<u64>,
    fields: BTreeSet<String>,
    parents: BTreeSet<String>,
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    found: Found,
    /// Those of the query that is being read.
    aliases: BTreeSet<String>,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(name)) if name == word)
    }

    fn is_mark(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let there = self.is_word(word);
        self.at += usize::from(there);
        there
    }

    fn take_mark(&mut self, mark: char) -> bool {
        let there = self.is_mark(mark);
        self.at += usize::from(there);
        there
    }

    fn expect_mark(&mut self, mark: char) -> Result<(), String> {
        if self.take_mark(mark) {
            Ok(())
        } else {
            Err(format!("`{mark}` expected"))
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Name(name)) => {
                self.found.mention(&name);
                Ok(name)
            }
            Some(Token::Text(_) | Token::Number(_) | Token::Mark(_)) | None => {
                Err("a name expected".to_owned())
            }
        }
    }

    /// Reads one query up to its end: the end of the text, or the bracket that closes it.
    fn select(&mut self, depth: usize, place: Place) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} queries in each other"));
        }
        if !self.take_word("select") {
            return Err("`SELECT` expected".to_owned());
        }
        // An alias means nothing in the queries around, nor in those within.
        let ways = std::mem::take(&mut self.found.ways);
        let aliases = std::mem::take(&mut self.aliases);
        loop {
            self.item(depth)?;
            if !self.take_mark(',') {
                break;
            }
        }
        if !self.take_word("from") {
            return Err("`FROM` expected".to_owned());
        }
        loop {
            self.object(place)?;
            if !self.take_mark(',') {
                break;
            }
        }
        self.tail(depth, place)?;
        self.found.resolve(&self.aliases);
        self.found.ways = ways;
        self.aliases = aliases;
        Ok(())
    }

    /// One of the fields asked for.
    fn item(&mut self, depth: usize) -> Result<(), String> {
        if self.take_mark('(') {
            self.select(depth + 1, Place::Field)?;
            return self.expect_mark(')');
        }
        if self.take_word("typeof") {
            return self.kinds();
        }
        let name = self.name()?;
        if self.take_mark('(') {
            self.call(name)?;
        } else {
            self.found.ways.insert(name);
        }
        // An alias of the field.
        if matches!(self.peek(), Some(Token::Name(_))) && !self.is_word("from") {
            self.name()?;
        }
        Ok(())
    }

    /// `TYPEOF What WHEN Account THEN Phone, Name ELSE Id END`
    fn kinds(&mut self) -> Result<(), String> {
        loop {
            if self.take_word("end") {
                return Ok(());
            }
            if self.take_word("when") {
                let object = self.name()?;
                self.found.objects.insert(object);
            } else if !(self.take_word("then") || self.take_word("else") || self.take_mark(',')) {
                let name = self.name()?;
                self.found.ways.insert(name);
            }
        }
    }

    /// What stands in the brackets of a function, behind the first of them.
    fn call(&mut self, function: String) -> Result<(), String> {
        self.found.star |= function == "fields";
        self.found.functions.insert(function);
        let mut open = 1_usize;
        while open > 0 {
            match self.next().ok_or("`)` expected")? {
                Token::Mark('(') => open += 1,
                Token::Mark(')') => open -= 1,
                Token::Mark(_) | Token::Number(_) => {}
                Token::Text(text) => {
                    self.found.literals.insert(text);
                }
                Token::Name(name) => {
                    self.found.mention(&name);
                    if self.is_mark('(') {
                        self.found.functions.insert(name);
                    } else {
                        self.found.ways.insert(name);
                    }
                }
            }
            if open > MAX_DEPTH {
                return Err("brackets nested too deep".to_owned());
            }
        }
        Ok(())
    }

    /// What is asked, with the alias behind it.
    fn object(&mut self, place: Place) -> Result<(), String> {
        let name = self.name()?;
        // `FROM Account a, a.Contacts c`: the second is a relationship of the first.
        if place == Place::Field || name.contains('.') {
            let last = name.rsplit('.').next().unwrap_or_default().to_owned();
            self.found.relationships.insert(last);
        } else {
            self.found.objects.insert(name);
        }
        self.take_word("as");
        let alias = matches!(self.peek(), Some(Token::Name(name)) if !is_clause(name));
        if alias {
            let name = self.name()?;
            self.aliases.insert(name);
        }
        Ok(())
    }

    /// Everything behind `FROM`.
    fn tail(&mut self, depth: usize, place: Place) -> Result<(), String> {
        let mut open = 0_usize;
        loop {
            if open == 0 && place != Place::Whole && self.is_mark(')') {
                return Ok(());
            }
            let Some(token) = self.next() else {
                return if open == 0 && place == Place::Whole {
                    Ok(())
                } else {
                    Err("`)` expected".to_owned())
                };
            };
            match token {
                Token::Mark('(') if self.is_word("select") => {
                    self.select(depth + 1, Place::Filter)?;
                    self.expect_mark(')')?;
                }
                Token::Mark('(') => open += 1,
                Token::Mark(')') => open = open.checked_sub(1).ok_or("`)` without `(`")?,
                Token::Mark(_) | Token::Number(_) => {}
                Token::Text(text) => {
                    self.found.literals.insert(text);
                }
                Token::Name(name) => self.behind(name, place)?,
            }
        }
    }

    /// A word behind `FROM`: of the language, a function or a field.
    fn behind(&mut self, name: String, place: Place) -> Result<(), String> {
        self.found.mention(&name);
        if name == "select" {
            return Err("a second `SELECT`".to_owned());
        }
        self.found.filtered |= name == "where" && place == Place::Whole;
        if name == "limit" && place == Place::Whole {
            self.found.limit = match self.peek() {
                Some(Token::Number(number)) => number.parse().ok(),
                Some(Token::Name(_) | Token::Text(_) | Token::Mark(_)) | None => None,
            };
        }
        if name == "update" {
            self.found.locks = true;
        } else if self.is_mark('(') && !WORDS.contains(&name.as_str()) {
            self.found.functions.insert(name);
        } else if !WORDS.contains(&name.as_str()) {
            self.found.ways.insert(name);
        }
        Ok(())
    }
}

/// Words that begin what stands behind the objects.
fn is_clause(word: &str) -> bool {
    let clauses = [
        "all", "for", "from", "group", "having", "limit", "offset", "order", "select", "update",
        "using", "where", "with",
    ];
    clauses.contains(&word)
}

impl Found {
    fn mention(&mut self, name: &str) {
        self.identifiers.extend(name.split('.').map(str::to_owned));
    }

    /// Tells fields and the relationships on the way to them apart.
    fn resolve(&mut self, aliases: &BTreeSet<String>) {
        for way in &self.ways {
            let mut steps: Vec<&str> = way.split('.').collect();
            if steps.len() > 1 && steps.first().is_some_and(|first| aliases.contains(*first)) {
                steps.remove(0);
            }
            if let Some((field, parents)) = steps.split_last() {
                self.fields.insert((*field).to_owned());
                self.parents
                    .extend(parents.iter().map(|step| (*step).to_owned()));
            }
        }
    }

    fn into_value(self) -> Value {
        let operations: &[&str] = if self.locks {
            &["read", "update"]
        } else {
            &["read"]
        };
        let mut all = Object::new();
        put(&mut all, "ok", Value::Bool(true));
        put(&mut all, "star", Value::Bool(self.star));
        put(&mut all, "unfiltered", Value::Bool(!self.filtered));
        put(&mut all, "operations", texts(operations.iter().copied()));
        let sets = [
            ("objects", &self.objects),
            ("relationships", &self.relationships),
            ("parents", &self.parents),
            ("fields", &self.fields),
            ("identifiers", &self.identifiers),
            ("functions", &self.functions),
            ("literals", &self.literals),
        ];
        for (key, set) in sets {
            put(&mut all, key, texts(set.iter().map(String::as_str)));
        }
        if let Some(limit) = self.limit {
            put(&mut all, "limit", Value::from(limit));
        }
        all.into_value()
    }
}

fn unknown(why: &str) -> Value {
    let mut all = Object::new();
    put(&mut all, "ok", Value::Bool(false));
    put(&mut all, "error", Value::from(why));
    for key in ["star", "unfiltered"] {
        put(&mut all, key, Value::Bool(true));
    }
    for key in [
        "operations",
        "objects",
        "relationships",
        "parents",
        "fields",
        "identifiers",
        "functions",
        "literals",
    ] {
        put(&mut all, key, texts(["?"]));
    }
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
