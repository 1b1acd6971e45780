//! Reading what the sets of obligations hold.

use std::sync::Arc;

use regorus::Value;
use regorus::value::Object;

use super::{Odd, entries, field, is_code, only, period};
use crate::obligations::{
    AuditLevel, LimitBy, Obligations, PatternClass, RateLimit, RecordCap, Redact, Redaction,
};

/// Most entries of one obligation.
const MOST: usize = 256;
/// Longest pointer, name or reference, in bytes.
const LONGEST: usize = 1_024;
/// Most steps of a pointer.
const DEEPEST: usize = 32;
/// Largest value put in place of an argument, in bytes of JSON.
const LARGEST: usize = 64 * 1024;

/// Reads the set of the obligation called `name` into `into`.
pub(crate) fn read(name: &str, set: &Value, into: &mut Obligations) -> Result<(), Odd> {
    let entries = entries(set)?;
    if entries.len() > MOST {
        return Err("an obligation has too many entries");
    }
    for entry in entries.iter_sorted() {
        match name {
            "redact" => into.redact.push(redaction(entry)?),
            "max_records" => into.max_records.push(record_cap(entry)?),
            "max_bytes" => {
                let cap = count(entry)?;
                into.max_bytes = Some(into.max_bytes.map_or(cap, |least| least.min(cap)));
            }
            "limit" => into.limits.push(rate_limit(entry)?),
            "set_arguments" => set_argument(entry, into)?,
            "timeout" => {
                let time = period(entry)?;
                into.timeout = Some(into.timeout.map_or(time, |least| least.min(time)));
            }
            "audit" => into.audit = into.audit.max(audit_level(entry)?),
            "credential" => credential(entry, into)?,
            "labels" => {
                into.labels.insert(label(entry)?);
            }
            "notify" => {
                into.notify.insert(target(entry)?);
            }
            _ => return Err(UNSUPPORTED),
        }
    }
    into.order();
    Ok(())
}

/// The obligation is one nobody can carry out yet.
pub(crate) const UNSUPPORTED: Odd = "unsupported";

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a Arc<str>> {
    match field(object, key) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= LONGEST => Some(text),
        Some(_) | None => None,
    }
}

fn object(entry: &Value) -> Result<&Object, Odd> {
    match entry {
        Value::Object(object) => Ok(object),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Set(_)
        | Value::Undefined => Err("an obligation is no object"),
    }
}

fn redaction(entry: &Value) -> Result<Redaction, Odd> {
    let entry = object(entry)?;
    only(entry, &["result", "field", "pattern", "remove"])?;
    let remove = match field(entry, "remove") {
        None => false,
        Some(Value::Bool(remove)) => *remove,
        Some(_) => return Err("`remove` is neither true nor false"),
    };
    let named = ["result", "field", "pattern"]
        .iter()
        .filter(|key| field(entry, key).is_some());
    if named.count() != 1 {
        return Err("`redact` names a `result`, a `field` or a `pattern`, and one of them");
    }
    let what = if let Some(place) = text(entry, "result") {
        Redact::Result(pointer(place)?)
    } else if let Some(name) = text(entry, "field") {
        Redact::Field(Arc::clone(name))
    } else if let Some(word) = text(entry, "pattern") {
        let class = PatternClass::ALL
            .into_iter()
            .find(|class| class.word() == &**word);
        Redact::Pattern(class.ok_or("`redact` names a pattern that is not known")?)
    } else {
        return Err("what `redact` names is no text");
    };
    if remove && matches!(what, Redact::Pattern(_)) {
        return Err("a `pattern` is replaced, it cannot be removed");
    }
    Ok(Redaction { what, remove })
}

/// A pointer (RFC 6901) below the whole: what has no step names everything.
fn pointer(text: &Arc<str>) -> Result<Arc<str>, Odd> {
    let escaped = |step: &str| {
        let mut rest = step.split('~').skip(1);
        rest.all(|after| after.starts_with(['0', '1']))
    };
    let fits = text.starts_with('/')
        && text.matches('/').count() <= DEEPEST
        && text.split('/').all(escaped);
    if fits {
        Ok(Arc::clone(text))
    } else {
        Err("a place is no pointer such as `/items/*/ssn`")
    }
}

fn record_cap(entry: &Value) -> Result<RecordCap, Odd> {
    let Value::Object(entry) = entry else {
        let max = count(entry)?;
        return Ok(RecordCap { max, result: None });
    };
    only(entry, &["max", "result"])?;
    let max = field(entry, "max").ok_or("`max_records` has no `max`")?;
    let result = match field(entry, "result") {
        None => None,
        Some(_) => Some(pointer(
            text(entry, "result").ok_or("`result` is no pointer")?,
        )?),
    };
    Ok(RecordCap {
        max: count(max)?,
        result,
    })
}

fn count(value: &Value) -> Result<u64, Odd> {
    match value {
        Value::Number(_) => value.as_u64().map_err(|_| "a cap is no whole number"),
        Value::Null
        | Value::Bool(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Set(_)
        | Value::Object(_)
        | Value::Undefined => Err("a cap is no whole number"),
    }
}

fn rate_limit(entry: &Value) -> Result<RateLimit, Odd> {
    let entry = object(entry)?;
    only(entry, &["name", "rate", "by"])?;
    let name = text(entry, "name").filter(|name| is_code(name));
    let rate = text(entry, "rate").and_then(|rate| rate.split_once('/'));
    let (count, per) = rate.ok_or("`rate` is not like `10/1h`")?;
    let count = count
        .parse::<u32>()
        .ok()
        .filter(|count| *count > 0)
        .ok_or("`rate` is not like `10/1h`")?;
    let by = match field(entry, "by") {
        None => LimitBy::Session,
        Some(Value::String(by)) => match &**by {
            "session" => LimitBy::Session,
            "caller" => LimitBy::Caller,
            "server" => LimitBy::Server,
            "tool" => LimitBy::Tool,
            _ => return Err("`by` is not known"),
        },
        Some(_) => return Err("`by` is no text"),
    };
    Ok(RateLimit {
        name: Arc::clone(name.ok_or("a limit has no valid `name`")?),
        count,
        per: period(&Value::from(per))?,
        by,
    })
}

fn set_argument(entry: &Value, into: &mut Obligations) -> Result<(), Odd> {
    let entry = object(entry)?;
    only(entry, &["path", "value"])?;
    let place = pointer(text(entry, "path").ok_or("`set_arguments` has no `path`")?)?;
    if place.split('/').any(|step| step == "*" || step == "**") {
        return Err("the `path` of an argument is one place");
    }
    let value = field(entry, "value").ok_or("`set_arguments` has no `value`")?;
    let json = serde_json::to_string(value).map_err(|_| "a `value` is no JSON")?;
    if json.len() > LARGEST {
        return Err("a `value` is too large");
    }
    if into.set_argument(place, json.into()) {
        Ok(())
    } else {
        Err("`set_arguments` has two values for one place")
    }
}

fn audit_level(entry: &Value) -> Result<AuditLevel, Odd> {
    let entry = object(entry)?;
    only(entry, &["level"])?;
    let levels = [AuditLevel::Metadata, AuditLevel::Summary, AuditLevel::Full];
    let word = text(entry, "level").ok_or("`audit` has no `level`")?;
    levels
        .into_iter()
        .find(|level| level.word() == &**word)
        .ok_or("the `level` of `audit` is not known")
}

fn credential(entry: &Value, into: &mut Obligations) -> Result<(), Odd> {
    let entry = object(entry)?;
    only(entry, &["ref"])?;
    let reference = text(entry, "ref").ok_or("`credential` has no `ref`")?;
    match &into.credential {
        Some(other) if other != reference => Err("two credentials for one call"),
        Some(_) | None => {
            into.credential = Some(Arc::clone(reference));
            Ok(())
        }
    }
}

fn label(entry: &Value) -> Result<Arc<str>, Odd> {
    word(entry).ok_or("a label is no plain word")
}

/// The name of a target of notifications.
fn target(entry: &Value) -> Result<Arc<str>, Odd> {
    word(entry).ok_or("a target of `notify` is no name")
}

fn word(entry: &Value) -> Option<Arc<str>> {
    match entry {
        Value::String(word) if is_code(word) => Some(Arc::clone(word)),
        Value::String(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Set(_)
        | Value::Object(_)
        | Value::Undefined => None,
    }
}
