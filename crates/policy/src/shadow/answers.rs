//! Functions that the evaluator answers differently from OPA: texts, dates and units.

use std::collections::BTreeMap;

use regorus::Value;
use regorus::value::Object;

use super::{Function, Patterns};

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

type Answer = Result<Value, String>;

fn text(values: &[Value]) -> Result<&str, String> {
    match values.first() {
        Some(Value::String(text)) => Ok(text),
        Some(_) | None => Err("argument 1 must be a text".to_owned()),
    }
}

/// Characters of a text; the evaluator's own counts units of UTF-16.
pub(super) fn count(values: &[Value], _: &mut Patterns) -> Answer {
    let length = match values.first() {
        Some(Value::String(text)) => text.chars().count(),
        Some(Value::Array(items)) => items.len(),
        Some(Value::Set(items)) => items.len(),
        Some(Value::Object(members)) => members.len(),
        Some(_) | None => return Err("argument 1 must be a text or a collection".to_owned()),
    };
    Ok(Value::from(u64::try_from(length).unwrap_or(u64::MAX)))
}

/// Everything that means something in a glob, with a backslash before it.
pub(super) fn quote_glob(values: &[Value], _: &mut Patterns) -> Answer {
    let mut quoted = String::new();
    for letter in text(values)?.chars() {
        if matches!(letter, '*' | '?' | '\\' | '[' | ']' | '{' | '}') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    Ok(Value::from(quoted.as_str()))
}

/// One character for one, as Go maps them: no final sigma, no dot of its own.
pub(super) fn lower(values: &[Value], _: &mut Patterns) -> Answer {
    let text = text(values)?;
    if text.is_ascii() {
        return Ok(Value::from(text.to_ascii_lowercase().as_str()));
    }
    let lower = |letter: char| letter.to_lowercase().next().unwrap_or(letter);
    Ok(Value::from(
        text.chars().map(lower).collect::<String>().as_str(),
    ))
}

/// One character for one, as Go maps them: `ß` stays.
pub(super) fn upper(values: &[Value], _: &mut Patterns) -> Answer {
    let text = text(values)?;
    if text.is_ascii() {
        return Ok(Value::from(text.to_ascii_uppercase().as_str()));
    }
    let upper = |letter: char| {
        let mut full = letter.to_uppercase();
        match (full.next(), full.next()) {
            (Some(upper), None) => upper,
            _ => titled(letter),
        }
    };
    Ok(Value::from(
        text.chars().map(upper).collect::<String>().as_str(),
    ))
}

/// Greek letters with an iota below have an upper-case form of one character; all others of several have none.
fn titled(letter: char) -> char {
    let above = match letter {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(letter) + above).unwrap_or(letter)
}

/// `urlquery.decode`: a text in the form of a query's part, whole.
pub(super) fn query(values: &[Value], _: &mut Patterns) -> Answer {
    decoded(text(values)?)
}

/// `urlquery.decode_object`: the values by name. A semicolon separates nothing, and is an error.
pub(super) fn query_members(values: &[Value], _: &mut Patterns) -> Answer {
    let mut members: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for part in text(values)?.split('&').filter(|part| !part.is_empty()) {
        if part.contains(';') {
            return Err("a semicolon in a query".to_owned());
        }
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        members
            .entry(decoded(name)?)
            .or_default()
            .push(decoded(value)?);
    }
    let mut object = Object::new();
    for (name, values) in members {
        object.insert(name, Value::from(values));
    }
    Ok(object.into_value())
}

fn decoded(text: &str) -> Answer {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err("a percent sign without two digits".to_owned());
                };
                u8::try_from(high * 16 + low).unwrap_or_default()
            }
            other => other,
        });
    }
    Ok(Value::from(&*String::from_utf8_lossy(&decoded)))
}

/// `time.add_date`: years and months are added to the fields of the date, and what is out of range runs over into the
/// next month, as in Go: a year from 29 February is 1 March.
pub(super) fn add_date(values: &[Value], _: &mut Patterns) -> Answer {
    let integer = |value: Option<&Value>| match value {
        Some(Value::Number(number)) => number.as_i64(),
        Some(_) | None => None,
    };
    let (nanoseconds, zone) = match values.first() {
        Some(Value::Array(parts)) => (integer(parts.first()), parts.get(1)),
        other => (integer(other), None),
    };
    let nanoseconds = nanoseconds.ok_or("argument 1 must be a time in nanoseconds")?;
    let added = |index: usize| {
        integer(values.get(index))
            .and_then(|number| i32::try_from(number).ok())
            .map(i64::from)
            .ok_or_else(|| format!("argument {} must be an integer", index + 1))
    };
    let (years, months, days) = (added(1)?, added(2)?, added(3)?);
    let zone = Zone::new(zone)?;
    let local = i128::from(nanoseconds) + zone.offset(nanoseconds)?;
    let (day, time) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    let (year, month, date) = civil(i64::try_from(day).unwrap_or_default());
    let month = (year + years) * 12 + (month - 1) + months;
    let first = days_before(month.div_euclid(12), month.rem_euclid(12) + 1);
    let wanted = i128::from(first + date - 1 + days) * DAY + time;
    let in_range = |nanoseconds: i128| {
        i64::try_from(nanoseconds).map_err(|_| "time outside of valid range".to_owned())
    };
    // The offset at what the clock shows there, and then at the time that this gives.
    let guess = in_range(wanted - zone.offset(in_range(wanted)?)?)?;
    let found = in_range(wanted - zone.offset(guess)?)?;
    Ok(Value::from(found))
}

/// A time zone, by the evaluator's own functions.
struct Zone {
    name: Option<Value>,
    fields: Vec<Function>,
}

impl Zone {
    fn new(name: Option<&Value>) -> Result<Self, String> {
        let name = match name {
            None => None,
            Some(Value::String(name)) if matches!(&**name, "" | "UTC") => None,
            Some(name @ Value::String(_)) => Some(name.clone()),
            Some(_) => return Err("a time zone must be a text".to_owned()),
        };
        let fields = ["time.date", "time.clock"];
        Ok(Self {
            name,
            fields: fields
                .into_iter()
                .filter_map(|name| Function::new(name, 1))
                .collect(),
        })
    }

    /// The lead of its clocks, in nanoseconds.
    fn offset(&self, nanoseconds: i64) -> Result<i128, String> {
        let Some(name) = &self.name else { return Ok(0) };
        let at = Value::from(vec![Value::from(nanoseconds), name.clone()]);
        let mut fields = Vec::new();
        for function in &self.fields {
            let found = function.call(std::slice::from_ref(&at), &mut Patterns::default())?;
            let found = found.as_array().map_err(|error| error.to_string())?;
            fields.extend(found.iter().filter_map(|field| field.as_i64().ok()));
        }
        let [year, month, day, hour, minute, second] = fields.as_slice() else {
            return Err("a time without fields".to_owned());
        };
        let day = i128::from(days_before(*year, *month) + day - 1);
        let clock = i128::from((hour * 60 + minute) * 60 + second);
        let below = i128::from(nanoseconds).rem_euclid(SECOND);
        Ok(day * DAY + clock * SECOND + below - i128::from(nanoseconds))
    }
}

/// Days from 1970 to the first of a month, in the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day counted from 1970.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, date)
}
