//! Built-in functions that must not be called as they are.
//!
//! The clock of an evaluation is looked at between steps, never inside a built-in function: one that can be made to
//! answer something huge, or to panic, is covered by one of the same name that looks at what it is given first.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regorus::unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span};
use regorus::{Engine, Source, Value};

use crate::functions;

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
const SHADOWS: [(&str, u8, Guard); 15] = [
    ("numbers.range", 2, range),
    ("numbers.range_step", 3, stepped_range),
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
    for (name, arity) in SHADOWS
        .iter()
        .map(|(name, arity, _)| (*name, *arity))
        .chain([(MATCH, 2)])
    {
        let function = Function::new(name, usize::from(arity))
            .ok_or_else(|| format!("no function `{name}`"))?;
        let mut patterns = Patterns::default();
        let shadow = move |values: Vec<Value>| {
            let answer = function.call(&values, &mut patterns);
            answer.map_err(|error| std::io::Error::other(error).into())
        };
        engine
            .add_extension(name.to_owned(), arity, Box::new(shadow))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Compiled patterns of `regex.match`, owned by one evaluator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns(HashMap<Arc<str>, Regex>);

impl Patterns {
    fn matches(&mut self, values: &[Value]) -> Result<Value, String> {
        let (Some(Value::String(pattern)), Some(Value::String(subject))) =
            (values.first(), values.get(1))
        else {
            return Err(format!("`{MATCH}` expects texts"));
        };
        if let Some(regex) = self.0.get(pattern) {
            return Ok(Value::Bool(regex.is_match(subject)));
        }
        let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let regex = built.map_err(|_| format!("`{MATCH}`: no valid pattern"))?;
        let matches = regex.is_match(subject);
        if self.0.len() < MAX_PATTERNS {
            self.0.insert(Arc::clone(pattern), regex);
        }
        Ok(Value::Bool(matches))
    }
}

/// A built-in function as it may be called: with what is looked at first, where it is covered.
#[derive(Clone)]
pub(crate) struct Function {
    name: &'static str,
    function: BuiltinFcn,
    guard: Option<Guard>,
    place: Span,
    parameters: Vec<Ref<Expr>>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Function {
    /// The function of this name, when there is one that takes `arity` arguments.
    pub(crate) fn new(name: &str, arity: usize) -> Option<Self> {
        if functions::arity(name).is_some() {
            return None;
        }
        let (name, function) = BUILTINS.get_key_value(name)?;
        if usize::from(function.1) != arity {
            return None;
        }
        let guard = SHADOWS
            .iter()
            .find(|(covered, _, _)| covered == name)
            .map(|(_, _, guard)| *guard);
        let (length, lines) = (NonZeroUsize::MIN, NonZeroUsize::MIN);
        let source =
            Source::from_contents_with_limits((*name).to_owned(), String::new(), length, lines)
                .ok()?;
        let place = Span {
            source,
            line: 1,
            col: 1,
            start: 0,
            end: 0,
        };
        let null = |_| {
            Ref::new(Expr::Null {
                span: place.clone(),
                value: Value::Null,
                eidx: 0,
            })
        };
        let parameters = (0..arity).map(null).collect();
        Some(Self {
            name,
            function: *function,
            guard,
            place,
            parameters,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Calls it strictly: a wrong type is an error. No value may be undefined.
    pub(crate) fn call(&self, values: &[Value], patterns: &mut Patterns) -> Result<Value, String> {
        if self.name == MATCH {
            return patterns.matches(values);
        }
        if let Some(guard) = self.guard {
            guard(values).map_err(|why| format!("`{}`: {why}", self.name))?;
        }
        (self.function.0)(&self.place, &self.parameters, values, true)
            .map_err(|error| error.to_string())
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
