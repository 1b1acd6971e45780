//! The names a body declares, and a walk over a module that knows them.
//!
//! A name that a body declares hides a rule or an import of the same name, in the body, in what is nested in it and in
//! the head it belongs to. The evaluator looks names up in the same order.

use regorus::unstable::{
    AssignOp, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleBody, RuleHead, Span,
};

/// The names declared around a place, and the bodies it is in, outermost first.
#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    names: Vec<Vec<&'a str>>,
    bodies: Vec<&'a Query>,
    /// The body of the rule itself.
    rule: Option<&'a Query>,
}

impl<'a> Scope<'a> {
    /// Whether a body is that of the rule, not one of a comprehension or `every`.
    pub(crate) fn is_rule(&self, query: &Query) -> bool {
        self.rule.is_some_and(|rule| std::ptr::eq(rule, query))
    }

    /// Whether a name is that of a variable here.
    pub(crate) fn is_local(&self, name: &str) -> bool {
        self.names.iter().flatten().any(|local| *local == name)
    }

    /// The bodies a place is in.
    pub(crate) fn bodies(&self) -> &[&'a Query] {
        &self.bodies
    }

    /// Enters a scope with these names.
    pub(crate) fn enter(&mut self, names: Vec<&'a str>) {
        self.names.push(names);
    }

    /// Leaves the scope entered last.
    pub(crate) fn leave(&mut self) {
        self.names.pop();
    }
}

/// Receives what a walk comes by.
pub(crate) trait Visitor<'a> {
    /// A name a reference begins with; `called` where it names a function.
    fn root(&mut self, root: &'a Expr, called: Option<&'a Expr>, scope: &Scope<'a>);
    /// A name that is declared without an expression: by `some x` and `every x in ..`.
    fn declared(&mut self, name: &'a Span);
    /// A negated statement of `query`.
    fn negation(&mut self, statement: &'a LiteralStmt, query: &'a Query, scope: &Scope<'a>);
}

/// Walks all rules of a module; `begun` is called before each.
pub(crate) fn walk<'a, V: Visitor<'a>>(
    module: &'a Module,
    visitor: &mut V,
    mut begun: impl FnMut(&mut V, &'a Rule),
) {
    for rule in &module.policy {
        begun(visitor, rule);
        let mut walk = Walk {
            scope: Scope::default(),
            visitor,
        };
        match &**rule {
            Rule::Default { value, .. } => walk.expr(value),
            Rule::Spec { head, bodies, .. } => walk.rule(head, bodies),
        }
    }
}

/// The names of a function's parameters.
pub(crate) fn parameters(head: &RuleHead) -> Vec<&str> {
    let mut names = Vec::new();
    if let RuleHead::Func { args, .. } = head {
        args.iter().for_each(|arg| pattern(arg, &mut names));
    }
    names
}

/// The names a body declares.
pub(crate) fn declared(query: &Query) -> Vec<&str> {
    let mut names = Vec::new();
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => names.extend(vars.iter().map(|span| span.text())),
            Literal::SomeIn { key, value, .. } => {
                for expr in key.iter().chain([value]) {
                    pattern(expr, &mut names);
                }
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr {
                    op: AssignOp::ColEq,
                    lhs,
                    ..
                } = &**expr
                {
                    pattern(lhs, &mut names);
                }
            }
            Literal::NotExpr { .. } | Literal::Every { .. } => {}
        }
    }
    names
}

/// The names in a pattern.
fn pattern<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
    if let Expr::Var { span, .. } = expr {
        names.push(span.text());
    }
    if let Expr::Array { items, .. } = expr {
        items.iter().for_each(|item| pattern(item, names));
    }
    if let Expr::Object { fields, .. } = expr {
        fields
            .iter()
            .for_each(|(_, _, value)| pattern(value, names));
    }
}

/// The head of a reference: what its steps begin at.
pub(crate) fn root(expr: &Expr) -> &Expr {
    let mut at = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
        at = refr;
    }
    at
}

/// The expressions in the brackets of a reference.
pub(crate) fn indices(expr: &Expr) -> Vec<&Expr> {
    let mut found: Vec<&Expr> = Vec::new();
    let mut at = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
        if let Expr::RefBrack { index, .. } = at {
            found.push(index);
        }
        at = refr;
    }
    found.reverse();
    found
}

/// The expressions an operator, a call or a collection is made of; none of a reference or a comprehension.
pub(crate) fn operands(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().map(|item| &**item).collect()
        }
        Expr::Object { fields, .. } => fields
            .iter()
            .flat_map(|(_, key, value)| [&**key, &**value])
            .collect(),
        Expr::Call { params, .. } => params.iter().map(|param| &**param).collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            let key = key.iter().map(|key| &**key);
            key.chain([&**value, &**collection]).collect()
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. }
        | Expr::RefDot { .. }
        | Expr::RefBrack { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => Vec::new(),
    }
}

struct Walk<'a, 'v, V> {
    scope: Scope<'a>,
    visitor: &'v mut V,
}

impl<'a, V: Visitor<'a>> Walk<'a, '_, V> {
    fn rule(&mut self, head: &'a RuleHead, bodies: &'a [RuleBody]) {
        self.scope.enter(parameters(head));
        if let RuleHead::Func { args, .. } = head {
            args.iter().for_each(|arg| self.expr(arg));
        }
        for body in bodies {
            self.scope.rule = Some(&body.query);
            let terms = body.assign.as_ref().map(|assign| &*assign.value);
            self.body(&body.query, terms.into_iter().collect());
        }
        let made: Vec<&'a Expr> = match head {
            RuleHead::Set { refr, key, .. } => indices(refr)
                .into_iter()
                .chain(key.iter().map(|key| &**key))
                .collect(),
            RuleHead::Compr { refr, assign, .. } => indices(refr)
                .into_iter()
                .chain(assign.iter().map(|assign| &*assign.value))
                .collect(),
            RuleHead::Func { assign, .. } => assign.iter().map(|assign| &*assign.value).collect(),
        };
        let names = bodies.first().map(|body| declared(&body.query));
        self.scope.enter(names.unwrap_or_default());
        made.into_iter().for_each(|expr| self.expr(expr));
        self.scope.leave();
        self.scope.leave();
    }

    fn body(&mut self, query: &'a Query, terms: Vec<&'a Expr>) {
        self.scope.enter(declared(query));
        self.scope.bodies.push(query);
        for statement in &query.stmts {
            self.statement(statement, query);
        }
        self.scope.bodies.pop();
        terms.into_iter().for_each(|term| self.expr(term));
        self.scope.leave();
    }

    fn statement(&mut self, statement: &'a LiteralStmt, query: &'a Query) {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => {
                vars.iter().for_each(|name| self.visitor.declared(name));
            }
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                for expr in key.iter().chain([value, collection]) {
                    self.expr(expr);
                }
            }
            Literal::Expr { expr, .. } => self.expr(expr),
            Literal::NotExpr { expr, .. } => {
                self.visitor.negation(statement, query, &self.scope);
                self.expr(expr);
            }
            Literal::Every {
                key,
                value,
                domain,
                query,
                ..
            } => {
                self.expr(domain);
                for name in key.iter().chain([value]) {
                    self.visitor.declared(name);
                }
                let names = key.iter().chain([value]).map(|span| span.text());
                self.scope.enter(names.collect());
                self.body(query, Vec::new());
                self.scope.leave();
            }
        }
        for modifier in &statement.with_mods {
            self.expr(&modifier.refr);
            self.expr(&modifier.r#as);
        }
    }

    fn expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Var { .. } => self.visitor.root(expr, None, &self.scope),
            Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                indices(expr).into_iter().for_each(|index| self.expr(index));
                self.expr(root(expr));
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.body(query, vec![term]);
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => self.body(query, vec![key, value]),
            Expr::Call { fcn, .. } => {
                self.visitor.root(root(fcn), Some(fcn), &self.scope);
                operands(expr).into_iter().for_each(|part| self.expr(part));
            }
            Expr::Array { .. }
            | Expr::Set { .. }
            | Expr::Object { .. }
            | Expr::UnaryExpr { .. }
            | Expr::BinExpr { .. }
            | Expr::BoolExpr { .. }
            | Expr::ArithExpr { .. }
            | Expr::AssignExpr { .. }
            | Expr::Membership { .. } => {
                operands(expr).into_iter().for_each(|part| self.expr(part));
            }
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
        }
    }
}
