//! What is written in a rule that says more about its author than about its meaning: conditions that are none, `=`
//! for `==`, keys of entries. And what a test is made of, when its cases are data.

use std::collections::BTreeSet;

use regorus::Value;
use regorus::unstable::{
    AssignOp, BoolOp, Expr, Literal, LiteralStmt, Query, Rule, RuleBody, RuleHead, Span,
};

use super::guard::constant;
use super::metadata;

/// A place in a file: line and column.
pub(crate) type Place = (u32, u32);

/// What was found in one rule.
#[derive(Debug, Default)]
pub(crate) struct Style {
    /// Whether it has a body.
    pub(crate) conditional: bool,
    /// Statements whose truth is known without looking at anything.
    pub(crate) truths: Vec<(Place, bool)>,
    /// Where a whole body is such statements that hold.
    pub(crate) always: Option<Place>,
    /// Statements `a = b`.
    pub(crate) unified: Vec<Place>,
    /// The keys of a set's entry that is written as an object.
    pub(crate) keys: Vec<(String, Place)>,
    /// Of a test whose cases are data: the key of a case, and the statements that go through them.
    pub(crate) cases: Option<Cases>,
    /// The code a test is expected to fail with.
    pub(crate) expects: Option<String>,
}

/// How the cases of a test are gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cases {
    /// The expression that names a case.
    pub(crate) key: String,
    /// The statements that bind what it needs.
    pub(crate) statements: Vec<String>,
}

/// Looks at one rule.
pub(crate) fn style(rule: &Rule) -> Style {
    let Rule::Spec { head, bodies, .. } = rule else {
        return Style::default();
    };
    let mut style = Style {
        conditional: !bodies.is_empty(),
        keys: keys(head),
        cases: cases(head, bodies),
        expects: metadata::expected(rule.span().source.contents(), rule.span().line),
        ..Style::default()
    };
    for body in bodies {
        let truths: Vec<(Place, bool)> = body.query.stmts.iter().filter_map(truth).collect();
        if truths.len() == body.query.stmts.len() && truths.iter().all(|(_, holds)| *holds) {
            style.always = truths.first().map(|(place, _)| *place);
        }
        style.truths.extend(truths);
        style
            .unified
            .extend(body.query.stmts.iter().filter_map(unified));
    }
    style
}

fn place(span: &Span) -> Place {
    (span.line, span.col)
}

/// Whether a statement holds, when nothing it says can change.
fn truth(statement: &LiteralStmt) -> Option<(Place, bool)> {
    let (expr, negated) = match &statement.literal {
        Literal::Expr { expr, .. } => (expr, false),
        Literal::NotExpr { expr, .. } => (expr, true),
        Literal::SomeVars { .. } | Literal::SomeIn { .. } | Literal::Every { .. } => return None,
    };
    let value = if let Expr::BoolExpr { op, lhs, rhs, .. } = expr.as_ref() {
        compared(op, &constant(lhs)?, &constant(rhs)?)?
    } else {
        constant(expr)? != Value::Bool(false)
    };
    Some((place(&statement.span), value != negated))
}

fn compared(op: &BoolOp, one: &Value, other: &Value) -> Option<bool> {
    match op {
        BoolOp::Eq => Some(one == other),
        BoolOp::Ne => Some(one != other),
        BoolOp::Lt | BoolOp::Le | BoolOp::Gt | BoolOp::Ge => None,
    }
}

fn unified(statement: &LiteralStmt) -> Option<Place> {
    let Literal::Expr { expr, .. } = &statement.literal else {
        return None;
    };
    let Expr::AssignExpr {
        op: AssignOp::Eq,
        span,
        ..
    } = expr.as_ref()
    else {
        return None;
    };
    Some(place(span))
}

fn keys(head: &RuleHead) -> Vec<(String, Place)> {
    let RuleHead::Set { key: Some(key), .. } = head else {
        return Vec::new();
    };
    let Expr::Object { fields, .. } = key.as_ref() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (_, key, _) in fields {
        if let Some(Value::String(text)) = constant(key) {
            found.push((text.to_string(), place(key.span())));
        }
    }
    found
}

/// The cases of `name[key] if { some .. in ..; .. }` and `name contains key if { .. }`.
fn cases(head: &RuleHead, bodies: &[RuleBody]) -> Option<Cases> {
    let [body] = bodies else { return None };
    let (name, key, end) = match head {
        RuleHead::Compr { span, refr, assign } => {
            let Expr::RefBrack { refr, index, .. } = refr.as_ref() else {
                return None;
            };
            let end = assign.as_ref().map_or(span.end, |assign| assign.span.start);
            (refr, index, end)
        }
        RuleHead::Set {
            span,
            refr,
            key: Some(key),
        } => (refr, key, span.end),
        RuleHead::Set { key: None, .. } | RuleHead::Func { .. } => return None,
    };
    let Expr::Var { span: name, .. } = name.as_ref() else {
        return None;
    };
    if !name.text().starts_with("test_") {
        return None;
    }
    let text = slice(name, name.end as usize, end as usize)?.trim();
    let text = match text.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None => text.strip_prefix("contains")?,
    };
    let mut needed = BTreeSet::new();
    names(key, &mut needed);
    let statements = leading(&body.query, &needed)?;
    Some(Cases {
        key: text.trim().to_owned(),
        statements,
    })
}

/// The text of a file between two offsets. A text's own span ends before its closing quote.
pub(crate) fn slice(span: &Span, start: usize, end: usize) -> Option<&str> {
    let text = span.source.contents();
    let closed = match text.as_bytes().get(end) {
        Some(b'"' | b'`') => end + 1,
        Some(_) | None => end,
    };
    text.get(start..closed)
}

/// The statements a body begins with that go through cases: `some .. in ..`, and as many more as the key needs.
fn leading(query: &Query, needed: &BTreeSet<String>) -> Option<Vec<String>> {
    let all: BTreeSet<String> = query.stmts.iter().flat_map(bound).collect();
    let mut missing: BTreeSet<&String> = needed.intersection(&all).collect();
    let mut taken = Vec::new();
    for statement in &query.stmts {
        let goes_through = matches!(statement.literal, Literal::SomeIn { .. });
        let names = bound(statement);
        if !goes_through && (missing.is_empty() || names.is_empty()) {
            break;
        }
        for name in &names {
            missing.remove(name);
        }
        let span = &statement.span;
        // A statement may begin with a text, whose span begins behind its quote.
        taken.push(slice(span, span.start as usize, span.end as usize)?.to_owned());
    }
    (missing.is_empty() && !taken.is_empty()).then_some(taken)
}

/// The names a statement gives a value.
fn bound(statement: &LiteralStmt) -> Vec<String> {
    let mut found = BTreeSet::new();
    match &statement.literal {
        Literal::SomeIn { key, value, .. } => {
            for pattern in key.iter().chain([value]) {
                names(pattern, &mut found);
            }
        }
        Literal::Expr { expr, .. } => {
            if let Expr::AssignExpr {
                op: AssignOp::ColEq,
                lhs,
                ..
            } = expr.as_ref()
            {
                names(lhs, &mut found);
            }
        }
        Literal::SomeVars { .. } | Literal::NotExpr { .. } | Literal::Every { .. } => {}
    }
    found.into_iter().collect()
}

/// The bare names in an expression, as far as they matter for patterns and keys.
fn names(expr: &Expr, found: &mut BTreeSet<String>) {
    match expr {
        Expr::Var { span, .. } => {
            found.insert(span.text().to_owned());
        }
        Expr::RefDot { refr, .. } => names(refr, found),
        Expr::RefBrack { refr, index, .. } => {
            names(refr, found);
            names(index, found);
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| names(item, found));
        }
        Expr::Object { fields, .. } => {
            for (_, _, value) in fields {
                names(value, found);
            }
        }
        Expr::Call { params, .. } => params.iter().for_each(|param| names(param, found)),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            names(lhs, found);
            names(rhs, found);
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. }
        | Expr::UnaryExpr { .. }
        | Expr::Membership { .. } => {}
    }
}
