//! What the rules of a policy declare and mention, read off the syntax tree.

use std::path::PathBuf;

use regorus::Value;
use regorus::unstable::{
    Expr, Import, Literal, Module, Query, Ref, Rule, RuleAssign, RuleHead, Span,
};

use super::guard::{self, Guard};
use super::literals::Given;
use super::native;
use super::scope::{self, Scope};
use super::style::{self, Style};

/// How a rule is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `name contains ..`
    Set,
    /// `name := ..`, `name if ..`, `name[key] := ..`
    Value,
    /// `name(..) := ..`
    Function,
    /// `default name := ..`
    Default,
}

/// One rule as written.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) file: PathBuf,
    /// Package, without `data`.
    pub(crate) package: Vec<String>,
    /// The rule's own path in its package; dynamic parts end it.
    pub(crate) name: Vec<String>,
    pub(crate) kind: Kind,
    /// Parameters of a function.
    pub(crate) arity: usize,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Bytes of the rule in its file.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Deepest expression.
    pub(crate) depth: usize,
    /// Iterations, each within the one before when it comes to the worst.
    pub(crate) loops: usize,
    pub(crate) mentions: Vec<Mention>,
    /// Bytes of the rule's name in its file.
    pub(crate) head: (usize, usize),
    /// What the body of a set's rule asks of the input first.
    pub(crate) guards: Vec<Guard>,
    /// The rest of the body and what comes of it, when that can be had without the evaluator.
    pub(crate) native: Option<native::Rule>,
    /// Whether the body is nothing but guards.
    pub(crate) guarded: bool,
    /// The entry of a set's rule, or the value of a default, when it is a constant.
    pub(crate) constant: Option<Value>,
    /// How it is written.
    pub(crate) style: Style,
}

impl Site {
    /// `data.` with the package and the first part of the name: rules with the same node decide together.
    pub(crate) fn node(&self) -> String {
        node(&self.package, self.name.first().map_or("", String::as_str))
    }
}

/// `data.<package>.<name>`.
pub(crate) fn node(package: &[String], name: &str) -> String {
    format!("data.{}.{name}", package.join("."))
}

/// Something a rule refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) what: What,
    /// Whether it is below a `not`.
    pub(crate) negated: bool,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What it is. Paths end before the first dynamic part; `open` says that one was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// `input.a.b`
    Input { path: Vec<String>, open: bool },
    /// `data.a.b`
    Data { path: Vec<String>, open: bool },
    /// A bare name that is neither: a local variable or a rule of the same package.
    Name(String),
    /// A call.
    Call {
        path: Vec<String>,
        arity: usize,
        given: Vec<Given>,
    },
    /// `with target as replacement`; the replacement is empty when it is no name.
    With {
        target: Vec<String>,
        replacement: Vec<String>,
    },
}

/// Surveys all rules of a module.
pub(crate) fn survey(module: &Module) -> Vec<Site> {
    let file = PathBuf::from(module.package.span.source.get_path());
    let package = package(module);
    let imports = imports(module);
    module
        .policy
        .iter()
        .map(|rule| site(rule, &file, &package, &imports))
        .collect()
}

/// Aliases of a module and the full paths they stand for.
type Imports = Vec<(String, Vec<String>)>;

/// The names of a module's imports, and their paths.
pub(crate) fn imports(module: &Module) -> Imports {
    module.imports.iter().filter_map(alias).collect()
}

/// The name an import gives, and the path into `data` or `input` it stands for.
pub(crate) fn alias(import: &Import) -> Option<(String, Vec<String>)> {
    let (path, _) = chain(&import.refr)?;
    let own = import.r#as.as_ref().map(|span| span.text().to_owned());
    let alias = own.or_else(|| path.last().cloned())?;
    matches!(path.first().map(String::as_str), Some("data" | "input")).then_some((alias, path))
}

/// The package of a module, without `data`.
pub(crate) fn package(module: &Module) -> Vec<String> {
    chain(&module.package.refr)
        .map(|(path, _)| path)
        .unwrap_or_default()
}

fn site<'a>(
    rule: &'a Rule,
    file: &std::path::Path,
    package: &[String],
    imports: &'a Imports,
) -> Site {
    let span = rule.span();
    let mut walk = Walk {
        imports,
        mentions: Vec::new(),
        depth: 0,
        deepest: 0,
        loops: 0,
        scope: Scope::default(),
        negated: false,
    };
    let (kind, refr, arity): (Kind, &'a Expr, usize) = match rule {
        Rule::Spec { head, bodies, .. } => {
            walk.scope.enter(scope::parameters(head));
            for body in bodies {
                let assigned = body.assign.as_ref().map(|assign| &*assign.value);
                walk.query(&body.query, assigned.as_slice());
            }
            let names = bodies.first().map(|body| scope::declared(&body.query));
            walk.scope.enter(names.unwrap_or_default());
            walk.head(head)
        }
        Rule::Default {
            refr, args, value, ..
        } => {
            walk.expr(value);
            let kind = if args.is_empty() {
                Kind::Default
            } else {
                Kind::Function
            };
            (kind, refr, args.len())
        }
    };
    let direct = direct(rule, imports);
    let name = root(refr).span();
    Site {
        head: (name.start as usize, name.end as usize),
        guards: direct.guards,
        native: direct.native,
        guarded: direct.guarded,
        constant: direct.constant,
        style: style::style(rule),
        file: file.to_owned(),
        package: package.to_vec(),
        name: chain(refr).map(|(path, _)| path).unwrap_or_default(),
        kind,
        arity,
        line: span.line,
        column: span.col,
        start: span.start as usize,
        end: span.end as usize,
        depth: walk.deepest,
        loops: walk.loops,
        mentions: walk.mentions,
    }
}

/// What of a rule needs no evaluator.
#[derive(Default)]
struct Direct {
    guards: Vec<Guard>,
    native: Option<native::Rule>,
    guarded: bool,
    constant: Option<Value>,
}

fn direct(rule: &Rule, imports: &Imports) -> Direct {
    let (head, bodies) = match rule {
        Rule::Spec { head, bodies, .. } => (head, bodies.as_slice()),
        Rule::Default { args, value, .. } => {
            return Direct {
                constant: guard::constant(value).filter(|_| args.is_empty()),
                ..Direct::default()
            };
        }
    };
    let query = match bodies {
        [] => None,
        [body] => Some(&body.query),
        [..] => return Direct::default(),
    };
    match head {
        RuleHead::Set { key: Some(key), .. } => {
            let (guards, past) = query.map_or_else(Default::default, |query| guard::guards(query));
            Direct {
                guarded: query.is_none_or(|query| query.stmts.len() == past),
                native: native::rule(&[], query.map(|query| (&**query, past)), Some(key), imports),
                constant: guard::constant(key),
                guards,
            }
        }
        RuleHead::Compr { refr, assign, .. } if matches!(&**refr, Expr::Var { .. }) => {
            let value = assign.as_ref().map(|assign| &*assign.value);
            Direct {
                native: native::rule(&[], query.map(|query| (&**query, 0)), value, imports),
                ..Direct::default()
            }
        }
        RuleHead::Func {
            refr, args, assign, ..
        } if matches!(&**refr, Expr::Var { .. }) => {
            let value = assign.as_ref().map(|assign| &*assign.value);
            let arguments: Vec<&Expr> = args.iter().map(|argument| &**argument).collect();
            let query = query.map(|query| (&**query, 0));
            Direct {
                native: native::rule(&arguments, query, value, imports),
                ..Direct::default()
            }
        }
        RuleHead::Set { .. } | RuleHead::Compr { .. } | RuleHead::Func { .. } => Direct::default(),
    }
}

/// The name of a function called, with its dots.
pub(crate) fn name(function: &Expr) -> Option<String> {
    chain(function)
        .filter(|(_, open)| !open)
        .map(|(path, _)| path.join("."))
}

/// The static parts of a reference, and whether a dynamic part follows; `None` when it does not begin with a name.
fn chain(expr: &Expr) -> Option<(Vec<String>, bool)> {
    let mut parts = Vec::new();
    let mut open = false;
    let mut at = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
        if let Expr::RefDot { field, .. } = at {
            parts.push(field.0.text().to_owned());
        }
        if let Expr::RefBrack { index, .. } = at {
            if let Some(part) = text(index) {
                parts.push(part);
            } else {
                parts.clear();
                open = true;
            }
        }
        at = refr;
    }
    let Expr::Var { span, .. } = at else {
        return None;
    };
    parts.push(span.text().to_owned());
    parts.reverse();
    Some((parts, open))
}

/// What a reference begins with: where an author would look for it.
fn root(expr: &Expr) -> &Expr {
    let mut at = expr;
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
        at = refr;
    }
    at
}

/// The value of a text.
pub(crate) fn text(expr: &Expr) -> Option<String> {
    let (Expr::String { value, .. } | Expr::RawString { value, .. }) = expr else {
        return None;
    };
    value.as_string().ok().map(|text| text.to_string())
}

struct Walk<'a> {
    imports: &'a Imports,
    mentions: Vec<Mention>,
    depth: usize,
    deepest: usize,
    loops: usize,
    scope: Scope<'a>,
    negated: bool,
}

impl<'a> Walk<'a> {
    fn head<'r>(&mut self, head: &'r RuleHead) -> (Kind, &'r Expr, usize)
    where
        'r: 'a,
    {
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                self.indices(refr);
                self.assign(assign.as_ref());
                (Kind::Value, refr, 0)
            }
            RuleHead::Set { refr, key, .. } => {
                self.indices(refr);
                if let Some(key) = key {
                    self.expr(key);
                }
                (Kind::Set, refr, 0)
            }
            RuleHead::Func {
                refr, args, assign, ..
            } => {
                for argument in args {
                    self.expr(argument);
                }
                self.assign(assign.as_ref());
                (Kind::Function, refr, args.len())
            }
        }
    }

    fn assign(&mut self, assign: Option<&'a RuleAssign>) {
        if let Some(assign) = assign {
            self.expr(&assign.value);
        }
    }

    /// Walks a body, and the terms that see its names.
    fn query(&mut self, query: &'a Query, terms: &[&'a Expr]) {
        self.depth += 1;
        self.scope.enter(scope::declared(query));
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn {
                    key,
                    value,
                    collection,
                    ..
                } => {
                    self.loops += 1;
                    for expr in key.iter().chain([value, collection]) {
                        self.expr(expr);
                    }
                }
                Literal::Expr { expr, .. } => self.expr(expr),
                Literal::NotExpr { expr, .. } => {
                    self.negated = !self.negated;
                    self.expr(expr);
                    self.negated = !self.negated;
                }
                Literal::Every {
                    key,
                    value,
                    domain,
                    query,
                    ..
                } => {
                    self.loops += 1;
                    self.expr(domain);
                    let names = key.iter().chain([value]).map(Span::text);
                    self.scope.enter(names.collect());
                    self.query(query, &[]);
                    self.scope.leave();
                }
            }
            for modifier in &statement.with_mods {
                self.expr(&modifier.refr);
                self.expr(&modifier.r#as);
                let target = chain(&modifier.refr)
                    .map(|(path, _)| self.aliased(path))
                    .unwrap_or_default();
                let replacement = chain(&modifier.r#as)
                    .map(|(path, _)| self.aliased(path))
                    .unwrap_or_default();
                self.mention(
                    &modifier.span,
                    What::With {
                        target,
                        replacement,
                    },
                );
            }
        }
        self.depth -= 1;
        terms.iter().for_each(|term| self.expr(term));
        self.scope.leave();
    }

    fn expr(&mut self, expr: &'a Expr) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.inner(expr);
        self.depth -= 1;
    }

    fn exprs(&mut self, exprs: &'a [Ref<Expr>]) {
        for expr in exprs {
            self.expr(expr);
        }
    }

    fn inner(&mut self, expr: &'a Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.exprs(items),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query, &[term]);
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => {
                self.query(query, &[key, value]);
            }
            Expr::Call { fcn, params, .. } => self.call(fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => {
                for expr in key.iter().chain([value, collection]) {
                    self.expr(expr);
                }
            }
        }
    }

    fn reference(&mut self, expr: &'a Expr) {
        self.indices(expr);
        if let Some((path, open)) = chain(expr) {
            // A name of the body's own is neither a rule nor an import.
            if path.first().is_some_and(|name| self.scope.is_local(name)) {
                return;
            }
            let what = self.resolve(path, open);
            self.mention(root(expr).span(), what);
        }
    }

    /// Walks what stands in the brackets of a reference, and its root when that is computed.
    fn indices(&mut self, expr: &'a Expr) {
        let mut at = expr;
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at {
            if let Expr::RefBrack { index, .. } = at
                && text(index).is_none()
            {
                self.loops += 1;
                self.expr(index);
            }
            at = refr;
        }
        if !matches!(at, Expr::Var { .. }) {
            self.expr(at);
        }
    }

    fn call(&mut self, fcn: &'a Expr, params: &'a [Ref<Expr>]) {
        let Some((path, _)) = chain(fcn) else {
            return self.expr(fcn);
        };
        // `object.get(input, "tool", ..)` reads one field, not the whole input.
        if let (true, [object, key, rest @ ..]) = (path == ["object", "get"], params)
            && let (Expr::Var { span: name, .. }, Some(field)) = (object.as_ref(), first_text(key))
            && name.text() == "input"
        {
            self.mention(
                name,
                What::Input {
                    path: vec![field],
                    open: true,
                },
            );
            self.exprs(rest);
        } else {
            self.exprs(params);
        }
        let path = self.aliased(path);
        self.mention(
            root(fcn).span(),
            What::Call {
                path,
                arity: params.len(),
                given: params.iter().map(|param| given(param)).collect(),
            },
        );
    }

    fn aliased(&self, path: Vec<String>) -> Vec<String> {
        let Some(first) = path.first() else {
            return path;
        };
        match self.imports.iter().find(|(alias, _)| alias == first) {
            Some((_, full)) => full.iter().chain(path.iter().skip(1)).cloned().collect(),
            None => path,
        }
    }

    fn resolve(&self, path: Vec<String>, open: bool) -> What {
        let mut path = self.aliased(path);
        match path.first().map(String::as_str) {
            Some("input") => What::Input {
                path: path.split_off(1),
                open,
            },
            Some("data") => What::Data {
                path: path.split_off(1),
                open,
            },
            Some(_) | None => What::Name(path.into_iter().next().unwrap_or_default()),
        }
    }

    fn mention(&mut self, span: &Span, what: What) {
        self.mentions.push(Mention {
            what,
            negated: self.negated,
            line: span.line,
            column: span.col,
        });
    }
}

/// An argument, as far as it is written out.
fn given(expr: &Expr) -> Given {
    let items = if let Expr::Array { items, .. } = expr {
        Some(items.len())
    } else {
        None
    };
    Given {
        value: guard::constant(expr),
        items,
    }
}

fn first_text(expr: &Expr) -> Option<String> {
    if let Expr::Array { items, .. } = expr {
        return items.first().and_then(|item| text(item));
    }
    text(expr)
}
