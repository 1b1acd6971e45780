//! Putting rules in the place of their names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regorus::Value;

use super::super::survey::{Kind, Site};
use super::{Body, Helper, Rule, Step, Term};

/// Most statements that are run for one rule with all it needs: what a rule needs twice is run twice.
const MOST: usize = 400;

/// The plain rules of a package, by name, resolved as they are asked for.
pub(crate) struct Resolver<'a> {
    sites: BTreeMap<&'a str, Vec<&'a Site>>,
    /// First steps of paths into `data` that lead to rules.
    virtual_roots: BTreeSet<&'a str>,
    resolved: BTreeMap<String, Option<Arc<Helper>>>,
}

impl<'a> Resolver<'a> {
    /// The rules of `package` among `sites`, which must have no circle.
    pub(crate) fn new(sites: &'a [Site], package: &str) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&Site>> = BTreeMap::new();
        for site in sites {
            if site.package.join(".") == package
                && let Some(name) = site.name.first()
            {
                by_name.entry(name).or_default().push(site);
            }
        }
        Self {
            sites: by_name,
            virtual_roots: sites
                .iter()
                .filter_map(|site| site.package.first().map(String::as_str))
                .collect(),
            resolved: BTreeMap::new(),
        }
    }

    /// The rule with all it needs; `None` when some of that needs the evaluator.
    pub(crate) fn rule(&mut self, rule: &Rule) -> Option<(Rule, usize)> {
        let mut size = rule.body.steps.len() + 1;
        let mut steps = Vec::with_capacity(rule.body.steps.len());
        for step in &rule.body.steps {
            steps.push(match step {
                Step::Holds(term) => Step::Holds(self.term(term, &mut size)?),
                Step::Fails(term) => Step::Fails(self.term(term, &mut size)?),
                Step::Name(slot, term) => Step::Name(*slot, self.term(term, &mut size)?),
                Step::Each { key, value, of } => Step::Each {
                    key: *key,
                    value: *value,
                    of: self.term(of, &mut size)?,
                },
            });
        }
        let resolved = Rule {
            arguments: rule.arguments,
            body: Body {
                steps,
                locals: rule.body.locals,
            },
            yields: self.term(&rule.yields, &mut size)?,
            once: rule.once,
        };
        (size <= MOST).then_some((resolved, size))
    }

    fn term(&mut self, term: &Term, size: &mut usize) -> Option<Term> {
        let mut pair = |sides: &(Term, Term)| {
            Some(Box::new((
                self.term(&sides.0, size)?,
                self.term(&sides.1, size)?,
            )))
        };
        Some(match term {
            Term::Constant(_) | Term::Input(_) | Term::Local(_) | Term::Helper(..) => term.clone(),
            Term::Data(path) => {
                let documents = match path.first() {
                    Some(Value::String(root)) => !self.virtual_roots.contains(&**root),
                    Some(_) | None => false,
                };
                return documents.then(|| term.clone());
            }
            Term::At(sides) => Term::At(pair(sides)?),
            Term::Lookup(sides) => Term::Lookup(pair(sides)?),
            Term::Member(sides) => Term::Member(pair(sides)?),
            Term::Compare(operator, sides) => Term::Compare(operator.clone(), pair(sides)?),
            Term::Call(function, arguments) => {
                // A rule of the policy's own comes before the built-in function of its name.
                let name = function.name();
                if self.sites.contains_key(name) {
                    return self.named(name, arguments, size);
                }
                let root = name.split('.').next().unwrap_or_default();
                if self.sites.contains_key(root) {
                    return None;
                }
                Term::Call(function.clone(), self.terms(arguments, size)?)
            }
            Term::Array(items) => Term::Array(self.terms(items, size)?),
            Term::Object(members) => {
                let members: Option<Vec<(Value, Term)>> = members
                    .iter()
                    .map(|(key, value)| Some((key.clone(), self.term(value, size)?)))
                    .collect();
                Term::Object(members?)
            }
            Term::Named(name, arguments) => return self.named(name, arguments, size),
        })
    }

    fn named(&mut self, name: &str, arguments: &[Term], size: &mut usize) -> Option<Term> {
        let helper = self.helper(name)?;
        // What has no rule has a default, and takes no arguments.
        let takes = helper
            .rules
            .iter()
            .all(|rule| rule.arguments == arguments.len());
        if !takes || (helper.rules.is_empty() && !arguments.is_empty()) {
            return None;
        }
        *size += helper.size;
        Some(Term::Helper(helper, self.terms(arguments, size)?))
    }

    fn terms(&mut self, terms: &[Term], size: &mut usize) -> Option<Vec<Term>> {
        terms.iter().map(|term| self.term(term, size)).collect()
    }

    fn helper(&mut self, name: &str) -> Option<Arc<Helper>> {
        if let Some(known) = self.resolved.get(name) {
            return known.clone();
        }
        let made = self.make(name).map(Arc::new);
        self.resolved.insert(name.to_owned(), made.clone());
        made
    }

    fn make(&mut self, name: &str) -> Option<Helper> {
        let mut helper = Helper {
            rules: Vec::new(),
            default: None,
            size: 1,
        };
        for site in self.sites.get(name)?.clone() {
            if site.name.len() != 1 {
                return None;
            }
            match site.kind {
                Kind::Default => helper.default = Some(site.constant.clone()?),
                Kind::Value | Kind::Function => {
                    let (rule, size) = self.rule(site.native.as_ref()?)?;
                    helper.size += size;
                    helper.rules.push(rule);
                }
                Kind::Set => return None,
            }
        }
        Some(helper)
    }
}
