//! Facts about names and arguments, which rules could gather themselves at many times the cost.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::value::{Object, Set};

use super::{Answer, text_at};

/// Longest text taken apart, in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Most bytes looked through for phrases, each phrase counted for itself.
const MAX_SEARCHED: usize = 64 * 1024 * 1024;
/// Most values looked at.
const MAX_VALUES: usize = 100_000;

/// `facts.words(text)`: the words of a name in lower case; `getAccount`, `get_account` and `crm.get-account` have `get`
/// and `account` in them.
pub(super) fn words(values: &[Value]) -> Answer {
    let text = text_at(values, 0, MAX_TEXT)?;
    let mut apart = String::with_capacity(text.len() + 8);
    let mut small = false;
    for letter in text.chars() {
        if small && letter.is_ascii_uppercase() {
            apart.push(' ');
        }
        small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        apart.push(letter.to_ascii_lowercase());
    }
    let mut words = Set::new();
    for word in apart.split(|letter: char| !letter.is_ascii_alphanumeric()) {
        if !word.is_empty() {
            words.insert(Value::from(word));
        }
    }
    Ok(Value::Set(words.into()))
}

/// `facts.leaves(value)`: every value under a name, however deep, as `{"name", "value"}`. The name is the nearest key
/// above it in lower case without `_` and `-`. Arrays are gone through; objects are told as a whole, and gone through.
pub(super) fn leaves(values: &[Value]) -> Answer {
    let value = values.first().ok_or("argument 1 is missing")?;
    let mut walk = Walk::default();
    let mut found = Vec::new();
    walk.over(value, None, &mut |name, value| {
        if let Some(name) = name {
            let mut leaf = Object::new();
            leaf.insert(Value::from("name"), Value::from(plain(name).as_str()));
            leaf.insert(Value::from("value"), value.clone());
            found.push(leaf.into_value());
        }
    })?;
    Ok(Value::from(found))
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '-'], "")
}

/// `facts.mentions(value, names)`: which of the names are keys in the value, words in its keys or words in its texts,
/// compared without case. A word is made of letters, digits and `_`; a name that is no word is looked for anywhere.
pub(super) fn mentions(values: &[Value]) -> Answer {
    let names: Vec<&Value> = match values.get(1) {
        Some(Value::Array(names)) => names.iter().collect(),
        Some(Value::Set(names)) => names.iter().collect(),
        Some(_) | None => return Err("argument 2 must be an array or a set".to_owned()),
    };
    let mut words = BTreeMap::new();
    let mut phrases = BTreeMap::new();
    for name in names {
        let text = text_at(std::slice::from_ref(name), 0, MAX_TEXT)
            .map_err(|_| "argument 2 must hold texts")?
            .to_lowercase();
        let plain = text.chars().all(belongs);
        let kind = if plain { &mut words } else { &mut phrases };
        kind.insert(text, name);
    }
    let mut mentioned = BTreeSet::new();
    let mut left = MAX_SEARCHED;
    let mut look = |text: &str| {
        let text = text.to_lowercase();
        for word in text.split(|letter: char| !belongs(letter)) {
            mentioned.extend(words.get(word));
        }
        let work = text.len().saturating_mul(phrases.len());
        left = left.checked_sub(work).ok_or("too much to look through")?;
        for (phrase, name) in &phrases {
            if text.contains(phrase.as_str()) {
                mentioned.insert(name);
            }
        }
        Ok(())
    };
    let value = values.first().ok_or("argument 1 is missing")?;
    let mut walk = Walk::default();
    if !words.is_empty() || !phrases.is_empty() {
        walk.texts(value, &mut look)?;
    }
    let mut set = Set::new();
    for name in mentioned {
        set.insert((*name).clone());
    }
    Ok(Value::Set(set.into()))
}

/// Letters of other alphabets part words: no field's name has them, and what follows them must not hide behind them.
fn belongs(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

type Look<'a> = dyn FnMut(&str) -> Result<(), String> + 'a;

#[derive(Default)]
struct Walk {
    values: usize,
}

impl Walk {
    fn count(&mut self) -> Result<(), String> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        Ok(())
    }

    /// Hands over every value that is no array with the nearest key above it.
    fn over<'a>(
        &mut self,
        value: &'a Value,
        name: Option<&'a str>,
        look: &mut dyn FnMut(Option<&'a str>, &'a Value),
    ) -> Result<(), String> {
        self.count()?;
        match value {
            Value::Array(items) => {
                for item in items.iter() {
                    self.over(item, name, look)?;
                }
                return Ok(());
            }
            Value::Object(object) => {
                for (key, item) in object.iter() {
                    let key = key.as_string().map_or(name, |key| Some(&**key));
                    self.over(item, key, look)?;
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Set(_)
            | Value::Undefined => {}
        }
        look(name, value);
        Ok(())
    }

    /// Hands over every key and every text.
    fn texts(&mut self, value: &Value, look: &mut Look<'_>) -> Result<(), String> {
        self.count()?;
        match value {
            Value::String(text) => look(text)?,
            Value::Array(items) => {
                for item in items.iter() {
                    self.texts(item, look)?;
                }
            }
            Value::Object(object) => {
                for (key, item) in object.iter() {
                    self.texts(key, look)?;
                    self.texts(item, look)?;
                }
            }
            Value::Set(items) => {
                for item in items.iter() {
                    self.texts(item, look)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Undefined => {}
        }
        Ok(())
    }
}
