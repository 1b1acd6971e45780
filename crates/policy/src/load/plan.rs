//! What an evaluator is built from: the texts, and which parts of each set to ask for when.
//!
//! A set is taken apart into units. Rules that begin with the same guards become one unit that is asked for only where
//! the guards hold; rules that are nothing but guards and a constant need no evaluator and leave its texts. A set that
//! another rule reads stays whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use regorus::Value;

use super::check::{DECISIONS, OBLIGATIONS, PACKAGE};
use super::files::{File, Kind};
use super::graph::Graph;
use super::guard::Guard;
use super::native::{self, Resolver};
use super::rewrite::rewrite;
use super::survey::Site;

/// Begins the names this file gives to parts of sets.
pub(crate) const OURS: &str = "keepgate_";

/// The texts one evaluator is made from, and the units of the sets they declare.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// File names and texts.
    pub(crate) modules: Vec<(String, Arc<str>)>,
    pub(crate) allow: Vec<Unit>,
    pub(crate) approve: Vec<Unit>,
    pub(crate) deny: Vec<Unit>,
    pub(crate) visible: Vec<Unit>,
    /// Each obligation declared, by its name.
    pub(crate) obligations: Vec<(&'static str, Vec<Unit>)>,
}

/// A part of a set that is empty unless all its guards hold.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) guards: Vec<Guard>,
    pub(crate) then: Then,
}

/// Where the entries of a unit come from.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    /// These, as written.
    Entries(Vec<Value>),
    /// What comes of this rule.
    Run(native::Rule),
    /// The evaluator's value of this rule.
    Ask(String),
}

impl Unit {
    fn whole(name: &str) -> Self {
        Self {
            guards: Vec::new(),
            then: Then::Ask(format!("data.{PACKAGE}.{name}")),
        }
    }
}

impl Plan {
    /// All units.
    pub(crate) fn units(&self) -> impl Iterator<Item = &Unit> {
        let decisions = [&self.deny, &self.approve, &self.allow, &self.visible];
        let obligations = self.obligations.iter().map(|(_, units)| units);
        decisions.into_iter().chain(obligations).flatten()
    }

    /// Whether nothing would be asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.units().next().is_none()
    }
}

/// Plans the files in force for one phase. Rules of the deciding and obliging sets that `speaks` does not say yes to are
/// left out; sets are taken apart when `split`.
///
/// A rule that reads what a phase does not have must not hold there, not even through a `not`.
pub(crate) fn plan(
    files: &[File],
    sites: &[Site],
    graph: &Graph,
    speaks: &dyn Fn(&Site) -> bool,
    split: bool,
) -> Result<Plan, String> {
    let mut edits = Edits::default();
    let mut plan = Plan::default();
    // Sets of which no rule is left, and which other rules still name.
    let mut emptied: Vec<(&Path, &str)> = Vec::new();
    let mut resolver = Resolver::new(sites, PACKAGE);
    for name in DECISIONS.into_iter().chain(OBLIGATIONS) {
        let (rules, out): (Vec<&Site>, Vec<&Site>) =
            declared(sites, name).partition(|site| speaks(site));
        if let Some(site) = out.first()
            && rules.is_empty()
            && graph.is_needed(&site.node())
        {
            emptied.push((&site.file, name));
        }
        out.into_iter().for_each(|site| edits.blank(site));
        let whole = !split
            || rules
                .first()
                .is_some_and(|site| graph.is_needed(&site.node()));
        let units = match (rules.is_empty(), whole) {
            (true, _) => continue,
            (false, true) => vec![Unit::whole(name)],
            (false, false) => units(name, &rules, &mut resolver, &mut edits),
        };
        match name {
            "allow" => plan.allow = units,
            "approve" => plan.approve = units,
            "deny" => plan.deny = units,
            "visible" => plan.visible = units,
            obligation => plan.obligations.push((obligation, units)),
        }
    }
    plan.modules = files
        .iter()
        .filter(|file| file.kind == Kind::Rules)
        .map(|file| {
            let mut text = edits.apply(&file.path, &file.text);
            for (_, name) in emptied.iter().filter(|(path, _)| *path == file.path) {
                text = format!("{text}\n{name} contains \"never\" if false\n").into();
            }
            let path = file.path.display().to_string();
            let text = rewrite(&path, &text)?;
            Ok((path, text))
        })
        .collect::<Result<_, String>>()?;
    Ok(plan)
}

/// The rules of one set.
fn declared<'a>(sites: &'a [Site], name: &str) -> impl Iterator<Item = &'a Site> {
    let deciding = |site: &&Site| site.package.join(".") == PACKAGE;
    sites
        .iter()
        .filter(deciding)
        .filter(move |site| site.name.first().is_some_and(|first| first == name))
}

/// Takes the rules of a set apart.
fn units<'a>(
    name: &str,
    rules: &[&'a Site],
    resolver: &mut Resolver<'a>,
    edits: &mut Edits<'a>,
) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut constants: BTreeMap<&[Guard], Vec<Value>> = BTreeMap::new();
    let mut asked: BTreeMap<&[Guard], String> = BTreeMap::new();
    for site in rules {
        let guards = site.guards.as_slice();
        if let (true, Some(entry)) = (site.guarded, &site.constant) {
            constants.entry(guards).or_default().push(entry.clone());
            edits.blank(site);
            continue;
        }
        let native = site.native.as_ref();
        match (native.and_then(|rule| resolver.rule(rule)), guards) {
            (Some((rule, _)), guards) => {
                units.push(Unit {
                    guards: guards.to_vec(),
                    then: Then::Run(rule),
                });
                edits.blank(site);
            }
            (None, []) => {
                asked.entry(&[]).or_insert_with(|| name.to_owned());
            }
            (None, guards) => {
                let number = asked.len();
                let part = asked
                    .entry(guards)
                    .or_insert_with(|| format!("{OURS}{name}_{number}"));
                edits.rename(site, part);
            }
        }
    }
    let constants = constants.into_iter().map(|(guards, entries)| Unit {
        guards: guards.to_vec(),
        then: Then::Entries(entries),
    });
    let asked = asked.into_iter().map(|(guards, part)| Unit {
        guards: guards.to_vec(),
        ..Unit::whole(&part)
    });
    units.extend(constants.chain(asked));
    units
}

/// Changes to the texts that leave every line where it was.
#[derive(Default)]
struct Edits<'a>(BTreeMap<&'a Path, Vec<Edit>>);

/// From and to in bytes, and the name to put there; none blanks.
type Edit = (usize, usize, Option<String>);

impl<'a> Edits<'a> {
    fn blank(&mut self, site: &'a Site) {
        self.0
            .entry(&site.file)
            .or_default()
            .push((site.start, site.end, None));
    }

    fn rename(&mut self, site: &'a Site, name: &str) {
        let (start, end) = site.head;
        self.0
            .entry(&site.file)
            .or_default()
            .push((start, end, Some(name.to_owned())));
    }

    fn apply(&mut self, path: &Path, text: &Arc<str>) -> Arc<str> {
        let Some(mut edits) = self.0.remove(path) else {
            return Arc::clone(text);
        };
        edits.sort();
        let mut edited = String::with_capacity(text.len());
        let mut at = 0;
        for (start, mut end, name) in edits {
            // The place of a text ends before its closing quote, and so does that of a rule it ends.
            if name.is_none() && matches!(text.as_bytes().get(end), Some(b'"' | b'`')) {
                end += 1;
            }
            edited.push_str(text.get(at..start).unwrap_or(""));
            let old = text.get(start..end).unwrap_or("");
            match name {
                Some(name) => edited.push_str(&name),
                None => edited.extend(
                    old.chars()
                        .map(|letter| if letter == '\n' { letter } else { ' ' }),
                ),
            }
            at = end;
        }
        edited.push_str(text.get(at..).unwrap_or(""));
        edited.into()
    }
}

#[cfg(test)]
mod tests;
