//! What tests went through: lines that were evaluated, and rules that held at least once.
//!
//! The evaluator tells lines. For rules it is given a marked copy of the files: where a rule's value or entry is made,
//! which happens when its conditions hold and not before, the copy calls a function that notes the rule and gives the
//! value on. Lines stay what they are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use regorus::unstable::{Module, Rule, RuleAssign, RuleHead, Span};
use regorus::{Engine, Value};

use crate::engine;
use crate::load::files::{File, Kind};
use crate::load::style::slice;

/// The function the marked copy calls: the rule's number and its value, which it gives on.
const MARK: &str = "keepgate.mark";

/// What tests went through, file by file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The files in force, in order of their names; files without rules are left out.
    pub files: Vec<FileCoverage>,
}

/// What tests went through of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCoverage {
    /// The file.
    pub file: PathBuf,
    /// Lines something of which was evaluated, from 1.
    pub covered: BTreeSet<u32>,
    /// Lines nothing of which was.
    pub missed: BTreeSet<u32>,
    /// The rules, in order of their lines.
    pub rules: Vec<RuleCoverage>,
}

/// Whether a rule, or one `else` of it, held in any test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCoverage {
    /// The line it begins in, from 1.
    pub line: u32,
    /// Its name; of an `else` the name of its rule.
    pub name: String,
    /// Whether it held.
    pub held: bool,
}

impl Coverage {
    /// Lines that were evaluated, and all that could have been.
    #[must_use]
    pub fn lines(&self) -> (usize, usize) {
        sum(self.files.iter().map(FileCoverage::lines))
    }

    /// Rules that held, and all there are.
    #[must_use]
    pub fn rules(&self) -> (usize, usize) {
        sum(self.files.iter().map(FileCoverage::rules))
    }

    /// The lesser of both, in hundredths, rounded down: 100 means all.
    #[must_use]
    pub fn percent(&self) -> u8 {
        percent(self.lines()).min(percent(self.rules()))
    }
}

impl FileCoverage {
    /// Lines that were evaluated, and all that could have been.
    #[must_use]
    pub fn lines(&self) -> (usize, usize) {
        (self.covered.len(), self.covered.len() + self.missed.len())
    }

    /// Rules that held, and all there are.
    #[must_use]
    pub fn rules(&self) -> (usize, usize) {
        let held = self.rules.iter().filter(|rule| rule.held).count();
        (held, self.rules.len())
    }
}

fn sum(parts: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    parts.fold((0, 0), |(done, all), (more, of)| (done + more, all + of))
}

/// Hundredths, rounded down; nothing of nothing is all.
#[must_use]
pub fn percent((done, all): (usize, usize)) -> u8 {
    let hundredths = done.saturating_mul(100).checked_div(all).unwrap_or(100);
    u8::try_from(hundredths).unwrap_or(100)
}

/// One rule of the marked copy.
#[derive(Debug)]
struct Mark {
    file: PathBuf,
    line: u32,
    name: String,
}

/// The marks of a copy, and which of them were passed.
#[derive(Debug)]
pub(crate) struct Marks {
    marks: Vec<Mark>,
    passed: Arc<Mutex<BTreeSet<usize>>>,
    lines: Vec<(PathBuf, u32)>,
}

impl Marks {
    /// Marks those of `files` that are among `in_force`.
    pub(crate) fn set(files: &mut [File], in_force: &[File]) -> Result<Self, String> {
        let mut marks = Self {
            marks: Vec::new(),
            passed: Arc::default(),
            lines: Vec::new(),
        };
        for original in in_force.iter().filter(|file| file.kind == Kind::Rules) {
            let count = original.text.lines().count();
            marks.lines.push((
                original.path.clone(),
                u32::try_from(count).unwrap_or(u32::MAX),
            ));
            let insertions = marks.of_file(original)?;
            if let Some(file) = files.iter_mut().find(|file| file.path == original.path) {
                file.text = insert(&file.text, insertions).into();
            }
        }
        Ok(marks)
    }

    /// Finds the rules of a file; gives what is to be inserted where.
    fn of_file(&mut self, file: &File) -> Result<Vec<(usize, String)>, String> {
        let mut engine = engine::bare()?;
        let name = file.path.display().to_string();
        engine
            .add_policy(name.clone(), file.text.to_string())
            .map_err(|error| error.to_string())?;
        let mut insertions = Vec::new();
        let modules = engine.get_modules().iter();
        for module in modules.filter(|module| *module.package.span.source.get_path() == name) {
            self.of_module(file, module, &mut insertions);
        }
        Ok(insertions)
    }

    fn of_module(&mut self, file: &File, module: &Module, insertions: &mut Vec<(usize, String)>) {
        for rule in &module.policy {
            let Rule::Spec { span, head, bodies } = rule.as_ref() else {
                continue;
            };
            let Some((name, value)) = made(head) else {
                continue;
            };
            self.mark(file, span.line, &name, value, insertions);
            for body in bodies.iter().filter(|body| body.is_else) {
                let value = match &body.assign {
                    Some(assign) => of_assign(assign),
                    None => Made::Nothing(body.span.start as usize + "else".len()),
                };
                self.mark(file, body.span.line, &name, value, insertions);
            }
        }
    }

    fn mark(
        &mut self,
        file: &File,
        line: u32,
        name: &str,
        value: Made,
        insertions: &mut Vec<(usize, String)>,
    ) {
        let number = self.marks.len();
        match value {
            Made::Value(start, end) => {
                insertions.push((start, format!(" {MARK}({number}, ")));
                insertions.push((end, ")".to_owned()));
            }
            Made::Nothing(at) => insertions.push((at, format!(" := {MARK}({number}, true)"))),
        }
        self.marks.push(Mark {
            file: file.path.clone(),
            line,
            name: name.to_owned(),
        });
    }

    /// Gives an engine the function the marks call.
    pub(crate) fn install(&self, engine: &mut Engine) -> Result<(), String> {
        let passed = Arc::clone(&self.passed);
        let note = move |values: Vec<Value>| {
            let mut values = values.into_iter();
            if let Some(number) = values.next().and_then(|number| number.as_u64().ok()) {
                let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
                passed.insert(usize::try_from(number).unwrap_or(usize::MAX));
            }
            Ok(values.next().unwrap_or(Value::Undefined))
        };
        engine
            .add_extension(MARK.to_owned(), 2, Box::new(note))
            .map_err(|error| error.to_string())
    }

    /// What was gone through.
    pub(crate) fn report(&self, engine: &Engine) -> Coverage {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let told = engine.get_coverage_report().unwrap_or_default();
        let file = |(path, count): &(PathBuf, u32)| {
            let name = path.display().to_string();
            let lines = told.files.iter().find(|file| file.path == name);
            let within = |lines: &BTreeSet<u32>| lines.range(..=*count).copied().collect();
            let rule = |(number, mark): (usize, &Mark)| RuleCoverage {
                line: mark.line,
                name: mark.name.clone(),
                held: passed.contains(&number),
            };
            let own = self
                .marks
                .iter()
                .enumerate()
                .filter(|(_, mark)| mark.file == *path);
            FileCoverage {
                file: path.clone(),
                covered: lines
                    .map(|lines| within(&lines.covered))
                    .unwrap_or_default(),
                missed: lines
                    .map(|lines| within(&lines.not_covered))
                    .unwrap_or_default(),
                rules: own.map(rule).collect(),
            }
        };
        let files = self.lines.iter().map(file);
        Coverage {
            files: files.filter(|file| !file.rules.is_empty()).collect(),
        }
    }
}

/// Where a rule makes its value.
#[derive(Debug, Clone, Copy)]
enum Made {
    /// Between these offsets.
    Value(usize, usize),
    /// Nowhere: it is `true`, and could be said here.
    Nothing(usize),
}

/// The name of a rule, and where its value or entry is made; `None` for the rare head that cannot be marked.
fn made(head: &RuleHead) -> Option<(String, Made)> {
    match head {
        RuleHead::Compr { span, refr, assign }
        | RuleHead::Func {
            span, refr, assign, ..
        } => {
            let value = match assign {
                Some(assign) => of_assign(assign),
                None => Made::Nothing(end(span)),
            };
            let name = refr.span();
            let name = slice(name, span.start as usize, name.end as usize)?;
            Some((first_word(name), value))
        }
        RuleHead::Set {
            span,
            key: Some(key),
            ..
        } => {
            let text = slice(span, span.start as usize, span.end as usize)?;
            let before = key.span().start.saturating_sub(span.start) as usize;
            let word = "contains";
            let at = text.get(..before)?.rfind(word)? + word.len();
            let start = span.start as usize + at;
            Some((first_word(text), Made::Value(start, end(span))))
        }
        RuleHead::Set { key: None, .. } => None,
    }
}

fn first_word(text: &str) -> String {
    let end =
        text.find(|letter: char| letter.is_whitespace() || matches!(letter, '(' | '[' | ':' | '='));
    text.get(..end.unwrap_or(text.len()))
        .unwrap_or(text)
        .to_owned()
}

fn of_assign(assign: &RuleAssign) -> Made {
    let operator = slice(
        &assign.span,
        assign.span.start as usize,
        assign.span.end as usize,
    )
    .map_or(0, |text| if text.starts_with(":=") { 2 } else { 1 });
    Made::Value(assign.span.start as usize + operator, end(&assign.span))
}

/// Where a span really ends: one that ends with a text ends before its closing quote.
fn end(span: &Span) -> usize {
    let end = span.end as usize;
    match span.source.contents().as_bytes().get(end) {
        Some(b'"' | b'`') => end + 1,
        Some(_) | None => end,
    }
}

/// The text with all insertions.
fn insert(text: &str, mut insertions: Vec<(usize, String)>) -> String {
    insertions.sort_by_key(|(at, _)| *at);
    let mut marked = String::with_capacity(text.len() + insertions.len() * 24);
    let mut from = 0;
    for (at, words) in insertions {
        marked.push_str(text.get(from..at).unwrap_or(""));
        marked.push_str(&words);
        from = at;
    }
    marked.push_str(text.get(from..).unwrap_or(""));
    marked
}

#[cfg(test)]
mod tests;
