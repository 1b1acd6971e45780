//! `array.flatten`.

use regorus::Value;

use super::Answer;

/// Longest array made.
const MAX_ITEMS: usize = 100_000;

/// One array of what the inner arrays hold; what is no array stays as it is. One level only.
pub(super) fn flatten(values: &[Value]) -> Answer {
    let Some(Value::Array(items)) = values.first() else {
        return Err("argument 1 must be an array".to_owned());
    };
    let length = |item: &Value| item.as_array().map_or(1, |inner| inner.len());
    if items.iter().map(length).sum::<usize>() > MAX_ITEMS {
        return Err(format!("more than {MAX_ITEMS} items"));
    }
    let mut flat = Vec::new();
    for item in items.iter() {
        match item {
            Value::Array(inner) => flat.extend(inner.iter().cloned()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Set(_)
            | Value::Object(_)
            | Value::Undefined => flat.push(item.clone()),
        }
    }
    Ok(Value::from(flat))
}
