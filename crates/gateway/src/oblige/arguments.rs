//! Carries out `set_arguments`: writes values into the arguments of a call, by RFC 6901 pointer.

use std::{collections::BTreeMap, sync::Arc};

use keepgate_mcp::{
    encode,
    json::{Kind, Raw},
};

use super::{pointer::unescaped, text::parsed};

/// Arguments could not be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentsError {
    /// The path is no pointer, or leads through what is neither object nor array, or past the end of an array.
    #[error("the arguments have no such place: `{0}`")]
    Path(Arc<str>),
    /// The value is no JSON.
    #[error("the value for this place is not JSON: `{0}`")]
    Value(Arc<str>),
}

/// `arguments` (an object; none is an empty one) with every value of `set` written where its pointer says. Members that are
/// missing on the way are made. Everything else stays the text it was.
///
/// # Errors
/// The first path or value that cannot be.
pub(crate) fn written(
    arguments: Option<&str>,
    set: &BTreeMap<Arc<str>, Arc<str>>,
) -> Result<String, ArgumentsError> {
    let mut text = arguments.unwrap_or("{}").to_owned();
    for (path, value) in set {
        let no_path = || ArgumentsError::Path(Arc::clone(path));
        if parsed(value).is_none() {
            return Err(ArgumentsError::Value(Arc::clone(path)));
        }
        let steps = path.strip_prefix('/').ok_or_else(no_path)?;
        let steps: Option<Vec<String>> = steps.split('/').map(unescaped).collect();
        let steps = steps.ok_or_else(no_path)?;
        text = set_at(parsed(&text), &steps, value).ok_or_else(no_path)?;
    }
    Ok(text)
}

fn set_at(target: Option<Raw<'_>>, steps: &[String], value: &str) -> Option<String> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(value.to_owned());
    };
    match target.map(|target| (target, target.kind())) {
        None => Some(format!(
            "{{{}:{}}}",
            encode::escape(step),
            set_at(None, rest, value)?
        )),
        Some((object, Kind::Object)) => in_object(object, step, rest, value),
        Some((array, Kind::Array)) => in_array(array, step, rest, value),
        Some((_, Kind::Null | Kind::Bool | Kind::Number | Kind::String)) => None,
    }
}

fn in_object(object: Raw<'_>, step: &str, rest: &[String], value: &str) -> Option<String> {
    let mut members = Vec::new();
    let mut is_there = false;
    for (key, member) in object.members() {
        if key.is_text(step) {
            is_there = true;
            let set = set_at(Some(member), rest, value)?;
            members.push(format!("{}:{set}", key.as_str()));
        } else {
            members.push(format!("{}:{}", key.as_str(), member.as_str()));
        }
    }
    if !is_there {
        let set = set_at(None, rest, value)?;
        members.push(format!("{}:{set}", encode::escape(step)));
    }
    Some(format!("{{{}}}", members.join(",")))
}

fn in_array(array: Raw<'_>, step: &str, rest: &[String], value: &str) -> Option<String> {
    let is_index =
        step == "0" || (!step.starts_with('0') && step.bytes().all(|b| b.is_ascii_digit()));
    let index: usize = step.parse().ok().filter(|_| is_index)?;
    let mut items: Vec<String> = array.items().map(|item| item.as_str().to_owned()).collect();
    let item = items.get_mut(index)?;
    let set = set_at(parsed(item), rest, value)?;
    *item = set;
    Some(format!("[{}]", items.join(",")))
}

#[cfg(test)]
mod tests {
    use super::{ArgumentsError, written};

    fn set(arguments: Option<&str>, set: &[(&str, &str)]) -> Result<String, ArgumentsError> {
        let set = set
            .iter()
            .map(|(path, value)| ((*path).into(), (*value).into()));
        written(arguments, &set.collect())
    }

    #[test]
    fn values_are_written_where_the_pointer_says() {
        for (before, changes, after) in [
            (None, &[("/dry_run", "true")][..], r#"{"dry_run":true}"#),
            (
                Some(r#"{"a": 1.10}"#),
                &[("/b", "\"x\"")],
                r#"{"a":1.10,"b":"x"}"#,
            ),
            (Some(r#"{"\u0061":1}"#), &[("/a", "2")], r#"{"\u0061":2}"#),
            (
                Some(r#"{"a":{}}"#),
                &[("/a/b/c~1d", "[]")],
                r#"{"a":{"b":{"c/d":[]}}}"#,
            ),
            (
                Some(r#"{"a":[1,{"b":2}]}"#),
                &[("/a/1/b", "3")],
                r#"{"a":[1,{"b":3}]}"#,
            ),
            (
                Some(r#"{"a":1}"#),
                &[("/a", "{\"x\":1}"), ("/a/y", "2")],
                r#"{"a":{"x":1,"y":2}}"#,
            ),
        ] {
            assert_eq!(set(before, changes).as_deref(), Ok(after), "{changes:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let path = |path: &str| Err(ArgumentsError::Path(path.into()));
        for bad in [
            "", "a", "/a/b", "/list/2", "/list/-", "/list/01", "/list/+1", "/~2",
        ] {
            let arguments = Some(r#"{"a":1,"list":[1,2]}"#);
            assert_eq!(set(arguments, &[(bad, "1")]), path(bad), "{bad}");
        }
        assert_eq!(
            set(None, &[("/a", "{\"x\":1,\"x\":2}")]),
            Err(ArgumentsError::Value("/a".into()))
        );
    }
}
