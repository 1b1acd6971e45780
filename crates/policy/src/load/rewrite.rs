//! Texts as the evaluator is given them, so that it means by them what OPA means.
//!
//! Three things are written out that the evaluator has otherwise. Variables get names that no rule has. An import of a package has it evaluate the whole package
//! wherever the name is used, so names of imports become full paths. And what a negation needs ([`super::absence`]) is
//! bound before it. Lines stay where they are; nothing else changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use regorus::Source;
use regorus::unstable::{BUILTINS, Expr, LiteralStmt, Module, Parser, Query, Rule, RuleHead, Span};

use super::absence::{self, Imports};
use super::brackets;
use super::plan::OURS;
use super::scope::{self, Scope, Visitor};
use super::survey;

/// Most rounds: what is nested in a changed statement is changed in the next.
const MAX_ROUNDS: usize = 16;

/// The text to evaluate in place of a module's own.
pub(crate) fn rewrite(name: &str, text: &Arc<str>) -> Result<Arc<str>, String> {
    let mut text = renamed(name, text)?;
    let mut bound = 0;
    for _ in 0..MAX_ROUNDS {
        if !text.contains("import") && !text.contains("not") {
            return Ok(text);
        }
        let module = parsed(name, &text)?;
        let imports = survey::imports(&module);
        let mut rewriter = Rewriter {
            imports: &imports,
            bound,
            groups: Vec::new(),
        };
        scope::walk(&module, &mut rewriter, |_, _| {});
        bound = rewriter.bound;
        if rewriter.groups.is_empty() {
            return Ok(text);
        }
        text = apply(&text, rewriter.groups).into();
    }
    Ok(text)
}

/// The text with other names for variables that have the name of a rule: the evaluator takes the rule for the variable
/// in the head of a rule.
fn renamed(name: &str, text: &Arc<str>) -> Result<Arc<str>, String> {
    let module = parsed(name, text)?;
    let mut renamer = Renamer {
        rules: BTreeSet::new(),
        edits: Vec::new(),
    };
    for rule in &module.policy {
        let refr = match &**rule {
            Rule::Default { refr, .. } => refr,
            Rule::Spec { head, .. } => match head {
                RuleHead::Compr { refr, .. }
                | RuleHead::Set { refr, .. }
                | RuleHead::Func { refr, .. } => refr,
            },
        };
        if let Expr::Var { span, .. } = scope::root(refr) {
            renamer.rules.insert(span.text());
        }
    }
    scope::walk(&module, &mut renamer, |_, _| {});
    if renamer.edits.is_empty() {
        return Ok(Arc::clone(text));
    }
    Ok(apply(text, renamer.edits).into())
}

struct Renamer<'a> {
    rules: BTreeSet<&'a str>,
    edits: Vec<Group>,
}

impl<'a> Renamer<'a> {
    fn rename(&mut self, name: &'a Span) {
        if self.rules.contains(name.text()) {
            self.edits.push(vec![Edit {
                start: name.start as usize,
                end: name.end as usize,
                text: format!("{OURS}own_{}", name.text()),
            }]);
        }
    }
}

impl<'a> Visitor<'a> for Renamer<'a> {
    fn root(&mut self, root: &'a Expr, called: Option<&'a Expr>, scope: &Scope<'a>) {
        if let Expr::Var { span, .. } = root
            && called.is_none()
            && scope.is_local(span.text())
        {
            self.rename(span);
        }
    }

    fn declared(&mut self, name: &'a Span) {
        self.rename(name);
    }

    fn negation(&mut self, _: &'a LiteralStmt, _: &'a Query, _: &Scope<'a>) {}
}

/// A module out of its text, with the limits of the evaluator.
pub(crate) fn parsed(name: &str, text: &str) -> Result<Module, String> {
    let limits = brackets::limits();
    let source = Source::from_contents_with_limits(
        name.to_owned(),
        text.to_owned(),
        limits.max_file_bytes,
        limits.max_lines,
    )
    .map_err(|error| error.to_string())?;
    let mut parser = Parser::new(&source).map_err(|error| error.to_string())?;
    parser.set_max_col(limits.max_col);
    parser
        .enable_rego_v1()
        .and_then(|()| parser.parse())
        .map_err(|error| error.to_string())
}

/// Text to put in place of that between two offsets.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// Edits that are made together or not at all.
type Group = Vec<Edit>;

struct Rewriter<'a> {
    imports: &'a Imports,
    /// Names given so far.
    bound: usize,
    groups: Vec<Group>,
}

impl<'a> Visitor<'a> for Rewriter<'_> {
    fn root(&mut self, root: &'a Expr, called: Option<&'a Expr>, scope: &Scope<'a>) {
        let Expr::Var { span, .. } = root else { return };
        let builtin = called
            .and_then(survey::name)
            .is_some_and(|name| BUILTINS.contains_key(name.as_str()));
        let hidden = called.is_none() && scope.is_local(span.text());
        let mut imports = self.imports.iter();
        if let Some((_, path)) = imports.find(|(alias, _)| alias == span.text())
            && !builtin
            && !hidden
        {
            self.groups.push(vec![Edit {
                start: span.start as usize,
                end: span.end as usize,
                text: written(path),
            }]);
        }
    }

    fn declared(&mut self, _: &'a Span) {}

    fn negation(&mut self, statement: &'a LiteralStmt, query: &'a Query, scope: &Scope<'a>) {
        let (needed, _) = absence::needed(statement, scope, self.imports);
        if needed.is_empty() {
            return;
        }
        let (start, end) = (statement.span.start as usize, ends(&statement.span));
        let with = statement.with_mods.first().map_or("", |modifier| {
            let from = modifier.span.start as usize;
            super::style::slice(&statement.span, from, statement.span.end as usize)
                .unwrap_or_default()
        });
        let mut group = Vec::new();
        let mut before = String::new();
        for needed in needed {
            let name = format!("{OURS}value_{}", self.bound);
            self.bound += 1;
            let text = absence::text(needed.expr);
            before.extend([&name, " := ", text, " ", with, "; "]);
            group.push(Edit {
                start: needed.expr.span().start as usize,
                end: ends(needed.expr.span()),
                text: name,
            });
        }
        // A body of one statement may come without braces.
        if scope.is_rule(query) && query.span.start == statement.span.start {
            before.insert_str(0, "{ ");
            group.push(Edit {
                start: end,
                end,
                text: " }".to_owned(),
            });
        }
        group.push(Edit {
            start,
            end: start,
            text: before,
        });
        group.sort();
        self.groups.push(group);
    }
}

/// The end of a place: that of a text ends before its closing quote, and so does what a text ends.
fn ends(span: &Span) -> usize {
    let end = span.end as usize;
    let quoted = span.source.contents().as_bytes().get(end).copied();
    end + usize::from(matches!(quoted, Some(b'"' | b'`')))
}

/// A path as a reference.
fn written(path: &[String]) -> String {
    let mut text = String::new();
    for (index, step) in path.iter().enumerate() {
        let plain = step
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && !step.starts_with(|letter: char| letter.is_ascii_digit());
        match (index, plain) {
            (0, _) => text.push_str(step),
            (_, true) => text.extend([".", step]),
            (_, false) => text.extend(["[", &regorus::Value::from(step.as_str()).to_string(), "]"]),
        }
    }
    text
}

/// Makes the edits; of two groups that meet only the first is made.
fn apply(text: &str, groups: Vec<Group>) -> String {
    let mut taken: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut made: Vec<Edit> = Vec::new();
    for group in groups {
        let meets = group.iter().any(|edit| {
            let before = taken.range(..(edit.end, 0)).next_back();
            before.is_some_and(|(_, end)| *end > edit.start)
        });
        if !meets {
            taken.extend(group.iter().map(|edit| (edit.start, edit.end)));
            made.extend(group);
        }
    }
    made.sort();
    let mut edited = String::with_capacity(text.len());
    let mut at = 0;
    for edit in made {
        edited.push_str(text.get(at..edit.start).unwrap_or(""));
        edited.push_str(&edit.text);
        at = edit.end;
    }
    edited.push_str(text.get(at..).unwrap_or(""));
    edited
}

#[cfg(test)]
mod tests;
