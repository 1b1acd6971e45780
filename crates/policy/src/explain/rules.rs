//! Every rule of the sets, whether it held, and where it stopped holding.
//!
//! The evaluator tells of a rule only what it yields. So each rule is taken apart at its statements: beside the policies,
//! rules of our own are loaded that hold the first statement, the first two, and so on; the first of them that is
//! undefined names the statement that failed. They are built from the author's own text, at the author's own places.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use regorus::unstable::{Module, Rule};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use crate::engine;
use crate::load::check::{DECISIONS, OBLIGATIONS, PACKAGE};
use crate::load::files::{File, Kind};
use crate::load::locate;
use crate::load::plan::OURS;
use crate::load::rewrite;
use crate::load::survey::{Mention, Site, What};
use crate::mask;

/// How long one rule may take; nobody waits for a call here.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest value that is shown, in characters.
const SHOWN: usize = 160;

/// One rule and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RuleReport {
    /// The set it belongs to: `deny`, `allow`, an obligation.
    pub set: String,
    /// The file it stands in.
    pub file: PathBuf,
    /// The line it begins on, from 1.
    pub line: u32,
    /// The title of its `METADATA`, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// All its statements hold.
    Held {
        /// What it adds to its set, as JSON.
        entries: Vec<String>,
    },
    /// A statement does not hold.
    Failed {
        /// The first one; `None` where the rule cannot be taken apart.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<FailedAt>,
    },
    /// It could not be evaluated, and the call is refused for it.
    Error {
        /// Why.
        message: String,
        /// Where.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<FailedAt>,
    },
    /// It is not asked in this phase.
    NotAsked,
}

/// A statement that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FailedAt {
    /// Its line, from 1.
    pub line: u32,
    /// Its text, on one line.
    pub text: String,
    /// What it looked at.
    pub values: Vec<Looked>,
}

/// Something a statement looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Looked {
    /// What: `input.tool.name`, `data.grants`.
    pub name: String,
    /// Its value as JSON, cut when it is long; `None` when it is not there.
    pub value: Option<String>,
}

/// One rule, taken apart.
struct Parts<'a> {
    site: &'a Site,
    title: Option<String>,
    /// The rule's head, from after the name of its set.
    head: String,
    /// The lines that import something.
    imports: Arc<str>,
    statements: Vec<Statement>,
}

/// One statement.
struct Statement {
    line: u32,
    column: u32,
    text: String,
    /// The body up to its end.
    until: String,
}

/// Reports on every rule of the sets in `files` for `input`; values are shown as `shown` has them. `is_asked` says
/// whether a rule is asked at all.
pub(crate) fn rules(
    files: &[File],
    sites: &[Site],
    data: &Value,
    input: &Value,
    shown: &Value,
    is_asked: impl Fn(&Site) -> bool,
) -> Result<Vec<RuleReport>, String> {
    let mut base = engine::bare()?;
    let mut modules = Vec::new();
    for file in files.iter().filter(|file| file.kind == Kind::Rules) {
        let name = file.path.display().to_string();
        modules.push(rewrite::parsed(&name, &file.text)?);
        let text = rewrite::rewrite(&name, &file.text)?;
        base.add_policy(name, text.to_string())
            .map_err(|error| error.to_string())?;
    }
    base.add_data(data.clone())
        .map_err(|error| error.to_string())?;
    base.set_execution_timer_config(ExecutionTimerConfig {
        limit: LIMIT,
        check_interval: std::num::NonZeroU32::MIN.saturating_add(31),
    });
    let texts: BTreeMap<&Path, &str> = files
        .iter()
        .map(|file| (file.path.as_path(), &*file.text))
        .collect();
    let mut parts: Vec<Parts<'_>> = Vec::new();
    for site in sites.iter().filter(|site| set_of(site).is_some()) {
        let text = texts.get(site.file.as_path()).copied().unwrap_or_default();
        let found = modules
            .iter()
            .find(|module| Path::new(module.package.span.source.get_path()) == site.file)
            .and_then(|module| taken_apart(site, module, text));
        parts.extend(found);
    }
    parts.sort_by_key(|part| {
        let set = set_of(part.site);
        (
            set.map(|(rank, _)| rank),
            part.site.file.clone(),
            part.site.line,
        )
    });
    let mut asker = Asker {
        base: &base,
        engine: None,
        input,
        shown,
        data,
    };
    asker.load(&parts);
    Ok(parts
        .iter()
        .enumerate()
        .map(|(index, part)| RuleReport {
            set: set_of(part.site).map_or_else(String::new, |(_, set)| set.to_owned()),
            file: part.site.file.clone(),
            line: part.site.line,
            title: part.title.clone(),
            outcome: if is_asked(part.site) {
                asker.outcome(index, part)
            } else {
                Outcome::NotAsked
            },
        })
        .collect())
}

/// The set a rule belongs to, with its place in the order in which sets are asked.
fn set_of(site: &Site) -> Option<(usize, &'static str)> {
    if site.package.join(".") != PACKAGE {
        return None;
    }
    let name = site.name.first()?;
    let order = ["deny"].into_iter().chain(OBLIGATIONS).chain(
        ["approve", "allow", "visible"]
            .into_iter()
            .filter(|set| DECISIONS.contains(set)),
    );
    order.enumerate().find(|(_, set)| set == name)
}

/// Takes a rule apart at its statements; a rule without a body has none.
fn taken_apart<'a>(site: &'a Site, module: &Module, text: &str) -> Option<Parts<'a>> {
    let rule = module
        .policy
        .iter()
        .find(|rule| rule.span().start as usize == site.start)?;
    let Rule::Spec { bodies, .. } = rule.as_ref() else {
        return None;
    };
    let imports: Vec<&str> = text
        .lines()
        .filter(|line| line.trim_start().starts_with("import "))
        .collect();
    let after_name = site.head.1;
    let mut parts = Parts {
        site,
        title: title(text, site.line),
        head: String::new(),
        imports: imports.join("\n").into(),
        statements: Vec::new(),
    };
    let [body] = bodies.as_slice() else {
        parts.head = whole(text, after_name, site.end)?;
        return Some(parts);
    };
    let query = &body.query;
    let (mut start, mut end) = (query.span.start as usize, query.span.end as usize);
    let starts: Vec<usize> = query
        .stmts
        .iter()
        .map(|statement| opened(text, statement.span.start as usize))
        .collect();
    let first = *starts.first()?;
    start = start.min(first);
    let head = text.get(after_name..start)?.trim_end();
    parts.head = head
        .strip_suffix("if")
        .unwrap_or(head)
        .trim_end()
        .to_owned();
    let is_braced = text.get(start..)?.starts_with('{') && first > start;
    if is_braced {
        let inside = text.get(start..end)?.trim_end();
        end = start + inside.strip_suffix('}').unwrap_or(inside).len();
    } else {
        end = closed(text, end);
    }
    for (index, (statement, own)) in query.stmts.iter().zip(&starts).enumerate() {
        let until = starts.get(index + 1).copied().unwrap_or(end);
        let own = text.get(*own..until)?;
        parts.statements.push(Statement {
            line: statement.span.line,
            column: statement.span.col,
            text: one_line(own),
            until: text
                .get(first..until)?
                .trim_end()
                .trim_end_matches(';')
                .to_owned(),
        });
    }
    Some(parts)
}

/// The place of a text begins after its opening quote.
fn opened(text: &str, start: usize) -> usize {
    let before = start.checked_sub(1).and_then(|at| text.as_bytes().get(at));
    start - usize::from(matches!(before, Some(b'"' | b'`')))
}

/// The place of a text ends before its closing quote.
fn closed(text: &str, end: usize) -> usize {
    if matches!(text.as_bytes().get(end), Some(b'"' | b'`')) {
        end + 1
    } else {
        end
    }
}

fn whole(text: &str, start: usize, end: usize) -> Option<String> {
    text.get(start..closed(text, end)).map(str::to_owned)
}

/// A statement without comments and line breaks.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.trim();
        // A `#` within quotes is none that begins a comment.
        let comment = line.match_indices('#').find(|(at, _)| {
            line.get(..*at)
                .is_some_and(|before| before.matches('"').count() % 2 == 0)
        });
        comment
            .and_then(|(at, _)| line.get(..at))
            .unwrap_or(line)
            .trim_end()
    });
    let text = lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    text.trim_end_matches(';').trim_end().to_owned()
}

/// The title in the `METADATA` comment above a rule.
fn title(text: &str, line: u32) -> Option<String> {
    let above: Vec<&str> = text.lines().take((line as usize).checked_sub(1)?).collect();
    let comment = above
        .iter()
        .rev()
        .map_while(|line| line.trim_start().strip_prefix('#'));
    let mut title = None;
    for line in comment {
        let line = line.trim();
        if line == "METADATA" {
            return title;
        }
        if let Some(text) = line.strip_prefix("title:") {
            title = Some(text.trim().trim_matches(['"', '\'']).to_owned());
        }
    }
    None
}

/// Asks for parts of rules.
struct Asker<'a> {
    base: &'a Engine,
    /// With all parts of all rules, where they can be loaded together.
    engine: Option<Engine>,
    input: &'a Value,
    shown: &'a Value,
    data: &'a Value,
}

impl Asker<'_> {
    /// Loads all parts together. One that cannot stand alone, because a name it uses is bound further down, spoils them
    /// all; then each rule is loaded by itself.
    fn load(&mut self, parts: &[Parts<'_>]) {
        let mut modules: BTreeMap<&Path, String> = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            let module = modules
                .entry(part.site.file.as_path())
                .or_insert_with(|| module(part));
            module.push_str(&entries(index, part));
            for number in 0..part.statements.len() {
                module.push_str(&prefix(index, part, number));
            }
        }
        self.engine = self.with(modules.into_values());
    }

    fn with(&self, modules: impl Iterator<Item = String>) -> Option<Engine> {
        let mut engine = self.base.clone();
        for (number, module) in modules.enumerate() {
            let name = format!("keepgate/explain_{number}.rego");
            let module = rewrite::rewrite(&name, &module.into()).ok()?;
            engine.add_policy(name, module.to_string()).ok()?;
        }
        engine.set_input(self.input.clone());
        let probe = || engine.eval_rule("data.keepgate.probe.ready".to_owned());
        catch_unwind(AssertUnwindSafe(probe)).ok()?.ok()?;
        Some(engine)
    }

    fn outcome(&mut self, index: usize, part: &Parts<'_>) -> Outcome {
        let together = self.engine.clone();
        let alone = |texts: String| self.with(std::iter::once(module(part) + &texts));
        let engine = together.or_else(|| alone(entries(index, part)));
        let held =
            match engine.map(|mut engine| ask(&mut engine, &format!("{OURS}explain_{index}"))) {
                Some(Ok(Value::Set(entries))) if !entries.is_empty() => {
                    let entries = entries.iter_sorted().map(json).collect();
                    return Outcome::Held { entries };
                }
                Some(Ok(_)) => Ok(()),
                Some(Err(message)) => Err(message),
                None => Err("the rule cannot be asked by itself".to_owned()),
            };
        let stopped = (0..part.statements.len()).find_map(|number| {
            let name = format!("{OURS}explain_{index}_{number}");
            let engine = self.engine.clone().or_else(|| {
                self.with(std::iter::once(module(part) + &prefix(index, part, number)))
            });
            // What cannot be asked without the statements after it says nothing of itself.
            let answer = ask(&mut engine?, &name);
            (!matches!(answer, Ok(Value::Bool(true)))).then_some(number)
        });
        let at = stopped.and_then(|number| self.failed(part, number));
        match held {
            Ok(()) => Outcome::Failed { at },
            Err(message) => Outcome::Error { message, at },
        }
    }

    /// The statement that failed, and what it looked at.
    fn failed(&mut self, part: &Parts<'_>, number: usize) -> Option<FailedAt> {
        let statement = part.statements.get(number)?;
        let begins = (statement.line, statement.column);
        let next = part.statements.get(number + 1);
        let ends = next.map_or((u32::MAX, 0), |next| (next.line, next.column));
        let own = |mention: &&Mention| (begins..ends).contains(&(mention.line, mention.column));
        let mut values: Vec<Looked> = Vec::new();
        for mention in part.site.mentions.iter().filter(own) {
            if let Some(looked) = self.looked(part.site, &mention.what)
                && !values.iter().any(|other| other.name == looked.name)
            {
                values.push(looked);
            }
        }
        Some(FailedAt {
            line: statement.line,
            text: statement.text.clone(),
            values,
        })
    }

    fn looked(&self, site: &Site, what: &What) -> Option<Looked> {
        match what {
            What::Input { path, .. } if !path.is_empty() => Some(Looked {
                name: format!("input.{}", path.join(".")),
                value: mask::at(self.shown, path).map(json),
            }),
            What::Data { path, .. } if !path.is_empty() => {
                let name = format!("data.{}", path.join("."));
                let found = mask::at(self.data, path).map(json);
                let value = found.or_else(|| self.rule(&name));
                Some(Looked { name, value })
            }
            What::Name(name) => {
                let value = self.rule(&format!("data.{}.{name}", site.package.join(".")))?;
                Some(Looked {
                    name: name.clone(),
                    value: Some(value),
                })
            }
            What::Input { .. } | What::Data { .. } | What::Call { .. } | What::With { .. } => None,
        }
    }

    /// The value of a rule, if there is one of this name.
    fn rule(&self, path: &str) -> Option<String> {
        let mut engine = self.base.clone();
        engine.set_input(self.input.clone());
        let asked = catch_unwind(AssertUnwindSafe(|| engine.eval_rule(path.to_owned())));
        let value = asked.ok()?.ok()?;
        (value != Value::Undefined).then(|| json(&value))
    }
}

/// The beginning of a module in the package and with the imports of a rule.
fn module(part: &Parts<'_>) -> String {
    format!("package {PACKAGE}\n{}\n", part.imports)
}

/// The rule under a name of its own.
fn entries(index: usize, part: &Parts<'_>) -> String {
    let head = format!("{OURS}explain_{index}{}", part.head);
    match part.statements.last() {
        Some(last) => format!("{head} if {{\n{}\n}}\n", last.until),
        None => format!("{head}\n"),
    }
}

/// The rule's first statements, up to and with this one.
fn prefix(index: usize, part: &Parts<'_>, number: usize) -> String {
    let until = part
        .statements
        .get(number)
        .map_or("", |statement| statement.until.as_str());
    format!("{OURS}explain_{index}_{number} if {{\n{until}\n}}\n")
}

fn ask(engine: &mut Engine, name: &str) -> Result<Value, String> {
    let rule = format!("data.{PACKAGE}.{name}");
    match catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(locate::message(&error.to_string())),
        Err(_) => Err("the evaluator failed".to_owned()),
    }
}

/// A value's JSON on one line, cut when it is long.
fn json(value: &Value) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests;
