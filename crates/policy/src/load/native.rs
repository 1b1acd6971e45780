//! Statements about the input that are evaluated here rather than by the evaluator.
//!
//! Where [`super::guard`] compares fields, this goes one step further: calls of built-in functions, comparisons and
//! `not`, on fields of the input and constants, without variables. The functions and the comparisons are the
//! evaluator's own, called directly; what they refuse is refused here. A property test holds the answers to those of
//! the evaluator. Everything else is left to it.

use regorus::Value;
use regorus::unstable::{BoolOp, Expr, Literal, LiteralStmt, Query, comparison};

use super::guard::{constant, field};
use crate::shadow::{Function, Patterns};

/// Functions that are more than their arguments: they generate, print or trace.
const APART: [&str; 3] = ["print", "trace", "walk"];

/// A statement of a rule's body.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    term: Term,
    negated: bool,
}

#[derive(Debug, Clone)]
enum Term {
    Constant(Value),
    Field(Vec<Value>),
    Call(Function, Vec<Self>),
    Compare(BoolOp, Box<(Self, Self)>),
    Member(Box<(Self, Self)>),
}

/// The statements of a body from the one numbered `from`, when all of them can be evaluated here.
pub(crate) fn statements(query: &Query, from: usize) -> Option<Vec<Statement>> {
    query.stmts.iter().skip(from).map(statement).collect()
}

fn statement(statement: &LiteralStmt) -> Option<Statement> {
    if !statement.with_mods.is_empty() {
        return None;
    }
    match &statement.literal {
        Literal::Expr { expr, .. } => Some(Statement {
            term: term(expr)?,
            negated: false,
        }),
        Literal::NotExpr { expr, .. } => Some(Statement {
            term: term(expr)?,
            negated: true,
        }),
        Literal::SomeVars { .. } | Literal::SomeIn { .. } | Literal::Every { .. } => None,
    }
}

fn term(expr: &Expr) -> Option<Term> {
    if let Some(value) = constant(expr) {
        return Some(Term::Constant(value));
    }
    if let Some(path) = field(expr) {
        return Some(Term::Field(path));
    }
    if let Expr::Call { fcn, params, .. } = expr {
        let name = super::survey::name(fcn)?;
        let function =
            Function::new(&name, params.len()).filter(|_| !APART.contains(&name.as_str()))?;
        let arguments: Option<Vec<Term>> = params.iter().map(|param| term(param)).collect();
        return Some(Term::Call(function, arguments?));
    }
    if let Expr::BoolExpr { op, lhs, rhs, .. } = expr {
        return Some(Term::Compare(
            op.clone(),
            Box::new((term(lhs)?, term(rhs)?)),
        ));
    }
    if let Expr::Membership {
        key: None,
        value,
        collection,
        ..
    } = expr
    {
        return Some(Term::Member(Box::new((term(value)?, term(collection)?))));
    }
    None
}

impl Statement {
    /// Whether the statement holds of an input; the error is the function's own text.
    pub(crate) fn holds(&self, input: &Value, patterns: &mut Patterns) -> Result<bool, String> {
        let value = self.term.value(input, patterns)?;
        let holds = !matches!(value, Value::Undefined | Value::Bool(false));
        Ok(holds != self.negated)
    }

    /// The first parts of the names of all functions called: a rule of that name comes before the built-in one.
    pub(crate) fn roots(&self) -> Vec<&str> {
        let mut roots = Vec::new();
        self.term.roots(&mut roots);
        roots
    }
}

impl Term {
    fn value(&self, input: &Value, patterns: &mut Patterns) -> Result<Value, String> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Field(path) => Ok(at(input, path).cloned().unwrap_or(Value::Undefined)),
            Self::Call(function, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(argument.value(input, patterns)?);
                }
                if values.contains(&Value::Undefined) {
                    return Ok(Value::Undefined);
                }
                function.call(&values, patterns)
            }
            Self::Compare(operator, sides) => {
                let one = sides.0.value(input, patterns)?;
                let other = sides.1.value(input, patterns)?;
                if one == Value::Undefined || other == Value::Undefined {
                    return Ok(Value::Undefined);
                }
                comparison::compare(operator, &one, &other).map_err(|error| error.to_string())
            }
            Self::Member(sides) => {
                let value = sides.0.value(input, patterns)?;
                let collection = sides.1.value(input, patterns)?;
                Ok(Value::Bool(contains(&collection, &value)))
            }
        }
    }

    fn roots<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Self::Constant(_) | Self::Field(_) => {}
            Self::Call(function, arguments) => {
                into.push(function.name().split('.').next().unwrap_or_default());
                arguments.iter().for_each(|argument| argument.roots(into));
            }
            Self::Compare(_, sides) | Self::Member(sides) => {
                sides.0.roots(into);
                sides.1.roots(into);
            }
        }
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
