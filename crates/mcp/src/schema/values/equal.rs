//! Equality of JSON values: one form for all spellings of a value.

use super::decimal::Decimal;
use crate::json::{Kind, Raw};

/// The form of a value. Two values are equal, as JSON Schema has it (2020-12 core §4.2.2), if and only if their forms are:
/// 1 equals 1.0, and the order of members is nothing.
pub(super) fn form(value: Raw<'_>) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// Strings carry their length, so no form is the beginning of another.
fn write(value: Raw<'_>, text: &mut String) {
    match value.kind() {
        Kind::Null | Kind::Bool => text.push_str(value.as_str()),
        Kind::Number => {
            text.push('#');
            if let Some(number) = Decimal::of(value) {
                text.push_str(&number.form());
            }
            text.push(';');
        }
        Kind::String => string(&value.string().unwrap_or_default(), text),
        Kind::Array => {
            text.push('[');
            value.items().for_each(|item| write(item, text));
            text.push(']');
        }
        Kind::Object => {
            let mut members: Vec<_> = value
                .members()
                .map(|(name, value)| (name.string().unwrap_or_default(), value))
                .collect();
            members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            text.push('{');
            for (name, value) in members {
                string(&name, text);
                write(value, text);
            }
            text.push('}');
        }
    }
}

fn string(value: &str, text: &mut String) {
    text.push('"');
    text.push_str(&value.len().to_string());
    text.push(':');
    text.push_str(value);
}
