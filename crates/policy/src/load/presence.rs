//! Negations that have no answer where something is absent: what [`super::absence`] finds, rule by rule.
//!
//! In a set that restricts, such a rule falls silent and the call passes, so it is refused at load. In `allow` and
//! `visible` it does not hold, which is safe and may surprise: a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regorus::Value;
use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Rule, Span};

use super::absence::{self, Imports, Needed};
use super::check::{DECISIONS, LOG, OBLIGATIONS, PACKAGE};
use super::graph::Graph;
use super::scope::{self, Scope, Visitor};
use super::shape::Shape;
use super::survey::{self, Kind, Site, node};
use crate::problem::Problem;

/// Findings in all modules.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Problems for which the policy is not loaded.
    pub(crate) problems: Vec<Problem>,
    /// Warnings.
    pub(crate) warnings: Vec<Problem>,
}

/// Looks at all negations of active rules. The graph must have no cycle.
pub(crate) fn look(modules: &[&Module], sites: &[Site], data: &Value, graph: &Graph) -> Found {
    let roots = |wanted: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        let deciding = sites.iter().filter(|site| {
            let name = site.name.first().map_or("", String::as_str);
            let ours = DECISIONS.contains(&name) || OBLIGATIONS.contains(&name);
            site.package.join(".") == PACKAGE && ours && wanted(name)
        });
        deciding.map(Site::node).collect()
    };
    let permits = |name: &str| matches!(name, "allow" | "visible");
    let (restricting, narrowing) = graph.directions(sites, roots(&|name| !permits(name)));
    let (permitting, _) = graph.directions(sites, roots(&permits));
    let mut looker = Looker {
        sites,
        data,
        shape: Shape::input(),
        starts: sites
            .iter()
            .map(|site| ((site.file.as_path(), site.start), site))
            .collect(),
        restricting,
        permitting: permitting.union(&narrowing).cloned().collect(),
        imports: Vec::new(),
        site: None,
        found: Found::default(),
    };
    for module in modules {
        looker.imports = survey::imports(module);
        scope::walk(module, &mut looker, |looker, rule| looker.begin(rule));
    }
    looker.found
}

struct Looker<'s> {
    sites: &'s [Site],
    data: &'s Value,
    shape: Shape,
    starts: BTreeMap<(&'s Path, usize), &'s Site>,
    restricting: BTreeSet<String>,
    permitting: BTreeSet<String>,
    imports: Vec<(String, Vec<String>)>,
    /// The rule the walk is in; none for one of our own.
    site: Option<&'s Site>,
    found: Found,
}

impl<'a> Visitor<'a> for Looker<'_> {
    fn root(&mut self, _: &'a Expr, _: Option<&'a Expr>, _: &Scope<'a>) {}

    fn declared(&mut self, _: &'a Span) {}

    fn negation(&mut self, statement: &'a LiteralStmt, _: &'a Query, scope: &Scope<'a>) {
        let Some(site) = self.site else { return };
        if site.package.join(".") == LOG {
            return;
        }
        if let Some(wildcard) = wildcard(statement) {
            let span = wildcard.span();
            self.found.problems.push(
                Problem::at(&site.file, span.line, span.col, "`_` below `not`").hint(
                    "OPA refuses it as well: write `every x in .. { not .. }`, or a rule of its own that the `not` names",
                ),
            );
            return;
        }
        let restricts = self.restricting.contains(&site.node());
        if !restricts && !self.permitting.contains(&site.node()) {
            return;
        }
        let imports: &Imports = &self.imports;
        let (needed, tested) = absence::needed(statement, scope, imports);
        let missing = needed.iter().find(|needed| {
            !self.comes_with(&needed.way, &tested) && !self.defined(needed, site, scope)
        });
        let Some(missing) = missing else { return };
        let written = absence::text(missing.expr);
        let span = &statement.span;
        let at = |message: String| Problem::at(&site.file, span.line, span.col, message);
        if restricts {
            let name = site.name.first().map_or("", String::as_str);
            self.found.problems.push(
                at(format!(
                    "where there is no `{written}` this `not` has no answer, and `{name}` falls silent"
                ))
                .hint(cure(statement, missing, scope)),
            );
        } else {
            self.found.warnings.push(
                at(format!(
                    "where there is no `{written}` this `not` has no answer, and the rule does not hold"
                ))
                .hint(format!("name `{written}` in the same body to say so")),
            );
        }
    }
}

impl<'s> Looker<'s> {
    fn begin(&mut self, rule: &Rule) {
        let span = rule.span();
        let path = Path::new(span.source.get_path());
        self.site = self.starts.get(&(path, span.start as usize)).copied();
    }

    /// Whether a part of the input is there wherever something tested is: `input.tool.labels` with `input.tool.name`. Rules
    /// that read the answer are asked only where there is one.
    fn comes_with(&self, way: &[String], tested: &[Vec<String>]) -> bool {
        let Some((root, path)) = way.split_first() else {
            return false;
        };
        let shared = |other: &Vec<String>| {
            let pairs = other.iter().skip(1).zip(path);
            pairs.take_while(|(one, other)| one == other).count()
        };
        let tested = tested.iter().filter(|other| other.first() == Some(root));
        let known = tested.map(shared).max().unwrap_or(0);
        let known = known.max(usize::from(
            path.first().is_some_and(|part| part == "response"),
        ));
        root == "input" && self.shape.always_has(path, known)
    }

    /// Whether something always has a value.
    fn defined(&self, needed: &Needed<'_>, site: &Site, scope: &Scope<'_>) -> bool {
        let Some((root, below)) = needed.way.split_first() else {
            return false;
        };
        match root.as_str() {
            "input" => self.shape.always_has(below, 0),
            "data" => {
                self.in_data(below)
                    || self.is_rule(|site| {
                        below.len() == site.package.len() + 1
                            && below.starts_with(&site.package)
                            && below.last() == site.name.first()
                    })
            }
            name if scope.is_local(name) || !below.is_empty() => false,
            name => {
                let node = node(&site.package, name);
                self.is_rule(|site| site.node() == node)
            }
        }
    }

    /// Whether one of these rules gives a value whatever the input is.
    fn is_rule(&self, named: impl Fn(&Site) -> bool) -> bool {
        self.sites.iter().any(|site| {
            let always = match site.kind {
                Kind::Set | Kind::Default => true,
                Kind::Value => !site.style.conditional && site.mentions.is_empty(),
                Kind::Function => false,
            };
            always && site.name.len() == 1 && named(site)
        })
    }

    fn in_data(&self, path: &[String]) -> bool {
        let below = path.iter().try_fold(self.data, |at, step| {
            at.as_object().ok()?.get(&Value::from(step.as_str()))
        });
        below.is_some()
    }
}

/// Two lines that say what is meant.
fn cure(statement: &LiteralStmt, missing: &Needed<'_>, scope: &Scope<'_>) -> String {
    let written = absence::text(missing.expr);
    let Literal::NotExpr { expr, .. } = &statement.literal else {
        return String::new();
    };
    let root = missing.way.first().map_or("", String::as_str);
    if scope.is_local(root) {
        return format!(
            "give it a name first, so that it is there:\n    value := {written}\n    not .. value .."
        );
    }
    format!(
        "a rule may be undefined below `not`, so name the condition (or, where calls without it may pass, test `{written}` in this body):\n    not fine\n    fine if {}",
        absence::text(expr)
    )
}

/// A `_` in what is negated; those of comprehensions are their own.
fn wildcard(statement: &LiteralStmt) -> Option<&Expr> {
    let Literal::NotExpr { expr, .. } = &statement.literal else {
        return None;
    };
    let mut waiting: Vec<&Expr> = vec![expr];
    while let Some(expr) = waiting.pop() {
        if matches!(expr, Expr::Var { span, .. } if span.text() == "_") {
            return Some(expr);
        }
        waiting.extend(scope::operands(expr));
        waiting.extend(scope::indices(expr));
        let root = scope::root(expr);
        if !std::ptr::eq(root, expr) {
            waiting.push(root);
        }
    }
    None
}

#[cfg(test)]
mod tests;
