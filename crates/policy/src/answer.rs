//! Reading what the authors' sets hold.
//!
//! An entry is a sentence, or an object of known keys. Anything else is an answer of an unknown shape, which refuses:
//! a misspelt key must not silently weaken what was meant.

pub(crate) mod obligations;

use std::sync::Arc;
use std::time::Duration;

use regorus::Value;
use regorus::value::Object;

use crate::decision::{Approval, ApprovalDuty, Reason, Risk};
use crate::window::Window;

/// Most reasons that are reported.
const MAX_REASONS: usize = 16;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 500;
/// Longest code.
const MAX_CODE: usize = 64;
/// Longest time: how long a question may stay open, a call may take, a rate may look back.
const MAX_TIME: Duration = Duration::from_secs(30 * 86_400);
/// Most scopes of one entry.
const MAX_SCOPES: u64 = 16;
/// Longest scope, in bytes.
const MAX_SCOPE: usize = 128;
/// Largest quorum and list of approvers.
const MAX_PEOPLE: u64 = 100;
/// Most steps of an approval.
const MAX_STEPS: u64 = 10;
/// Most uses of one approval; whoever needs more means a rule that allows.
const MAX_USES: u64 = 1_000;

/// Something of an unknown shape; the text is for the log and names what, never a value.
pub(crate) type Odd = &'static str;

/// The set has no value at all.
pub(crate) const UNDEFINED: Odd = "undefined";

/// The entries of a set as reasons; a plain sentence gets `code`.
pub(crate) fn reasons(set: &Value, code: &'static str) -> Result<Vec<Reason>, Odd> {
    let entries = entries(set)?;
    let mut reasons = Vec::with_capacity(entries.len().min(MAX_REASONS));
    for entry in entries.iter_sorted() {
        let reason = if let Value::Object(object) = entry {
            only(object, &["code", "message"])?;
            coded(object)?
        } else {
            sentence(entry, code)?
        };
        if reasons.len() < MAX_REASONS {
            reasons.push(reason);
        }
    }
    reasons.sort();
    reasons.dedup();
    Ok(reasons)
}

/// What `deny` holds.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    /// Why.
    pub(crate) reasons: Vec<Reason>,
    /// The scopes that would lift all of it; none unless each entry names some.
    pub(crate) scopes: Vec<Arc<str>>,
}

/// The entries of `deny`, which may name scopes.
pub(crate) fn denials(set: &Value) -> Result<Denials, Odd> {
    let entries = entries(set)?;
    let mut denials = Denials::default();
    let mut liftable = true;
    for entry in entries.iter_sorted() {
        let Value::Object(object) = entry else {
            liftable = false;
            denials.reasons.push(sentence(entry, "denied")?);
            continue;
        };
        only(object, &["code", "message", "scopes"])?;
        denials.reasons.push(coded(object)?);
        match field(object, "scopes") {
            Some(scopes) => denials.scopes.extend(scopes_of(scopes)?),
            None => liftable = false,
        }
    }
    if !liftable {
        denials.scopes.clear();
    }
    denials.scopes.sort();
    denials.scopes.dedup();
    denials.reasons.sort();
    denials.reasons.dedup();
    denials.reasons.truncate(MAX_REASONS);
    Ok(denials)
}

/// The entries of `approve`, joined by the strictest.
pub(crate) fn approval(set: &Value) -> Result<(Approval, Vec<Reason>), Odd> {
    let entries = entries(set)?;
    let mut reasons = Vec::new();
    let mut joined: Option<Approval> = None;
    for entry in entries.iter_sorted() {
        let one = if let Value::Object(object) = entry {
            only(object, APPROVE_KEYS)?;
            reasons.push(coded(object)?);
            terms(object)?
        } else {
            reasons.push(sentence(entry, "approval")?);
            plain_terms()
        };
        match &mut joined {
            Some(joined) => joined.join(&one),
            None => joined = Some(one),
        }
    }
    reasons.sort();
    reasons.dedup();
    reasons.truncate(MAX_REASONS);
    Ok((joined.unwrap_or_else(plain_terms), reasons))
}

/// Keys of a grant.
const GRANT_KEYS: &[&str] = &[
    "kind",
    "uses",
    "valid_for",
    "not_before",
    "until",
    "timezone",
];

/// Keys of an `approve` entry.
pub(crate) const APPROVE_KEYS: &[&str] = &[
    "code",
    "message",
    "approvers",
    "quorum",
    "step",
    "ttl",
    "grant",
    "risk",
];

/// Terms of a rule that names none.
fn plain_terms() -> Approval {
    Approval {
        quorum: 1,
        duties: vec![ApprovalDuty {
            step: 1,
            approvers: Vec::new(),
            quorum: 1,
        }],
        uses: 1,
        is_default_ttl: true,
        is_default_valid_for: true,
        ..Approval::default()
    }
}

/// Terms of one `approve` entry.
fn terms(object: &Object) -> Result<Approval, Odd> {
    let mut terms = plain_terms();
    if let Some(people) = field(object, "approvers") {
        terms.approvers = approvers(people)?;
        terms.approvers.sort();
        terms.approvers.dedup();
    }
    if let Some(quorum) = field(object, "quorum") {
        terms.quorum = quorum_of(quorum)?;
    }
    terms.ttl = field(object, "ttl").map(period).transpose()?;
    terms.is_default_ttl = terms.ttl.is_none();
    if let Some(grant) = field(object, "grant") {
        grant_of(grant, &mut terms)?;
    }
    terms.risk = match field(object, "risk") {
        None => Risk::High,
        Some(Value::String(word)) if **word == *"low" => Risk::Low,
        Some(Value::String(word)) if **word == *"high" => Risk::High,
        Some(_) => return Err("`risk` is neither low nor high"),
    };
    let step = match field(object, "step").map(Value::as_u64) {
        None => 1,
        Some(Ok(step @ 1..=MAX_STEPS)) => u32::try_from(step).unwrap_or(1),
        Some(Ok(_) | Err(_)) => return Err("`step` is out of range"),
    };
    terms.duties = vec![ApprovalDuty {
        step,
        approvers: terms.approvers.clone(),
        quorum: terms.quorum,
    }];
    Ok(terms)
}

/// Uses of a yes, and the time it may be used: `once`, `uses` with their number, `session` and `window`, each with `valid_for`.
fn grant_of(grant: &Value, terms: &mut Approval) -> Result<(), Odd> {
    let Value::Object(grant) = grant else {
        return Err("`grant` is no object");
    };
    only(grant, GRANT_KEYS)?;
    let uses = match field(grant, "uses").map(Value::as_u64) {
        None => None,
        Some(Ok(uses @ 1..=MAX_USES)) => Some(u32::try_from(uses).unwrap_or(1)),
        Some(Ok(_) | Err(_)) => return Err("`uses` is out of range"),
    };
    let kind = match field(grant, "kind") {
        Some(Value::String(kind)) => &**kind,
        Some(_) | None => return Err("a grant has no `kind`"),
    };
    terms.valid_for = field(grant, "valid_for").map(period).transpose()?;
    let (has_end, default_uses) = match (kind, uses) {
        ("once", None) | ("uses", Some(_)) => (false, 1),
        // A session has many calls; a window bounds the time, not their number.
        ("session", _) => (true, u32::try_from(MAX_USES).unwrap_or(1)),
        ("window", _) => (true, 1),
        (_, _) => return Err("`kind` is not one of a grant, or `uses` does not fit it"),
    };
    terms.uses = uses.unwrap_or(default_uses);
    terms.is_session_bound = kind == "session";
    terms.is_default_valid_for = terms.valid_for.is_none() && !has_end;
    let text = |key| match field(grant, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a time of a window is no text"),
    };
    let edges = (text("not_before")?, text("until")?, text("timezone")?);
    match (kind, edges) {
        ("window", (not_before, Some(until), zone)) => {
            terms.windows = vec![Window::parse(not_before, until, zone)?];
            Ok(())
        }
        ("window", (_, None, _)) => Err("a window has no `until`"),
        (_, (None, None, None)) => Ok(()),
        (_, _) => Err("`not_before`, `until` and `timezone` are of windows"),
    }
}

fn entries(set: &Value) -> Result<&regorus::value::Set, Odd> {
    if *set == Value::Undefined {
        return Err(UNDEFINED);
    }
    set.as_set().map_err(|_| "not a set")
}

fn sentence(entry: &Value, code: &'static str) -> Result<Reason, Odd> {
    let text = entry
        .as_string()
        .map_err(|_| "an entry is neither a text nor an object")?;
    Ok(Reason {
        code: code.into(),
        message: shortened(text),
    })
}

fn field<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(&Value::from(key))
}

fn only(object: &Object, known: &[&str]) -> Result<(), Odd> {
    let fits = object
        .keys()
        .all(|key| key.as_string().is_ok_and(|key| known.contains(&&**key)));
    if fits {
        Ok(())
    } else {
        Err("an entry has an unknown key")
    }
}

fn coded(object: &Object) -> Result<Reason, Odd> {
    let code = match field(object, "code") {
        Some(Value::String(code)) if is_code(code) => Arc::clone(code),
        Some(_) | None => return Err("an entry has no valid `code`"),
    };
    let message = match field(object, "message") {
        Some(Value::String(message)) => shortened(message),
        None => "".into(),
        Some(_) => return Err("a `message` is no text"),
    };
    Ok(Reason { code, message })
}

fn is_code(code: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !code.is_empty() && code.len() <= MAX_CODE && code.bytes().all(fits)
}

/// Cuts at a character, so that a rule that quotes its input cannot fill the answer or the log.
fn shortened(text: &Arc<str>) -> Arc<str> {
    if text.len() <= MAX_MESSAGE {
        return Arc::clone(text);
    }
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= MAX_MESSAGE)
        .last()
        .unwrap_or(0);
    text.get(..end).unwrap_or("").into()
}

fn approvers(people: &Value) -> Result<Vec<Arc<str>>, Odd> {
    let people: Vec<&Value> = match (people.as_array(), people.as_set()) {
        (Ok(items), _) => items.iter().collect(),
        (_, Ok(items)) => items.iter().collect(),
        (Err(_), Err(_)) => return Err("`approvers` is no list"),
    };
    if people.is_empty() || people.len() as u64 > MAX_PEOPLE {
        return Err("`approvers` is empty or too long");
    }
    let one = |person: &Value| match person.as_string() {
        Ok(text) if named(text) => Ok(Arc::clone(text)),
        Ok(_) | Err(_) => Err("an approver is neither `group:` nor `user:` with a name"),
    };
    people.into_iter().map(one).collect()
}

/// Scopes as RFC 6749 §3.3 writes them: they go into a header.
fn scopes_of(scopes: &Value) -> Result<Vec<Arc<str>>, Odd> {
    let scopes: Vec<&Value> = match (scopes.as_array(), scopes.as_set()) {
        (Ok(items), _) => items.iter().collect(),
        (_, Ok(items)) => items.iter().collect(),
        (Err(_), Err(_)) => return Err("`scopes` is no list"),
    };
    if scopes.is_empty() || scopes.len() as u64 > MAX_SCOPES {
        return Err("`scopes` is empty or too long");
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let one = |scope: &Value| match scope.as_string() {
        Ok(text) if (1..=MAX_SCOPE).contains(&text.len()) && text.bytes().all(fits) => {
            Ok(Arc::clone(text))
        }
        Ok(_) | Err(_) => Err("a scope is not one"),
    };
    scopes.into_iter().map(one).collect()
}

fn named(text: &str) -> bool {
    let name = text
        .strip_prefix("group:")
        .or_else(|| text.strip_prefix("user:"));
    name.is_some_and(|name| !name.is_empty() && name.len() <= 256)
}

fn quorum_of(value: &Value) -> Result<u32, Odd> {
    match value.as_u64() {
        Ok(quorum @ 1..=MAX_PEOPLE) => {
            u32::try_from(quorum).map_err(|_| "`quorum` is out of range")
        }
        Ok(_) | Err(_) => Err("`quorum` is out of range"),
    }
}

/// Reads `90s`, `15m`, `8h` or `2d`.
fn period(value: &Value) -> Result<Duration, Odd> {
    let wrong = "a time is not like `15m`";
    let text = value.as_string().map_err(|_| wrong)?;
    let unit = match text.bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        Some(b'd') => 86_400,
        Some(_) | None => return Err(wrong),
    };
    let count = text.get(..text.len() - 1).unwrap_or("");
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong);
    }
    let seconds = count
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .ok_or(wrong)?;
    let ttl = Duration::from_secs(seconds);
    if ttl.is_zero() || ttl > MAX_TIME {
        Err("a time is out of range")
    } else {
        Ok(ttl)
    }
}

#[cfg(test)]
mod tests;
