//! Running what was read.

use std::sync::Arc;
use std::time::Instant;

use regorus::Value;
use regorus::unstable::{BoolOp, comparison};
use regorus::value::Object;

use super::{Body, Helper, Rule, Step, Term};
use crate::input::{Document, InputError};
use crate::shadow::Patterns;

/// Steps between two looks at the clock.
const CHECK_INTERVAL: u32 = 256;

/// Why a rule has no answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The input could not be built.
    Input(InputError),
    /// A function refused; the text is its own.
    Error(String),
    /// It took too long.
    Timeout,
}

/// What rules are run on.
pub(crate) struct Run<'a, 'd> {
    pub(crate) input: &'a mut Document<'d>,
    pub(crate) data: &'a Value,
    pub(crate) patterns: &'a mut Patterns,
    pub(crate) deadline: Instant,
    /// Steps taken so far.
    pub(crate) steps: u32,
}

impl Rule {
    /// Hands `found` every value that comes of the rule.
    pub(crate) fn run(
        &self,
        run: &mut Run<'_, '_>,
        arguments: &[Value],
        found: &mut dyn FnMut(Value),
    ) -> Result<(), Stop> {
        let mut frame = arguments.to_vec();
        frame.resize(self.body.locals, Value::Undefined);
        run.body(&self.body, 0, &mut frame, &mut |run, frame| {
            let value = run.value(&self.yields, frame)?;
            let defined = value != Value::Undefined;
            if defined {
                found(value);
            }
            Ok(defined && self.once)
        })?;
        Ok(())
    }
}

/// What is done each time a body holds; whether that is enough.
type Held<'f> = dyn FnMut(&mut Run<'_, '_>, &mut [Value]) -> Result<bool, Stop> + 'f;

impl Run<'_, '_> {
    /// Runs the statements from the one numbered `from`. `true`: enough was found.
    fn body(
        &mut self,
        body: &Body,
        from: usize,
        frame: &mut [Value],
        held: &mut Held<'_>,
    ) -> Result<bool, Stop> {
        self.tick()?;
        for (number, step) in body.steps.iter().enumerate().skip(from) {
            match step {
                Step::Holds(term) => {
                    if !is_true(&self.value(term, frame)?) {
                        return Ok(false);
                    }
                }
                Step::Fails(term) => {
                    let value = self.negated(term, frame)?;
                    if value.is_none_or(|value| is_true(&value)) {
                        return Ok(false);
                    }
                }
                Step::Name(slot, term) => {
                    let value = self.value(term, frame)?;
                    if value == Value::Undefined {
                        return Ok(false);
                    }
                    set(frame, Some(*slot), || value);
                }
                Step::Each { key, value, of } => {
                    let of = self.value(of, frame)?;
                    return self.each(&of, (*key, *value), (body, number + 1), frame, held);
                }
            }
        }
        held(self, frame)
    }

    /// Runs the rest of a body for each item of a collection.
    fn each(
        &mut self,
        collection: &Value,
        (key, value): (Option<usize>, Option<usize>),
        (body, from): (&Body, usize),
        frame: &mut [Value],
        held: &mut Held<'_>,
    ) -> Result<bool, Stop> {
        match collection {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    set(frame, key, || Value::from(index));
                    set(frame, value, || item.clone());
                    if self.body(body, from, frame, held)? {
                        return Ok(true);
                    }
                }
            }
            Value::Set(items) => {
                for item in items.iter() {
                    set(frame, key, || item.clone());
                    set(frame, value, || item.clone());
                    if self.body(body, from, frame, held)? {
                        return Ok(true);
                    }
                }
            }
            Value::Object(members) => {
                for (name, item) in members.iter() {
                    set(frame, key, || name.clone());
                    set(frame, value, || item.clone());
                    if self.body(body, from, frame, held)? {
                        return Ok(true);
                    }
                }
            }
            Value::Undefined => {}
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(Stop::Error(
                    "`some .. in` expects an array, a set or an object".to_owned(),
                ));
            }
        }
        Ok(false)
    }

    fn tick(&mut self) -> Result<(), Stop> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(CHECK_INTERVAL) && Instant::now() >= self.deadline {
            return Err(Stop::Timeout);
        }
        Ok(())
    }

    fn value(&mut self, term: &Term, frame: &mut [Value]) -> Result<Value, Stop> {
        match term {
            Term::Constant(value) => Ok(value.clone()),
            Term::Input(field) => {
                let value = field.of(self.input).map_err(Stop::Input)?;
                Ok(value.cloned().unwrap_or(Value::Undefined))
            }
            Term::Data(path) => Ok(at(self.data, path).cloned().unwrap_or(Value::Undefined)),
            Term::Local(slot) => Ok(frame.get(*slot).cloned().unwrap_or(Value::Undefined)),
            Term::At(sides) => {
                let (base, step) = self.both(sides, frame)?;
                if step == Value::Undefined {
                    return Ok(Value::Undefined);
                }
                Ok(base[&step].clone())
            }
            Term::Lookup(sides) => {
                let (base, step) = self.both(sides, frame)?;
                if step == Value::Undefined {
                    return Ok(Value::Undefined);
                }
                found(true, &base, &step)
            }
            Term::Call(function, arguments) => {
                let Some(values) = self.values(arguments, frame)? else {
                    return Ok(Value::Undefined);
                };
                function.call(&values, self.patterns).map_err(Stop::Error)
            }
            Term::Compare(operator, sides) => {
                let (one, other) = self.both(sides, frame)?;
                if one == Value::Undefined || other == Value::Undefined {
                    return Ok(Value::Undefined);
                }
                comparison::compare(operator, &one, &other)
                    .map_err(|error| Stop::Error(error.to_string()))
            }
            Term::Member(sides) => {
                let (value, collection) = self.both(sides, frame)?;
                Ok(Value::Bool(contains(&collection, &value)))
            }
            Term::Array(items) => {
                let values = self.values(items, frame)?;
                Ok(values.map_or(Value::Undefined, Value::from))
            }
            Term::Object(members) => self.object(members, frame),
            Term::Helper(helper, arguments) => {
                let Some(values) = self.values(arguments, frame)? else {
                    return Ok(Value::Undefined);
                };
                self.helper(helper, &values)
            }
            // Nothing is run before it is resolved.
            Term::Named(..) => Err(Stop::Error("a name that was not resolved".to_owned())),
        }
    }

    /// The value of what is negated; `None` when the negation has no answer, since something it needs is undefined (see
    /// `load/absence.rs`).
    fn negated(&mut self, term: &Term, frame: &mut [Value]) -> Result<Option<Value>, Stop> {
        match term {
            Term::Call(function, arguments) => match self.values(arguments, frame)? {
                Some(values) => {
                    let answer = function.call(&values, self.patterns);
                    answer.map(Some).map_err(Stop::Error)
                }
                None => Ok(None),
            },
            Term::Helper(helper, arguments) => match self.values(arguments, frame)? {
                Some(values) => self.helper(helper, &values).map(Some),
                None => Ok(None),
            },
            Term::Compare(BoolOp::Eq, sides) => {
                let (Some(one), Some(other)) =
                    (self.side(&sides.0, frame)?, self.side(&sides.1, frame)?)
                else {
                    return Ok(None);
                };
                let differs = one == Value::Undefined || other == Value::Undefined;
                Ok(Some(Value::Bool(!differs && one == other)))
            }
            Term::Member(sides) => {
                let (value, collection) = self.both(sides, frame)?;
                let defined = value != Value::Undefined && collection != Value::Undefined;
                Ok(defined.then(|| Value::Bool(contains(&collection, &value))))
            }
            Term::Constant(_)
            | Term::Input(_)
            | Term::Data(_)
            | Term::Local(_)
            | Term::At(_)
            | Term::Lookup(_)
            | Term::Compare(BoolOp::Ne | BoolOp::Lt | BoolOp::Le | BoolOp::Gt | BoolOp::Ge, _)
            | Term::Array(_)
            | Term::Object(_)
            | Term::Named(..) => self.side(term, frame),
        }
    }

    /// A reference may be undefined, what is in its brackets and every other value may not.
    fn side(&mut self, term: &Term, frame: &mut [Value]) -> Result<Option<Value>, Stop> {
        match term {
            Term::Helper(_, arguments) if arguments.is_empty() => self.value(term, frame).map(Some),
            Term::Constant(_) | Term::Input(_) | Term::Data(_) | Term::Local(_) => {
                self.value(term, frame).map(Some)
            }
            Term::At(sides) | Term::Lookup(sides) => {
                let Some(base) = self.side(&sides.0, frame)? else {
                    return Ok(None);
                };
                let step = self.value(&sides.1, frame)?;
                if step == Value::Undefined {
                    return Ok(None);
                }
                found(matches!(term, Term::Lookup(_)), &base, &step).map(Some)
            }
            Term::Call(..)
            | Term::Helper(..)
            | Term::Compare(..)
            | Term::Member(_)
            | Term::Array(_)
            | Term::Object(_)
            | Term::Named(..) => {
                let value = self.value(term, frame)?;
                Ok((value != Value::Undefined).then_some(value))
            }
        }
    }

    fn both(&mut self, sides: &(Term, Term), frame: &mut [Value]) -> Result<(Value, Value), Stop> {
        let one = self.value(&sides.0, frame)?;
        Ok((one, self.value(&sides.1, frame)?))
    }

    /// The values of several terms; `None` when one is undefined.
    fn values(&mut self, terms: &[Term], frame: &mut [Value]) -> Result<Option<Vec<Value>>, Stop> {
        let mut values = Vec::with_capacity(terms.len());
        for term in terms {
            values.push(self.value(term, frame)?);
        }
        Ok((!values.contains(&Value::Undefined)).then_some(values))
    }

    fn object(&mut self, members: &[(Value, Term)], frame: &mut [Value]) -> Result<Value, Stop> {
        let mut object = Object::new();
        let mut defined = true;
        for (key, term) in members {
            let value = self.value(term, frame)?;
            defined &= value != Value::Undefined;
            object.insert(key.clone(), value);
        }
        Ok(if defined {
            object.into_value()
        } else {
            Value::Undefined
        })
    }

    /// The value of a plain rule: that of every way it holds, which must be one.
    fn helper(&mut self, helper: &Arc<Helper>, arguments: &[Value]) -> Result<Value, Stop> {
        self.tick()?;
        let mut result = Value::Undefined;
        let mut differ = false;
        for rule in &helper.rules {
            rule.run(self, arguments, &mut |value| {
                differ |= result != Value::Undefined && result != value;
                result = value;
            })?;
        }
        if differ {
            return Err(Stop::Error("a rule has two values".to_owned()));
        }
        if result == Value::Undefined
            && let Some(default) = &helper.default
        {
            return Ok(default.clone());
        }
        Ok(result)
    }
}

/// The value at a step; of the data when `in_data`.
fn found(in_data: bool, base: &Value, step: &Value) -> Result<Value, Stop> {
    // The evaluator finds `"1"` by the number 1; nobody means that.
    if in_data && base.as_object().is_ok() && step.as_string().is_err() {
        let why = "an object in the data is looked into by what is no text";
        return Err(Stop::Error(why.to_owned()));
    }
    Ok(base[step].clone())
}

fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Undefined | Value::Bool(false))
}

fn set(frame: &mut [Value], slot: Option<usize>, value: impl FnOnce() -> Value) {
    if let Some(place) = slot.and_then(|slot| frame.get_mut(slot)) {
        *place = value();
    }
}

/// The value at a path of objects.
pub(crate) fn at<'a>(input: &'a Value, path: &[Value]) -> Option<&'a Value> {
    path.iter().try_fold(input, |at, step| match at {
        Value::Object(object) => object.get(step),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Set(_)
        | Value::Undefined => None,
    })
}

/// Membership as `in` has it.
pub(crate) fn contains(collection: &Value, value: &Value) -> bool {
    match collection {
        Value::Array(items) => items.contains(value),
        Value::Set(items) => items.contains(value),
        Value::Object(object) => object.values().any(|item| item == value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Undefined => {
            false
        }
    }
}
