//! What a rule asks of the input before anything else, decided without the evaluator.
//!
//! Most rules begin by naming a server, a tool or a role. Comparing those here costs a hundredth of what the evaluator
//! takes, and most rules need not be evaluated at all. It must not change any answer, so only statements that stand
//! first count (whatever stands behind them is not reached when they do not hold, an error neither), only forms that
//! cannot fail, and values are compared by the evaluator's own equality. A rule that consists of such statements alone
//! and yields a constant is answered here whole.

use regorus::Value;
use regorus::unstable::{BoolOp, Expr, Literal, LiteralStmt, Query};
use regorus::value::{Object, Set};

use super::native::{at, contains};
use crate::input::{Document, InputError, Part};

/// One statement about one field of the input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Guard {
    field: Field,
    test: Test,
}

/// A field of the input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Field {
    part: Part,
    /// The way below the part, step by step.
    below: Vec<Value>,
}

impl Field {
    /// The field at this path; `None` where the input has no such part.
    pub(crate) fn new(mut path: Vec<Value>) -> Option<Self> {
        if path.is_empty() {
            return None;
        }
        let below = path.split_off(1);
        let part = match path.first() {
            Some(Value::String(name)) => Part::named(name)?,
            Some(_) | None => return None,
        };
        Some(Self { part, below })
    }

    /// Its value, where the input has it.
    pub(crate) fn of<'d>(
        &self,
        document: &'d mut Document<'_>,
    ) -> Result<Option<&'d Value>, InputError> {
        let part = document.part(self.part)?;
        Ok(part.and_then(|value| at(value, &self.below)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    /// `input.a == "x"`, `input.a in {"x", "y"}`
    OneOf(Vec<Value>),
    /// `"x" in input.a`
    Holds(Value),
    /// `input.a`
    True,
    /// `some x in input.a`: needs the field, and the evaluator to go on.
    Defined,
}

impl Guard {
    /// Whether the statement holds of an input.
    pub(crate) fn holds(&self, document: &mut Document<'_>) -> Result<bool, InputError> {
        let Some(value) = self.field.of(document)? else {
            return Ok(false);
        };
        Ok(match &self.test {
            Test::OneOf(values) => values.contains(value),
            Test::True => *value != Value::Bool(false),
            Test::Defined => true,
            Test::Holds(item) => contains(value, item),
        })
    }
}

/// The guards a body begins with, and how many of its statements they answer for.
pub(crate) fn guards(query: &Query) -> (Vec<Guard>, usize) {
    let mut guards = Vec::new();
    for statement in &query.stmts {
        let Some(guard) = guard(statement) else { break };
        let goes_on = guard.test == Test::Defined;
        guards.push(guard);
        if goes_on {
            return (guards.clone(), guards.len() - 1);
        }
    }
    let past = guards.len();
    (guards, past)
}

fn guard(statement: &LiteralStmt) -> Option<Guard> {
    if !statement.with_mods.is_empty() {
        return None;
    }
    match &statement.literal {
        Literal::Expr { expr, .. } => expression(expr),
        Literal::SomeIn { collection, .. } => Some(Guard {
            field: field(collection)?,
            test: Test::Defined,
        }),
        Literal::SomeVars { .. } | Literal::NotExpr { .. } | Literal::Every { .. } => None,
    }
}

fn expression(expr: &Expr) -> Option<Guard> {
    if let Some(path) = field(expr) {
        return Some(Guard {
            field: path,
            test: Test::True,
        });
    }
    if let Expr::BoolExpr {
        op: BoolOp::Eq,
        lhs,
        rhs,
        ..
    } = expr
    {
        let (path, value) = match field(lhs) {
            Some(path) => (path, constant(rhs)?),
            None => (field(rhs)?, constant(lhs)?),
        };
        return Some(Guard {
            field: path,
            test: Test::OneOf(vec![value]),
        });
    }
    if let Expr::Membership {
        key: None,
        value,
        collection,
        ..
    } = expr
    {
        if let Some(path) = field(collection) {
            return Some(Guard {
                field: path,
                test: Test::Holds(constant(value)?),
            });
        }
        let path = field(value)?;
        let collection = constant(collection)?;
        let values = match (collection.as_array(), collection.as_set()) {
            (Ok(items), _) => items.to_vec(),
            (_, Ok(items)) => items.iter_sorted().cloned().collect(),
            (Err(_), Err(_)) => return None,
        };
        return Some(Guard {
            field: path,
            test: Test::OneOf(values),
        });
    }
    None
}

/// The steps of `input.a.b`; `None` for anything else.
fn field(expr: &Expr) -> Option<Field> {
    let mut steps = Vec::new();
    let mut at = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
        if let Expr::RefDot { field, .. } = at {
            steps.push(Value::from(field.0.text()));
        }
        if let Expr::RefBrack { index, .. } = at {
            let Expr::String { value, .. } = index.as_ref() else {
                return None;
            };
            steps.push(value.clone());
        }
        at = refr;
    }
    let Expr::Var { span, .. } = at else {
        return None;
    };
    if span.text() != "input" || steps.is_empty() {
        return None;
    }
    steps.reverse();
    Field::new(steps)
}

/// The value of an expression made of literals alone.
pub(crate) fn constant(expr: &Expr) -> Option<Value> {
    if let Expr::String { value, .. }
    | Expr::RawString { value, .. }
    | Expr::Number { value, .. }
    | Expr::Bool { value, .. }
    | Expr::Null { value, .. } = expr
    {
        return Some(value.clone());
    }
    if let Expr::Array { items, .. } = expr {
        let items: Option<Vec<Value>> = items.iter().map(|item| constant(item)).collect();
        return items.map(Value::from);
    }
    if let Expr::Set { items, .. } = expr {
        let mut set = Set::new();
        for item in items {
            set.insert(constant(item)?);
        }
        return Some(set.into_value());
    }
    let Expr::Object { fields, .. } = expr else {
        return None;
    };
    let mut object = Object::new();
    for (_, key, value) in fields {
        // A key twice is the evaluator's to refuse.
        if object.insert(constant(key)?, constant(value)?).is_some() {
            return None;
        }
    }
    Some(object.into_value())
}
