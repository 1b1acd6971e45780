//! Values without which a negation has no answer.
//!
//! `not f(input.a)` is undefined to OPA where `input.a` is: arguments are bound before the negation. The evaluator has it
//! true, and so an allowance that relies on it is wider than its author thinks. Bound first are the arguments of calls,
//! operators and collections, and what is in the brackets of a reference; the two sides of `==`, and a reference on its
//! own, are not.

use regorus::unstable::{AssignOp, BUILTINS, BoolOp, Expr, Literal, LiteralStmt};

use super::scope::{self, Scope};
use super::style::slice;
use super::survey;
use crate::functions;

/// Names of imports, and the paths they mean.
pub(crate) type Imports = [(String, Vec<String>)];

/// An expression without which a negation has no answer.
#[derive(Debug)]
pub(crate) struct Needed<'a> {
    pub(crate) expr: &'a Expr,
    /// The way of a reference, step by step, imports resolved; a call is one step.
    pub(crate) way: Vec<String>,
}

/// The values a negated statement needs and the bodies around it do not test, and the ways of those they test.
pub(crate) fn needed<'a>(
    statement: &'a LiteralStmt,
    scope: &Scope<'a>,
    imports: &Imports,
) -> (Vec<Needed<'a>>, Vec<Vec<String>>) {
    let Literal::NotExpr { expr, .. } = &statement.literal else {
        return Default::default();
    };
    let mut found = Vec::new();
    if let Expr::BoolExpr {
        op: BoolOp::Eq,
        lhs,
        rhs,
        ..
    }
    | Expr::AssignExpr {
        op: AssignOp::Eq,
        lhs,
        rhs,
        ..
    } = &**expr
    {
        side(lhs, scope, &mut found);
        side(rhs, scope, &mut found);
    } else if let Expr::Call { params, .. } = &**expr {
        params.iter().for_each(|one| value(one, scope, &mut found));
    } else {
        side(expr, scope, &mut found);
    }
    let mut tested = Vec::new();
    // What a statement with `with` tests is another input.
    for statement in scope.bodies().iter().flat_map(|body| &body.stmts) {
        match &statement.literal {
            Literal::Expr { expr, .. } if statement.with_mods.is_empty() => {
                tests(expr, scope, imports, &mut tested);
            }
            Literal::SomeIn { collection, .. } if statement.with_mods.is_empty() => {
                tests(collection, scope, imports, &mut tested);
            }
            Literal::Expr { .. }
            | Literal::SomeIn { .. }
            | Literal::SomeVars { .. }
            | Literal::NotExpr { .. }
            | Literal::Every { .. } => {}
        }
    }
    let replaced = !statement.with_mods.is_empty();
    let mut needed: Vec<Needed<'a>> = Vec::new();
    for expr in found {
        let way = way(expr, scope, imports);
        if replaced || !tested.iter().any(|other| other.starts_with(&way)) {
            needed.push(Needed { expr, way });
        }
    }
    (needed, tested)
}

/// A side of a comparison: a reference may be undefined there, what is in its brackets may not.
fn side<'a>(expr: &'a Expr, scope: &Scope<'a>, found: &mut Vec<&'a Expr>) {
    if !is_reference(expr) {
        return value(expr, scope, found);
    }
    for index in scope::indices(expr) {
        value(index, scope, found);
    }
    let root = scope::root(expr);
    if !matches!(root, Expr::Var { .. }) {
        value(root, scope, found);
    }
}

/// The parts of a value that may be undefined.
fn value<'a>(expr: &'a Expr, scope: &Scope<'a>, found: &mut Vec<&'a Expr>) {
    let may_be_undefined = if let Expr::Var { span, .. } = expr {
        let name = span.text();
        !matches!(name, "input" | "data" | "_") && !scope.is_local(name)
    } else if let Expr::Call { fcn, .. } = expr {
        is_ours(fcn)
    } else {
        is_reference(expr)
    };
    if may_be_undefined {
        found.push(expr);
    } else {
        for part in scope::operands(expr) {
            value(part, scope, found);
        }
    }
}

fn is_reference(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }
    )
}

/// Whether a function is one of the policy: it may have no value for its arguments.
fn is_ours(function: &Expr) -> bool {
    survey::name(function).is_some_and(|name| {
        functions::arity(&name).is_none() && !BUILTINS.contains_key(name.as_str())
    })
}

/// The references and calls that must have a value for an expression to have one.
fn tests(expr: &Expr, scope: &Scope<'_>, imports: &Imports, found: &mut Vec<Vec<String>>) {
    if is_reference(expr) || matches!(expr, Expr::Call { .. }) {
        found.push(way(expr, scope, imports));
    }
    for part in scope::operands(expr)
        .into_iter()
        .chain(scope::indices(expr))
    {
        tests(part, scope, imports, found);
    }
}

/// The text of an expression.
pub(crate) fn text(expr: &Expr) -> &str {
    let span = expr.span();
    let start = span.start as usize;
    // The place of a text begins behind its quote, and so does that of what begins with one.
    let before = start.checked_sub(1);
    let before = before.and_then(|at| span.source.contents().as_bytes().get(at).copied());
    let start = start - usize::from(matches!(before, Some(b'"' | b'`')));
    slice(span, start, span.end as usize).unwrap_or_default()
}

fn way(expr: &Expr, scope: &Scope<'_>, imports: &Imports) -> Vec<String> {
    let mut steps = Vec::new();
    let mut at = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
        if let Expr::RefDot { field, .. } = at {
            steps.push(field.0.text().to_owned());
        }
        if let Expr::RefBrack { index, .. } = at {
            let fixed = survey::text(index);
            steps.push(fixed.unwrap_or_else(|| format!("[{}]", text(index))));
        }
        at = refr;
    }
    let Expr::Var { span, .. } = at else {
        return vec![text(expr).to_owned()];
    };
    let imported = imports
        .iter()
        .find(|(alias, _)| alias == span.text() && !scope.is_local(alias));
    match imported {
        Some((_, path)) => steps.extend(path.iter().rev().cloned()),
        None => steps.push(span.text().to_owned()),
    }
    steps.reverse();
    steps
}
