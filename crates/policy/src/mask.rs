//! What of a decision's event may leave the gateway: what authors mask, and what is masked without them.
//!
//! The rules' answer has the form OPA gives it (`data.system.log.mask`): RFC 6901 pointers that are erased, or objects
//! `{"op": "remove" | "upsert", "path": .., "value": ..}`, below `/input`, `/result` and `/nd_builtin_cache` only.
//! Whatever has another form is an error, and its event goes out without input and result.

use keepgate_mcp::json::pointer_step;
use regorus::Value;
use regorus::value::Array;

use crate::looks;

/// What stands where a secret stood.
pub(crate) const MASKED: &str = "[masked]";

/// What a caller sends and a server answers: in no event unless the operator wants it there.
pub(crate) const CONTENT: [&str; 4] = [
    "/input/arguments",
    "/input/params",
    "/input/completion/argument/value",
    "/input/response/message",
];
/// Where secrets are looked for in events that hold content.
const SEARCHED: [&str; 5] = [
    "/input/arguments",
    "/input/params",
    "/input/completion",
    "/input/response",
    "/input/caller/claims",
];
/// The parts of an event that a rule may change.
const OPEN: [&str; 3] = ["input", "result", "nd_builtin_cache"];

/// Names, without case, dashes and underscores, that stand for a secret wherever they are part of a member's name.
const NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
];

/// A rule's answer has another form than it may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MaskError {
    /// The rule's value is no set or array.
    #[error("`mask` is no set")]
    NoSet,
    /// One of its entries is neither a pointer nor an operation.
    #[error("an entry of `mask` is neither a pointer nor an operation")]
    Entry,
    /// A pointer leads elsewhere than it may.
    #[error("a pointer of `mask` leads outside of input and result: `{0}`")]
    Place(String),
}

/// One change.
#[derive(Debug, PartialEq)]
struct Change {
    path: Vec<String>,
    /// `None` takes the value out.
    value: Option<Value>,
}

impl Change {
    fn read(entry: &Value) -> Result<Self, MaskError> {
        if let Value::String(pointer) = entry {
            return Ok(Self {
                path: place(pointer)?,
                value: None,
            });
        }
        let members = entry.as_object().map_err(|_| MaskError::Entry)?;
        let text = |name: &str| match members.get(&Value::from(name)) {
            Some(Value::String(text)) => Ok(text),
            Some(_) | None => Err(MaskError::Entry),
        };
        let known = ["op", "path", "value"].map(Value::from);
        if members.iter().any(|(key, _)| !known.contains(key)) {
            return Err(MaskError::Entry);
        }
        let (path, value) = (place(text("path")?)?, members.get(&Value::from("value")));
        match (&**text("op")?, value) {
            ("remove", None) => Ok(Self { path, value: None }),
            ("upsert", Some(value)) => Ok(Self {
                path,
                value: Some(value.clone()),
            }),
            _ => Err(MaskError::Entry),
        }
    }
}

/// The steps of a pointer that leads to where rules may change something.
fn place(pointer: &str) -> Result<Vec<String>, MaskError> {
    let outside = || MaskError::Place(pointer.to_owned());
    let path = steps(pointer).ok_or_else(outside)?;
    match path.first() {
        Some(first) if OPEN.contains(&first.as_str()) => Ok(path),
        Some(_) | None => Err(outside()),
    }
}

/// The steps of an RFC 6901 pointer; `None` for what is none.
pub(crate) fn steps(pointer: &str) -> Option<Vec<String>> {
    let step = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let mut parts = pointer.split('/');
    parts.next().filter(|before| before.is_empty())?;
    Some(parts.map(step).collect())
}

/// The RFC 6901 pointer of these steps.
pub(crate) fn pointer(steps: &[String]) -> String {
    steps
        .iter()
        .map(|step| format!("/{}", pointer_step(step)))
        .collect()
}

/// What was changed, as pointers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Taken out.
    pub(crate) erased: Vec<String>,
    /// Replaced.
    pub(crate) masked: Vec<String>,
}

/// Does what the rules' answer says. On an error nothing is to be taken of the event.
pub(crate) fn apply(
    event: &mut Value,
    answer: &Value,
    changed: &mut Changed,
) -> Result<(), MaskError> {
    let entries: Vec<Value> = match answer {
        Value::Set(entries) => entries.iter_sorted().cloned().collect(),
        Value::Array(entries) => entries.iter().cloned().collect(),
        Value::Undefined => return Ok(()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(MaskError::NoSet);
        }
    };
    // All are read before the first is carried out.
    let changes: Vec<Change> = entries.iter().map(Change::read).collect::<Result<_, _>>()?;
    for change in changes {
        match change.value {
            None => erase(event, &change.path, changed),
            Some(value) => {
                if upsert(event, &change.path, value) {
                    changed.masked.push(pointer(&change.path));
                }
            }
        }
    }
    Ok(())
}

/// Takes what callers and servers said out of the event.
pub(crate) fn erase_content(event: &mut Value, changed: &mut Changed) {
    for place in CONTENT {
        if let Some(path) = steps(place) {
            erase(event, &path, changed);
        }
    }
}

/// Masks what looks like a secret, or is called one, in what callers and servers said.
pub(crate) fn mask_secrets(event: &mut Value, changed: &mut Changed) {
    for place in SEARCHED {
        let Some(mut path) = steps(place) else {
            continue;
        };
        if let Some(value) = at_mut(event, &path) {
            search(value, &mut path, changed);
        }
    }
}

fn erase(event: &mut Value, path: &[String], changed: &mut Changed) {
    if remove(event, path) {
        changed.erased.push(pointer(path));
    }
}

/// Takes the value at `path` out; `false` when there is none. An item of an array becomes null, so that the others keep
/// their places.
pub(crate) fn remove(event: &mut Value, path: &[String]) -> bool {
    let Some((last, above)) = path.split_last() else {
        return false;
    };
    match at_mut(event, above) {
        Some(object @ Value::Object(_)) => object
            .as_object_mut()
            .is_ok_and(|object| object.remove(&Value::from(last.as_str())).is_some()),
        Some(array @ Value::Array(_)) => {
            let item = array
                .as_array_mut()
                .ok()
                .and_then(|array| item(array, last));
            item.is_some_and(|item| {
                *item = Value::Null;
                true
            })
        }
        Some(_) | None => false,
    }
}

/// Puts `value` at `path`, with the objects on the way there; `false` where something else is in the way.
fn upsert(event: &mut Value, path: &[String], value: Value) -> bool {
    let mut at = event;
    for step in path {
        at = match at {
            Value::Object(_) => {
                let Ok(object) = at.as_object_mut() else {
                    return false;
                };
                object.get_or_insert_with(Value::from(step.as_str()), Value::new_object)
            }
            Value::Array(_) => {
                let Some(item) = at.as_array_mut().ok().and_then(|array| item(array, step)) else {
                    return false;
                };
                item
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Set(_)
            | Value::Undefined => return false,
        };
    }
    *at = value;
    true
}

fn item<'a>(array: &'a mut Array, step: &str) -> Option<&'a mut Value> {
    array.get_mut(step.parse().ok()?)
}

fn at_mut<'a>(event: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    let mut at = event;
    for step in path {
        at = match at {
            Value::Object(_) => at
                .as_object_mut()
                .ok()?
                .get_mut(&Value::from(step.as_str()))?,
            Value::Array(_) => item(at.as_array_mut().ok()?, step)?,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Set(_)
            | Value::Undefined => return None,
        };
    }
    Some(at)
}

/// The value at `path`, if there is one.
pub(crate) fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut at = value;
    for step in path {
        at = match at {
            Value::Object(object) => object.get(&Value::from(step.as_str()))?,
            Value::Array(array) => array.get(step.parse().ok()?)?,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Set(_)
            | Value::Undefined => return None,
        };
    }
    Some(at)
}

/// Looks for secrets at and below a value. What is shared with other events is copied before it is changed.
fn search(value: &mut Value, path: &mut Vec<String>, changed: &mut Changed) {
    match value {
        Value::String(text) => {
            if looks::holds_secret(text) {
                *value = Value::from(MASKED);
                changed.masked.push(pointer(path));
            }
        }
        Value::Object(_) => {
            let Ok(object) = value.as_object_mut() else {
                return;
            };
            for (key, below) in object.iter_mut() {
                let name = key
                    .as_string()
                    .map_or_else(|_| String::new(), |key| key.to_string());
                path.push(name);
                let is_secret = path.last().is_some_and(|name| is_secret(name));
                if is_secret && !matches!(below, Value::Null | Value::Bool(_)) {
                    *below = Value::from(MASKED);
                    changed.masked.push(pointer(path));
                } else {
                    search(below, path, changed);
                }
                path.pop();
            }
        }
        Value::Array(_) => {
            let Ok(array) = value.as_array_mut() else {
                return;
            };
            for (index, below) in array.iter_mut().enumerate() {
                path.push(index.to_string());
                search(below, path, changed);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Set(_) | Value::Undefined => {}
    }
}

/// Whether a member, a parameter or a header of this name holds a secret.
pub fn is_secret(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    NAMES.iter().any(|known| plain.contains(known))
        || plain.ends_with("token")
        || matches!(plain.as_str(), "pin" | "otp" | "auth" | "cvv" | "cvc")
}

#[cfg(test)]
mod tests;
