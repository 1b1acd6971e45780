//! Built-in functions that must not be called as they are.
//!
//! The clock of an evaluation is looked at between steps, never inside a built-in function: one that can be made to
//! answer something huge, or to panic, is covered by one of the same name that looks at what it is given first.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regorus::unstable::{BUILTINS, Expr, Ref, Span};
use regorus::{Engine, Source, Value};

/// Largest text a function may make, in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Largest array a function may make.
const MAX_ITEMS: u64 = 10_000;
/// Largest shift, in bits.
const MAX_SHIFT: u64 = 256;

/// Largest YAML document read from a text, in bytes.
const MAX_YAML: usize = 64 * 1024;

/// The function that is covered for its speed alone: the one below copies the compiled pattern for each use, and with
/// it makes anew what a search works in, under a lock all threads share.
const MATCH: &str = "regex.match";
/// Most patterns an engine keeps compiled; a pattern may come out of the arguments.
const MAX_PATTERNS: usize = 512;
/// Largest compiled pattern, in bytes: the bound of the function below.
const MAX_PATTERN: usize = 100 * 1024;

type Guard = fn(&[Value]) -> Result<(), &'static str>;

/// The functions that are covered, with their number of parameters and what is looked at.
const SHADOWS: [(&str, u8, Guard); 16] = [
    ("numbers.range", 2, range),
    ("numbers.range_step", 3, stepped_range),
    ("strings.count", 2, count),
    ("strings.replace_n", 2, replace_many),
    ("replace", 3, replace),
    ("regex.replace", 3, regex_replace),
    ("concat", 2, concat),
    ("sprintf", 2, sprintf),
    ("bits.lsh", 2, shift),
    ("to_number", 1, number),
    ("units.parse", 1, number),
    ("units.parse_bytes", 1, number),
    ("json.unmarshal", 1, document),
    ("yaml.unmarshal", 1, small_document),
    ("net.cidr_expand", 1, addresses),
    ("json.patch", 2, patch),
];

/// Whether a function is covered: such a one has no form with an output parameter.
pub(crate) fn covers(name: &str) -> bool {
    name == MATCH || SHADOWS.iter().any(|(covered, _, _)| *covered == name)
}

/// Covers the functions in an engine.
pub(crate) fn install(engine: &mut Engine) -> Result<(), String> {
    let source = Source::from_contents_with_limits(
        "built-in".to_owned(),
        String::new(),
        NonZeroUsize::MIN,
        NonZeroUsize::MIN,
    )
    .map_err(|error| error.to_string())?;
    let span = Span {
        source,
        line: 1,
        col: 1,
        start: 0,
        end: 0,
    };
    for (name, arity, guard) in SHADOWS {
        let Some((function, takes)) = BUILTINS.get(name) else {
            return Err(format!("no function `{name}`"));
        };
        if *takes != arity {
            return Err(format!("`{name}` takes {takes}"));
        }
        let function = *function;
        let place = span.clone();
        let parameters: Vec<Ref<Expr>> = (0..arity)
            .map(|_| {
                Ref::new(Expr::Null {
                    span: span.clone(),
                    value: Value::Null,
                    eidx: 0,
                })
            })
            .collect();
        let shadow = move |values: Vec<Value>| match guard(&values) {
            Ok(()) => function(&place, &parameters, &values, true),
            Err(why) => Err(std::io::Error::other(format!("`{name}`: {why}")).into()),
        };
        engine
            .add_extension(name.to_owned(), arity, Box::new(shadow))
            .map_err(|error| error.to_string())?;
    }
    let mut matcher = matcher();
    let matcher = move |values: Vec<Value>| matcher(values).map_err(Into::into);
    engine
        .add_extension(MATCH.to_owned(), 2, Box::new(matcher))
        .map_err(|error| error.to_string())
}

/// `regex.match`, with the patterns of one engine.
fn matcher() -> impl FnMut(Vec<Value>) -> Result<Value, std::io::Error> + Clone + Send + Sync {
    let mut known: HashMap<Arc<str>, Regex> = HashMap::new();
    let failed = |why: &str| std::io::Error::other(format!("`{MATCH}`: {why}"));
    move |values: Vec<Value>| {
        let (Some(Value::String(pattern)), Some(Value::String(subject))) =
            (values.first(), values.get(1))
        else {
            return Err(failed("expects texts"));
        };
        if let Some(regex) = known.get(pattern) {
            return Ok(Value::Bool(regex.is_match(subject)));
        }
        let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let regex = built.map_err(|_| failed("no valid pattern"))?;
        let matches = regex.is_match(subject);
        if known.len() < MAX_PATTERNS {
            known.insert(Arc::clone(pattern), regex);
        }
        Ok(Value::Bool(matches))
    }
}

fn text(values: &[Value], index: usize) -> Option<&str> {
    values
        .get(index)
        .and_then(|value| value.as_string().ok())
        .map(|text| &**text)
}

fn bounded(size: usize) -> Result<(), &'static str> {
    if size > MAX_TEXT {
        Err("the text would be too large")
    } else {
        Ok(())
    }
}

fn span_of(low: Option<&Value>, high: Option<&Value>, step: u64) -> Result<(), &'static str> {
    let bound = |value: Option<&Value>| {
        value
            .and_then(|value| value.as_i64().ok())
            .ok_or("a bound is out of range")
    };
    if bound(low)?.abs_diff(bound(high)?) / step.max(1) >= MAX_ITEMS {
        Err("the range is too long")
    } else {
        Ok(())
    }
}

fn range(values: &[Value]) -> Result<(), &'static str> {
    span_of(values.first(), values.get(1), 1)
}

fn stepped_range(values: &[Value]) -> Result<(), &'static str> {
    let step = values
        .get(2)
        .and_then(|value| value.as_u64().ok())
        .ok_or("the step is out of range")?;
    span_of(values.first(), values.get(1), step)
}

/// The function below panics on an empty text to look for.
fn count(values: &[Value]) -> Result<(), &'static str> {
    if text(values, 1) == Some("") {
        Err("nothing to look for")
    } else {
        Ok(())
    }
}

/// How long a text can get when every place where `old` may be becomes `new`.
fn replaced(subject: usize, old: usize, new: usize) -> usize {
    let places = subject
        .checked_div(old)
        .unwrap_or_else(|| subject.saturating_add(1));
    subject.saturating_add(places.saturating_mul(new))
}

fn replace(values: &[Value]) -> Result<(), &'static str> {
    match (text(values, 0), text(values, 1), text(values, 2)) {
        (Some(subject), Some(old), Some(new)) => {
            bounded(replaced(subject.len(), old.len(), new.len()))
        }
        _ => Ok(()), // refused by the function itself
    }
}

fn regex_replace(values: &[Value]) -> Result<(), &'static str> {
    match (text(values, 0), text(values, 2)) {
        (Some(subject), Some(new)) => {
            // A group in the replacement can stand for the whole subject.
            let groups = new.matches('$').count();
            let new = new
                .len()
                .saturating_add(groups.saturating_mul(subject.len()));
            bounded(replaced(subject.len(), 0, new))
        }
        _ => Ok(()),
    }
}

fn replace_many(values: &[Value]) -> Result<(), &'static str> {
    let (Some(patterns), Some(subject)) = (
        values.first().and_then(|value| value.as_object().ok()),
        text(values, 1),
    ) else {
        return Ok(());
    };
    let mut size = subject.len();
    for (old, new) in patterns.iter() {
        if let (Ok(old), Ok(new)) = (old.as_string(), new.as_string()) {
            size = replaced(size, old.len(), new.len());
        }
    }
    bounded(size)
}

fn concat(values: &[Value]) -> Result<(), &'static str> {
    let Some(delimiter) = text(values, 0) else {
        return Ok(());
    };
    let length = |value: &Value| value.as_string().map_or(0, |text| text.len());
    let (items, size) = match values.get(1) {
        Some(Value::Array(items)) => (items.len(), items.iter().map(length).sum::<usize>()),
        Some(Value::Set(items)) => (items.len(), items.iter().map(length).sum::<usize>()),
        Some(_) | None => return Ok(()),
    };
    bounded(size.saturating_add(items.saturating_mul(delimiter.len())))
}

/// A width in a format asks for that much text.
fn sprintf(values: &[Value]) -> Result<(), &'static str> {
    let Some(format) = text(values, 0) else {
        return Ok(());
    };
    let wide = format
        .split(|letter: char| !letter.is_ascii_digit())
        .any(|digits| digits.len() > 3);
    if wide || format.contains('*') {
        Err("a width is out of range")
    } else {
        Ok(())
    }
}

fn shift(values: &[Value]) -> Result<(), &'static str> {
    match values.get(1).map(Value::as_u64) {
        Some(Ok(bits)) if bits <= MAX_SHIFT => Ok(()),
        Some(_) | None => Err("the shift is out of range"),
    }
}

/// A number in a text may have an exponent that takes all memory to expand.
fn number(values: &[Value]) -> Result<(), &'static str> {
    match text(values, 0) {
        Some(text) if text.len() > 64 => Err("the number is too long"),
        Some(text) if text.contains(['e', 'E']) && !small_exponent(text) => {
            Err("the exponent is out of range")
        }
        Some(_) | None => Ok(()),
    }
}

/// Looks behind every `e`: a unit may be spelled with one too.
fn small_exponent(text: &str) -> bool {
    text.split(['e', 'E']).skip(1).all(|after| {
        let digits = after.trim_start_matches(['+', '-']);
        digits.bytes().take_while(u8::is_ascii_digit).count() <= 2
    })
}

/// Texts that are documents are read with the care the arguments get.
fn document(values: &[Value]) -> Result<(), &'static str> {
    match text(values, 0) {
        Some(text) => crate::json::parse(text)
            .map(drop)
            .map_err(|error| error.reason),
        None => Ok(()),
    }
}

fn small_document(values: &[Value]) -> Result<(), &'static str> {
    match text(values, 0) {
        Some(text) if text.len() > MAX_YAML => Err("the document is too large"),
        Some(_) | None => Ok(()),
    }
}

fn addresses(values: &[Value]) -> Result<(), &'static str> {
    let Some((address, prefix)) = text(values, 0).and_then(|text| text.split_once('/')) else {
        return Ok(());
    };
    let bits: u32 = if address.contains(':') { 128 } else { 32 };
    let prefix: u32 = prefix.parse().map_err(|_| "no prefix length")?;
    if bits.saturating_sub(prefix) > 12 {
        Err("the network is too large")
    } else {
        Ok(())
    }
}

fn patch(values: &[Value]) -> Result<(), &'static str> {
    match values.get(1) {
        Some(Value::Array(steps)) if steps.len() > 100 => Err("too many steps"),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
