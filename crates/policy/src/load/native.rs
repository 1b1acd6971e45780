//! Rules that are evaluated here rather than by the evaluator.
//!
//! Where [`super::guard`] compares fields, this goes further: calls of built-in functions, comparisons and `not` on
//! fields of the input and the data, `some .. in`, local names, and plain rules of the same package. The functions and
//! comparisons are the evaluator's own, called directly; what they refuse is refused here, and statements are run in
//! the order they are written: so does the evaluator, where no name is used above its declaration. A property test holds the answers to those of the evaluator. Everything else is left
//! to it.

mod resolve;
mod run;

use std::collections::BTreeSet;
use std::sync::Arc;

use regorus::Value;
use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Query, Ref};

use super::guard::{Field, constant};
use crate::shadow::Function;

pub(crate) use resolve::Resolver;
pub(crate) use run::{Run, Stop, at, contains};

/// Functions that are more than their arguments: they generate, print or trace.
const APART: [&str; 3] = ["print", "trace", "walk"];

/// The names a module gives to paths into `input` and `data`.
type Imports = [(String, Vec<String>)];

/// A body and what comes of it.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// How many of the local names are those of a function's arguments: the first.
    arguments: usize,
    body: Body,
    yields: Term,
    /// Whether the evaluator stops at the first way in which the body holds: it does where a plain literal comes of it.
    once: bool,
}

/// Statements in the order they are run.
#[derive(Debug, Clone)]
struct Body {
    steps: Vec<Step>,
    /// How many local names there are.
    locals: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Holds(Term),
    Fails(Term),
    /// `x := term`
    Name(usize, Term),
    /// `some key, value in term`
    Each {
        key: Option<usize>,
        value: Option<usize>,
        of: Term,
    },
}

impl Step {
    /// The local names it gives a value.
    fn declares(&self) -> impl Iterator<Item = usize> {
        let (one, other) = match self {
            Self::Holds(_) | Self::Fails(_) => (None, None),
            Self::Name(slot, _) => (Some(*slot), None),
            Self::Each { key, value, .. } => (*key, *value),
        };
        one.into_iter().chain(other)
    }
}

#[derive(Debug, Clone)]
enum Term {
    Constant(Value),
    Input(Field),
    Data(Vec<Value>),
    Local(usize),
    /// What lies at a value, itself to be found out.
    At(Box<(Self, Self)>),
    /// The same in the data, where it is found by a text.
    Lookup(Box<(Self, Self)>),
    Call(Function, Vec<Self>),
    Compare(BoolOp, Box<(Self, Self)>),
    Member(Box<(Self, Self)>),
    Array(Vec<Self>),
    Object(Vec<(Value, Self)>),
    /// A rule or function of the same package, by name: until it is resolved.
    Named(String, Vec<Self>),
    Helper(Arc<Helper>, Vec<Self>),
}

/// A plain rule or a function: everything declared under one name.
#[derive(Debug, Clone)]
pub(crate) struct Helper {
    rules: Vec<Rule>,
    default: Option<Value>,
    /// How much there is to run, with all that it needs.
    size: usize,
}

/// Reads the statements of a body from the one numbered `from`, and what comes of it; `None` when anything needs the
/// evaluator. `arguments` are those of a function.
///
/// Without `yields` it is `true`.
pub(crate) fn rule(
    arguments: &[&Expr],
    query: Option<(&Query, usize)>,
    yields: Option<&Expr>,
    imports: &Imports,
) -> Option<Rule> {
    let statements: Vec<&LiteralStmt> = query
        .iter()
        .flat_map(|(query, from)| query.stmts.iter().skip(*from))
        .collect();
    let mut reader = Reader {
        imports,
        locals: locals(arguments, &statements)?,
        used: BTreeSet::new(),
    };
    let mut known: BTreeSet<usize> = (0..arguments.len()).collect();
    let mut steps = Vec::new();
    for statement in statements {
        let step = reader.step(statement)?;
        // A name used above its declaration has the evaluator put the statements into another order, or refuse them.
        if !reader.used.is_subset(&known) {
            return None;
        }
        reader.used.clear();
        known.extend(step.declares());
        steps.push(step);
    }
    Some(Rule {
        arguments: arguments.len(),
        body: Body {
            steps,
            locals: reader.locals.len(),
        },
        yields: match yields {
            Some(expr) => reader.term(expr)?,
            None => Term::Constant(Value::Bool(true)),
        },
        once: yields.is_none_or(is_literal),
    })
}

/// As the evaluator has it: a literal that is no collection.
fn is_literal(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Number { .. }
    )
}

/// The local names of a body; `None` when one is declared twice, or in a form that needs the evaluator.
fn locals(arguments: &[&Expr], statements: &[&LiteralStmt]) -> Option<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |name: Option<&str>| {
        let name = name?;
        if name == "_" {
            return Some(());
        }
        let taken = ["input", "data"].contains(&name) || found.iter().any(|other| other == name);
        if taken {
            return None;
        }
        found.push(name.to_owned());
        Some(())
    };
    for argument in arguments {
        // Each takes a place, so none may be `_`.
        add(variable(argument).filter(|name| *name != "_"))?;
    }
    for statement in statements {
        match &statement.literal {
            Literal::SomeIn { key, value, .. } => {
                if let Some(key) = key {
                    add(variable(key))?;
                }
                add(variable(value))?;
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr {
                    op: AssignOp::ColEq,
                    lhs,
                    ..
                } = &**expr
                {
                    add(variable(lhs))?;
                }
            }
            Literal::NotExpr { .. } => {}
            Literal::SomeVars { .. } | Literal::Every { .. } => return None,
        }
    }
    Some(found)
}

fn variable(expr: &Expr) -> Option<&str> {
    if let Expr::Var { span, .. } = expr {
        Some(span.text())
    } else {
        None
    }
}

/// Reads terms, and notes which local names they use.
struct Reader<'a> {
    imports: &'a Imports,
    locals: Vec<String>,
    used: BTreeSet<usize>,
}

impl Reader<'_> {
    fn slot(&self, name: &str) -> Option<usize> {
        self.locals.iter().position(|local| local == name)
    }

    fn step(&mut self, statement: &LiteralStmt) -> Option<Step> {
        if !statement.with_mods.is_empty() {
            return None;
        }
        match &statement.literal {
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr {
                    op: AssignOp::ColEq,
                    lhs,
                    rhs,
                    ..
                } = &**expr
                {
                    let slot = self.slot(variable(lhs)?)?;
                    // One name for another is put elsewhere by the evaluator.
                    if variable(rhs).is_some() {
                        return None;
                    }
                    return Some(Step::Name(slot, self.term(rhs)?));
                }
                Some(Step::Holds(self.term(expr)?))
            }
            Literal::NotExpr { expr, .. } => Some(Step::Fails(self.term(expr)?)),
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                let key = key.as_ref().and_then(|key| self.slot(variable(key)?));
                let value = self.slot(variable(value)?);
                let of = self.term(collection)?;
                Some(Step::Each { key, value, of })
            }
            Literal::SomeVars { .. } | Literal::Every { .. } => None,
        }
    }

    fn term(&mut self, expr: &Expr) -> Option<Term> {
        if let Some(value) = constant(expr) {
            return Some(Term::Constant(value));
        }
        if let Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } = expr {
            return self.reference(expr);
        }
        if let Expr::Call { fcn, params, .. } = expr {
            return self.call(&super::survey::name(fcn)?, params);
        }
        if let Expr::BoolExpr { op, lhs, rhs, .. } = expr {
            let sides = Box::new((self.term(lhs)?, self.term(rhs)?));
            return Some(Term::Compare(op.clone(), sides));
        }
        if let Expr::Membership {
            key: None,
            value,
            collection,
            ..
        } = expr
        {
            let sides = Box::new((self.term(value)?, self.term(collection)?));
            return Some(Term::Member(sides));
        }
        self.collection(expr)
    }

    /// A built-in function, or one of the same package.
    fn call(&mut self, name: &str, parameters: &[Ref<Expr>]) -> Option<Term> {
        let root = name.split('.').next().unwrap_or_default();
        let imported = self.imports.iter().any(|(alias, _)| alias == root);
        if imported || self.slot(root).is_some() || APART.contains(&name) {
            return None;
        }
        let arguments: Option<Vec<Term>> = parameters
            .iter()
            .map(|parameter| self.term(parameter))
            .collect();
        match Function::new(name, parameters.len()) {
            Some(function) => Some(Term::Call(function, arguments?)),
            None if root == name => Some(Term::Named(name.to_owned(), arguments?)),
            None => None,
        }
    }

    fn collection(&mut self, expr: &Expr) -> Option<Term> {
        if let Expr::Array { items, .. } = expr {
            let items: Option<Vec<Term>> = items.iter().map(|item| self.term(item)).collect();
            return Some(Term::Array(items?));
        }
        let Expr::Object { fields, .. } = expr else {
            return None;
        };
        let mut members: Vec<(Value, Term)> = Vec::new();
        for (_, key, value) in fields {
            let key = constant(key)?;
            // A key twice is the evaluator's to refuse.
            if members.iter().any(|(other, _)| *other == key) {
                return None;
            }
            members.push((key, self.term(value)?));
        }
        Some(Term::Object(members))
    }

    /// `input.a.b`, `data.a[input.b]`, `local.a`, an import, or the name of a rule.
    fn reference(&mut self, expr: &Expr) -> Option<Term> {
        let mut steps: Vec<Term> = Vec::new();
        let mut at = expr;
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
            if let Expr::RefDot { field, .. } = at {
                steps.push(Term::Constant(Value::from(field.0.text())));
            }
            if let Expr::RefBrack { index, .. } = at {
                steps.push(self.term(index)?);
            }
            at = refr;
        }
        steps.reverse();
        let root = variable(at)?;
        if let Some(slot) = self.slot(root) {
            self.used.insert(slot);
            return Some(steps.into_iter().fold(Term::Local(slot), below));
        }
        let imported = self.imports.iter().find(|(alias, _)| alias == root);
        let (first, mut path): (&str, Vec<Value>) = match imported {
            Some((_, full)) => {
                let below = full.iter().skip(1).map(|step| Value::from(step.as_str()));
                (full.first()?, below.collect())
            }
            None => (root, Vec::new()),
        };
        let mut steps = steps.into_iter().peekable();
        while let Some(Term::Constant(step)) =
            steps.next_if(|step| matches!(step, Term::Constant(Value::String(_))))
        {
            path.push(step);
        }
        let base = match first {
            // The whole is never needed: it would have to be built.
            "input" | "data" if path.is_empty() => return None,
            "input" => Term::Input(Field::new(path)?),
            "data" => Term::Data(path),
            "_" => return None,
            name if path.is_empty() => Term::Named(name.to_owned(), Vec::new()),
            _ => return None,
        };
        Some(steps.fold(base, below))
    }
}

fn below(base: Term, step: Term) -> Term {
    let in_data = matches!(base, Term::Data(_) | Term::Lookup(_));
    let sides = Box::new((base, step));
    if in_data {
        Term::Lookup(sides)
    } else {
        Term::At(sides)
    }
}
