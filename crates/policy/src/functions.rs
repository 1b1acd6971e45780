//! Functions that rules may call beside those of the evaluator: built-in functions of OPA that it lacks, and facts about
//! texts that are queries.
//!
//! A function here answers what OPA documents, or fails: a wrong type is an error and never undefined, for under `not`
//! it would let a call pass. What it may read and make is bounded, because the clock of an evaluation is not looked at
//! inside a function.

mod address;
mod array;
mod crypto;
mod facts;
mod globs;
mod jwt;
pub(crate) mod network;
mod soql;
mod sql;
mod text;

use regorus::{Engine, Value};

pub use self::sql::DIALECTS as SQL_DIALECTS;

/// What a function is given and answers; the error is a sentence without the function's name.
type Answer = Result<Value, String>;

/// A function as installed.
#[derive(Clone, Copy)]
struct Builtin {
    name: &'static str,
    /// How many arguments it takes.
    arity: u8,
    call: fn(&[Value]) -> Answer,
}

const fn builtin(name: &'static str, arity: u8, call: fn(&[Value]) -> Answer) -> Builtin {
    Builtin { name, arity, call }
}

/// All of them, by name.
const FUNCTIONS: [Builtin; 19] = [
    builtin("array.flatten", 1, array::flatten),
    builtin("crypto.hmac.equal", 2, crypto::equal),
    builtin("crypto.hmac.sha1", 2, crypto::hmac_sha1),
    builtin("crypto.hmac.sha256", 2, crypto::hmac_sha256),
    builtin("crypto.hmac.sha512", 2, crypto::hmac_sha512),
    builtin("crypto.sha1", 1, crypto::sha1),
    builtin("crypto.sha256", 1, crypto::sha256),
    builtin("facts.leaves", 1, facts::leaves),
    builtin("facts.mentions", 2, facts::mentions),
    builtin("facts.words", 1, facts::words),
    builtin("io.jwt.decode", 1, jwt::decode),
    builtin("net.cidr_contains_matches", 2, network::contains_matches),
    builtin("net.cidr_intersects", 2, network::intersects),
    builtin("net.cidr_merge", 1, network::merge),
    builtin("net.url", 1, address::url),
    builtin("regex.globs_match", 2, globs::intersect),
    builtin("soql.parse", 1, soql::parse),
    builtin("sql.parse", 2, sql::parse),
    builtin("strings.count", 2, text::count),
];

/// Functions of OPA that are left out on purpose, and why.
const REFUSED: [(&str, &str); 6] = [
    ("crypto.md5", "MD5 is broken; use `crypto.sha256`"),
    ("crypto.hmac.md5", "MD5 is broken; use `crypto.hmac.sha256`"),
    (
        "http.send",
        "a decision reads its input and data, nothing else",
    ),
    (
        "net.lookup_ip_addr",
        "a decision reads its input and data, nothing else",
    ),
    ("io.jwt.decode_verify", VERIFIED),
    ("io.jwt.verify_", VERIFIED),
];

const VERIFIED: &str = "the gateway verifies tokens; a rule reads `input.caller.claims`";

/// How many arguments the function of this name takes, when it is one of ours.
pub(crate) fn arity(name: &str) -> Option<usize> {
    find(name).map(|found| usize::from(found.arity))
}

/// The names of all functions here.
pub(crate) fn names<'a>() -> impl Iterator<Item = &'a str> {
    FUNCTIONS.iter().map(|function| function.name)
}

/// Why a function of OPA is not there, when that is on purpose.
pub(crate) fn refused(name: &str) -> Option<&'static str> {
    let refused = |known: &str| known == name || known.ends_with('_') && name.starts_with(known);
    REFUSED
        .iter()
        .find(|(known, _)| refused(known))
        .map(|(_, why)| *why)
}

/// Puts the functions into an engine.
pub(crate) fn install(engine: &mut Engine) -> Result<(), String> {
    for function in FUNCTIONS {
        let call = move |values: Vec<Value>| {
            (function.call)(&values)
                .map_err(|why| std::io::Error::other(format!("`{}`: {why}", function.name)).into())
        };
        engine
            .add_extension(function.name.to_owned(), function.arity, Box::new(call))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn find(name: &str) -> Option<&'static Builtin> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// The argument at `index`, a text of at most `longest` bytes.
fn text_at(values: &[Value], index: usize, longest: usize) -> Result<&str, String> {
    match values.get(index) {
        Some(Value::String(text)) if text.len() > longest => Err(format!(
            "argument {} is longer than {longest} bytes",
            index + 1
        )),
        Some(Value::String(text)) => Ok(text),
        Some(_) | None => Err(format!("argument {} must be a text", index + 1)),
    }
}

#[cfg(test)]
mod tests;
