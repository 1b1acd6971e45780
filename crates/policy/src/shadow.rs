//! Built-in functions that must not be called as they are.
//!
//! The clock of an evaluation is looked at between steps, never inside a built-in function: one that can be made to
//! answer something huge, or to panic, is covered by one of the same name that looks at what it is given first.

mod answers;
mod re2;
mod regexes;

use std::num::NonZeroUsize;

use regorus::unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span};
use regorus::{Engine, Source, Value};

pub(crate) use self::regexes::Patterns;
use crate::functions::{self, network};

/// Largest text a function may make, in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Largest array a function may make.
const MAX_ITEMS: u64 = 10_000;
/// Largest shift, in bits.
const MAX_SHIFT: u64 = 256;

/// Largest YAML document read from a text, in bytes.
const MAX_YAML: usize = 64 * 1024;

type Guard = fn(&[Value]) -> Result<(), &'static str>;

/// The functions that are covered, with their number of parameters and what is looked at.
const SHADOWS: [(&str, u8, Guard); 26] = [
    ("numbers.range", 2, range),
    ("numbers.range_step", 3, stepped_range),
    ("strings.replace_n", 2, replace_many),
    ("replace", 3, replace),
    ("regex.replace", 3, regex_replace),
    ("concat", 2, concat),
    ("sprintf", 2, sprintf),
    ("bits.lsh", 2, shift),
    ("to_number", 1, number),
    ("units.parse", 1, unit),
    ("units.parse_bytes", 1, byte_unit),
    ("json.unmarshal", 1, document),
    ("yaml.unmarshal", 1, small_document),
    ("net.cidr_expand", 1, addresses),
    ("json.patch", 2, patch),
    ("object.subset", 2, alike),
    // These are undefined where OPA fails, or where the number is too large for them.
    ("array.slice", 3, anything),
    ("bits.and", 2, anything),
    ("bits.negate", 1, anything),
    ("bits.or", 2, anything),
    ("bits.rsh", 2, anything),
    ("bits.xor", 2, anything),
    ("time.parse_ns", 2, anything),
    ("time.parse_rfc3339_ns", 1, timestamp),
    ("indexof", 2, needle),
    ("indexof_n", 2, needle),
];

type Replacement = fn(&[Value], &mut Patterns) -> Result<Value, String>;

/// The functions that are replaced, since the evaluator's own answer differs from OPA's.
const REPLACED: [(&str, u8, Replacement); 17] = [
    ("count", 1, answers::count),
    ("glob.quote_meta", 1, answers::quote_glob),
    ("lower", 1, answers::lower),
    ("upper", 1, answers::upper),
    ("net.cidr_contains", 2, |values, _| {
        network::contains(values)
    }),
    ("net.cidr_expand", 1, |values, _| network::expand(values)),
    ("net.cidr_is_valid", 1, |values, _| {
        network::is_valid(values)
    }),
    ("regex.find_all_string_submatch_n", 3, regexes::find_groups),
    ("regex.find_n", 3, regexes::find),
    ("regex.is_valid", 1, regexes::is_valid),
    ("regex.match", 2, regexes::matches),
    ("regex.replace", 3, regexes::replace),
    ("regex.split", 2, regexes::split),
    ("regex.template_match", 4, regexes::template),
    ("time.add_date", 4, answers::add_date),
    ("urlquery.decode", 1, answers::query),
    ("urlquery.decode_object", 1, answers::query_members),
];

/// Whether a function is covered: such a one has no form with an output parameter.
pub(crate) fn covers(name: &str) -> bool {
    covered().any(|(covered, _)| covered == name)
}

/// All of them with their number of parameters; some are in both lists.
fn covered() -> impl Iterator<Item = (&'static str, u8)> {
    let looked_at = SHADOWS.iter().map(|(name, arity, _)| (*name, *arity));
    looked_at.chain(REPLACED.iter().map(|(name, arity, _)| (*name, *arity)))
}

/// Covers the functions in an engine.
pub(crate) fn install(engine: &mut Engine) -> Result<(), String> {
    for (name, arity) in covered().collect::<std::collections::BTreeSet<_>>() {
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

/// A built-in function as it may be called: with what is looked at first, where it is covered.
#[derive(Clone)]
pub(crate) struct Function {
    name: &'static str,
    function: BuiltinFcn,
    guard: Option<Guard>,
    replacement: Option<Replacement>,
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
        let replacement = REPLACED
            .iter()
            .find(|(replaced, _, _)| replaced == name)
            .map(|(_, _, replacement)| *replacement);
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
            replacement,
            place,
            parameters,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Calls it strictly: a wrong type is an error. No value may be undefined.
    pub(crate) fn call(&self, values: &[Value], patterns: &mut Patterns) -> Result<Value, String> {
        let named = |why: &str| format!("`{}`: {why}", self.name);
        if let Some(guard) = self.guard {
            guard(values).map_err(named)?;
        }
        if let Some(replacement) = self.replacement {
            return replacement(values, patterns).map_err(|why| named(&why));
        }
        match (self.function.0)(&self.place, &self.parameters, values, true) {
            // Under `not` it would let a call pass.
            Ok(Value::Undefined) if self.guard.is_some() => Err(named("no answer")),
            answer => answer.map_err(|error| error.to_string()),
        }
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
    verbs(format).map(drop)
}

/// The number of values a format takes. The evaluator knows these verbs, a width or a precision, and no other flag than that
/// of `%+v`.
pub(crate) fn verbs(format: &str) -> Result<usize, &'static str> {
    let mut letters = format.chars().peekable();
    let mut verbs = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' || letters.next_if_eq(&'%').is_some() {
            continue;
        }
        verbs += 1;
        letters.next_if_eq(&'.');
        let mut digits = 0;
        while letters.next_if(char::is_ascii_digit).is_some() {
            digits += 1;
        }
        match letters.next() {
            _ if digits > 3 => return Err("a width is out of range"),
            None => return Err("a verb is missing at the end"),
            Some('+') if digits == 0 && letters.next_if_eq(&'v').is_some() => {}
            Some(verb) if "svbcdoOxXeEfFgGq".contains(verb) => {}
            Some(_) => return Err("a verb is none of `s v d q b c o O x X e E f F g G`"),
        }
    }
    Ok(verbs)
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
        Some(text) if text.contains(char::is_whitespace) => Err("a number has no spaces"),
        Some(text) if text.contains(['e', 'E']) && !small_exponent(text) => {
            Err("the exponent is out of range")
        }
        Some(_) | None => Ok(()),
    }
}

/// Units that OPA knows, in lower case; the evaluator knows more, with meanings of their own.
const UNITS: [&str; 13] = [
    "", "m", "k", "g", "t", "p", "e", "ki", "mi", "gi", "ti", "pi", "ei",
];

/// A number with a unit, and nothing that only the evaluator takes for one.
fn suffixed(values: &[Value], known: impl Fn(&str) -> bool) -> Result<(), &'static str> {
    number(values)?;
    let Some(text) = text(values, 0) else {
        return Ok(());
    };
    let text = text.trim_matches('"');
    let digits = |letter: char| letter.is_ascii_digit() || letter == '.';
    let suffix = text.rfind(digits).and_then(|at| text.get(at + 1..));
    let suffix = suffix.ok_or("no number")?.to_ascii_lowercase();
    if text.contains('_') || !known(&suffix) {
        Err("no known unit")
    } else {
        Ok(())
    }
}

fn unit(values: &[Value]) -> Result<(), &'static str> {
    suffixed(values, |suffix| UNITS.contains(&suffix))
}

fn byte_unit(values: &[Value]) -> Result<(), &'static str> {
    suffixed(values, |suffix| {
        UNITS.contains(&suffix.strip_suffix('b').unwrap_or(suffix)) && suffix != "b"
    })
}

/// Two collections of which the one can be a part of the other.
fn alike(values: &[Value]) -> Result<(), &'static str> {
    match (values.first(), values.get(1)) {
        (Some(Value::Object(_)), Some(Value::Object(_)))
        | (Some(Value::Set(_)), Some(Value::Set(_)))
        | (Some(Value::Array(_)), Some(Value::Array(_) | Value::Set(_))) => Ok(()),
        _ => Err("the arguments must be collections of one kind"),
    }
}

/// Upper-case letters between date, time and zone, and no leap second.
fn timestamp(values: &[Value]) -> Result<(), &'static str> {
    match text(values, 0) {
        Some(text) if text.contains([' ', 't', 'z']) || text.get(17..19) == Some("60") => {
            Err("no time in the form of RFC 3339")
        }
        Some(_) | None => Ok(()),
    }
}

/// An empty text is at no place.
fn needle(values: &[Value]) -> Result<(), &'static str> {
    match text(values, 1) {
        Some("") => Err("an empty text is looked for"),
        Some(_) | None => Ok(()),
    }
}

fn anything(_: &[Value]) -> Result<(), &'static str> {
    Ok(())
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
