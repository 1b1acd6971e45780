//! What must hold of a policy before it may decide anything.
//!
//! The evaluator finds an unknown function or a misspelt path only when a call gets there, and a misspelt path is
//! worse than an error: under `not` it lets everything pass. So both are refused here, with their place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use regorus::Value;
use regorus::unstable::BUILTINS;

use super::entry;
use super::graph::{Fault, Graph, Readers, meet};
use super::literals::{self, Given};
use super::nearest::nearest;
use super::shape::Shape;
use super::survey::{Kind, Mention, Site, What, node};
use crate::functions;
use crate::problem::Problem;
use crate::shadow;

/// The package authors write their decisions in.
pub(crate) const PACKAGE: &str = "mcp.authz";
/// The package they say in what the decision log leaves out.
pub(crate) const LOG: &str = "system.log";
/// The sets that decide.
pub(crate) const DECISIONS: [&str; 4] = ["allow", "approve", "deny", "visible"];
/// The sets that oblige.
pub(crate) const OBLIGATIONS: [&str; 10] = [
    "audit",
    "credential",
    "labels",
    "limit",
    "max_bytes",
    "max_records",
    "notify",
    "redact",
    "set_arguments",
    "timeout",
];
/// Most iterations (`some .. in`, `every`, `x[y]`) in one rule.
const MAX_LOOPS: usize = 32;
/// Deepest expression.
const MAX_DEPTH: usize = 48;
/// Functions no rule in force may call: a decision must be repeatable, and in time.
const BARRED: [(&str, &str); 5] = [
    (
        "graph.reachable_paths",
        "it can take exponential time; use `graph.reachable`",
    ),
    ("time.now_ns", "use `input.request.time_ns`"),
    (
        "rand.intn",
        "a decision must be the same each time it is asked for",
    ),
    (
        "uuid.rfc4122",
        "a decision must be the same each time it is asked for",
    ),
    ("opa.runtime", "the environment is not part of the input"),
];

/// Checks `sites` (all rules, tests among them when `testing`) against each other and against the data, and what of it
/// may be absent.
pub(crate) fn check(
    sites: &[Site],
    (data, optional): (&Value, &[Vec<String>]),
    graph: &Graph,
    testing: bool,
) -> Vec<Problem> {
    let mut check = Check::new(sites, data, testing);
    check.optional = optional;
    let mut problems = Vec::new();
    match graph.fault() {
        Some(Fault::Cycle(nodes)) => problems.push(check.cycle(&nodes)),
        Some(Fault::Chain(node)) => problems.push(check.at_node(
            &node,
            format!(
                "more than {} rules that need each other in a row, beginning with `{node}`",
                super::graph::MAX_CHAIN
            ),
        )),
        None => {}
    }
    // A graph with a circle has no readers to tell.
    if problems.is_empty() {
        let answers = graph.readers(&["response"], false);
        problems.extend(sites.iter().filter_map(|site| check.silent(site, &answers)));
    }
    for site in sites {
        problems.extend(check.declared(site, graph));
        if !testing && site.package.join(".") == PACKAGE {
            problems.extend(entry::check(site));
        }
        problems.extend(
            site.mentions
                .iter()
                .filter_map(|mention| check.mention(site, mention)),
        );
    }
    problems
}

struct Check<'a> {
    sites: &'a [Site],
    data: &'a Value,
    /// Paths that may lead nowhere: they are declared.
    optional: &'a [Vec<String>],
    testing: bool,
    shape: Shape,
    /// What the rules on the decision log see.
    event: Shape,
    /// Functions by node, with the numbers of parameters they are declared with.
    functions: BTreeMap<String, BTreeSet<usize>>,
    /// All rules by node with their full names.
    rules: BTreeSet<String>,
    packages: BTreeSet<String>,
    /// Packages that more than one file adds to, or to a package below.
    spread: BTreeSet<Vec<String>>,
}

impl<'a> Check<'a> {
    fn new(sites: &'a [Site], data: &'a Value, testing: bool) -> Self {
        let mut check = Self {
            sites,
            data,
            optional: &[],
            testing,
            shape: Shape::input(),
            event: Shape::event(),
            functions: BTreeMap::new(),
            rules: BTreeSet::new(),
            packages: BTreeSet::new(),
            spread: BTreeSet::new(),
        };
        let mut homes: BTreeMap<&Vec<String>, BTreeSet<&PathBuf>> = BTreeMap::new();
        for site in sites {
            let full = node(&site.package, &site.name.join("."));
            if site.kind == Kind::Function {
                check
                    .functions
                    .entry(full.clone())
                    .or_default()
                    .insert(site.arity);
            }
            check.rules.insert(full);
            check
                .packages
                .insert(format!("data.{}", site.package.join(".")));
            homes.entry(&site.package).or_default().insert(&site.file);
        }
        for (package, files) in &homes {
            let below = homes
                .keys()
                .any(|other| other != package && other.starts_with(package));
            if below || files.len() > 1 {
                check.spread.insert((*package).clone());
            }
        }
        check
    }

    /// What is decided before the call leaves cannot read the answer: the rule would never be asked.
    fn silent(&self, site: &Site, answers: &Readers) -> Option<Problem> {
        let name = site.name.first().map_or("", String::as_str);
        let before = matches!(name, "allow" | "approve" | "visible")
            && site.package.join(".") == PACKAGE
            && site.is_one_of(answers);
        before.then(|| {
            Problem::at(
                &site.file,
                site.line,
                site.column,
                format!("`{name}` reads `input.response`"),
            )
            .hint("of an answer only `deny` and obligations such as `redact` speak: it was allowed when it was asked for")
        })
    }

    fn cycle(&self, nodes: &[String]) -> Problem {
        let first = nodes.first().map_or("", String::as_str);
        let way = nodes
            .iter()
            .map(String::as_str)
            .chain([first])
            .collect::<Vec<_>>()
            .join(" -> ");
        self.at_node(first, format!("rules need each other in a circle: `{way}`"))
            .hint("a rule may not need itself, directly or through others")
    }

    fn at_node(&self, node: &str, message: String) -> Problem {
        match self.sites.iter().find(|site| site.node() == node) {
            Some(site) => Problem::at(&site.file, site.line, site.column, message),
            None => Problem::whole(std::path::Path::new("."), message),
        }
    }

    /// Is the rule declared where and as it may be?
    fn declared(&self, site: &Site, graph: &Graph) -> Option<Problem> {
        let at = |message: String| Problem::at(&site.file, site.line, site.column, message);
        if site.depth > MAX_DEPTH {
            return Some(
                at(format!("expression nested deeper than {MAX_DEPTH}"))
                    .hint("give its parts names: rules of their own"),
            );
        }
        // Every iteration is a frame on the stack of the thread that judges.
        if site.loops > MAX_LOOPS {
            return Some(
                at(format!("more than {MAX_LOOPS} iterations in one rule"))
                    .hint("give its parts names: rules of their own"),
            );
        }
        if let Some(message) = self.twice(site) {
            return Some(at(message).hint("one name, one meaning: rename one of the two"));
        }
        let package = site.package.join(".");
        let first = site.name.first().map_or("", String::as_str);
        if site.package.first().is_some_and(|root| root == "system") && !self.testing {
            return self.about_the_log(site, &package, first, &at);
        }
        if package != PACKAGE {
            let ours = site.package.first().is_some_and(|root| root == "mcp");
            return (ours && !self.testing).then(|| {
                at(format!("package `{package}` decides nothing"))
                    .hint(format!("decisions are made in package `{PACKAGE}`; helpers belong in a package outside `mcp`"))
            });
        }
        if first.starts_with(super::plan::OURS) {
            return Some(at(format!("the name `{first}` is the gateway's own")));
        }
        if DECISIONS.contains(&first) || OBLIGATIONS.contains(&first) {
            let plain = site.kind == Kind::Set && site.name.len() == 1;
            return (!plain).then(|| {
                at(format!("`{first}` must be a set"))
                    .hint(format!("write `{first} contains \"why\" if {{ .. }}`"))
            });
        }
        if site.kind != Kind::Set || graph.is_needed(&site.node()) {
            return None;
        }
        let problem = at(format!("nothing reads the set `{first}`"));
        Some(
            match nearest(first, DECISIONS.into_iter().chain(OBLIGATIONS)) {
                Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
                None => problem.hint(format!(
                    "the sets that decide are {}",
                    DECISIONS.map(|name| format!("`{name}`")).join(", ")
                )),
            },
        )
    }

    /// Rules on the decision log are asked for by name, and an event is dropped or masked by nothing else.
    fn about_the_log(
        &self,
        site: &Site,
        package: &str,
        first: &str,
        at: &dyn Fn(String) -> Problem,
    ) -> Option<Problem> {
        if package != LOG {
            return Some(
                at(format!("package `{package}` decides nothing")).hint(format!(
                    "of the packages below `system` only `{LOG}` is read"
                )),
            );
        }
        match (first, site.kind) {
            ("mask", Kind::Set) | ("drop", Kind::Value | Kind::Default) => None,
            ("mask", _) => Some(
                at("`mask` must be a set".to_owned())
                    .hint("write `mask contains \"/input/arguments/pin\" if { .. }`"),
            ),
            ("drop", _) => {
                Some(at("`drop` must be true or false".to_owned()).hint("write `drop if { .. }`"))
            }
            _ => None,
        }
    }

    /// What `input` is to a rule.
    fn seen_by(&self, site: &Site) -> &Shape {
        if site.package.join(".") == LOG {
            &self.event
        } else {
            &self.shape
        }
    }

    fn mention(&self, site: &Site, mention: &Mention) -> Option<Problem> {
        let at = |message: String| Problem::at(&site.file, mention.line, mention.column, message);
        match &mention.what {
            What::Input { path, .. } if self.testing && path.is_empty() => None,
            What::Input { path, .. } => self.seen_by(site).unknown(path).map(|unknown| {
                let problem = at(format!("input has no field `input.{}`", unknown.path));
                match unknown.nearest {
                    Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
                    None => problem.hint("the fields are listed in `policies/schema/input.schema.json`"),
                }
            }),
            What::Data { path, .. } => self.data_path(path).map_or_else(
                || self.whole_package(path, &at),
                |message| {
                    let hint = "a rule that reads what is not there never holds, and under `not` always does";
                    Some(at(message).hint(hint))
                },
            ),
            What::Name(_) => None,
            What::Call { path, given, .. } => self.call(site, path, given, &at),
            What::With { target, .. } => {
                let fine = self.testing || target.first().is_some_and(|first| first == "input");
                (!fine).then(|| {
                    at(format!("`with` replaces `{}`", target.join(".")))
                        .hint("rules in force may replace `input` only; tests may replace anything")
                })
            }
        }
    }

    /// Says so when the name of a rule, or its package, is that of something else as well: which of the two a reference
    /// means is then a matter of chance.
    fn twice(&self, site: &Site) -> Option<String> {
        let full = node(&site.package, &site.name.join("."));
        let below = |package: &String| package == &full || package.starts_with(&format!("{full}."));
        if self.packages.iter().any(below) {
            return Some(format!("`{full}` is a rule and a package"));
        }
        let name = site.package.join(".");
        let taken = !site.package.is_empty() && self.document(&site.package, site.package.len());
        taken.then(|| format!("`data.{name}` is a package and in the data"))
    }

    /// The evaluator takes a package for finished when it has seen the first of its files, and rules of the others
    /// then miss what they need, silently. It does so only when the package is named as a whole.
    fn whole_package(&self, path: &[String], at: &dyn Fn(String) -> Problem) -> Option<Problem> {
        let package = self
            .spread
            .iter()
            .find(|package| package.starts_with(path))?
            .join(".");
        Some(
            at(format!(
                "package `{package}`, which several files make up, is read as a whole"
            ))
            .hint(format!(
                "name the rule: `data.{package}.<rule>` in full, or import it by that name"
            )),
        )
    }

    /// Says what is missing when no rule and no document lies on this way.
    fn data_path(&self, path: &[String]) -> Option<String> {
        let full = std::iter::once("data")
            .chain(path.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(".");
        let package_above = self
            .packages
            .iter()
            .any(|package| full.starts_with(&format!("{package}.")));
        let declared = |optional: &Vec<String>| {
            path.starts_with(optional) || !path.is_empty() && optional.starts_with(path)
        };
        let found = path.is_empty()
            || self.optional.iter().any(declared)
            || self
                .packages
                .iter()
                .any(|package| package == &full || package.starts_with(&format!("{full}.")))
            || self.rules.iter().any(|rule| meet(rule, &full))
            || (!package_above || self.document(path, path.len())) && self.document(path, 1);
        (!found).then(|| format!("nothing defines `{full}`"))
    }

    /// Whether the data documents have the first `depth` steps of a path.
    fn document(&self, path: &[String], depth: usize) -> bool {
        let mut at = self.data;
        for step in path.iter().take(depth) {
            match at
                .as_object()
                .ok()
                .and_then(|object| object.get(&Value::from(step.as_str())))
            {
                Some(below) => at = below,
                None => return false,
            }
        }
        true
    }

    fn call(
        &self,
        site: &Site,
        path: &[String],
        given: &[Given],
        at: &dyn Fn(String) -> Problem,
    ) -> Option<Problem> {
        let (name, arity) = (path.join("."), given.len());
        let local = node(&site.package, &name);
        if let Some(arities) = self
            .functions
            .get(&local)
            .or_else(|| self.functions.get(&name))
        {
            let fits = arities.contains(&arity)
                || arity
                    .checked_sub(1)
                    .is_some_and(|less| arities.contains(&less));
            return (!fits).then(|| at(format!("`{name}` called with {arity} arguments")));
        }
        if name == "set" && arity == 0 {
            return None;
        }
        if name == "print" {
            return (!self.testing)
                .then(|| at("`print` in a rule in force".to_owned()).hint("only tests may print"));
        }
        if let Some((_, why)) = BARRED.iter().find(|(barred, _)| *barred == name)
            && !self.testing
        {
            return Some(at(format!("`{name}` in a rule in force")).hint(*why));
        }
        if let Some(takes) = functions::arity(&name) {
            if arity == takes {
                return self.literal(&name, given, at);
            }
            return Some(
                at(format!("`{name}` called with {arity} arguments"))
                    .hint(format!("it takes {takes}")),
            );
        }
        let Some((_, takes)) = BUILTINS.get(name.as_str()) else {
            return Some(self.unknown(&name, at));
        };
        let takes = usize::from(*takes);
        let output = arity == takes + 1 && !shadow::covers(&name);
        let variadic = matches!(name.as_str(), "walk");
        if arity != takes && !output && !variadic {
            let problem = at(format!("`{name}` called with {arity} arguments"));
            return Some(problem.hint(format!("it takes {takes}")));
        }
        self.literal(&name, given, at)
    }

    /// The fault of arguments that are written out. A test may call what fails.
    fn literal(
        &self,
        name: &str,
        given: &[Given],
        at: &dyn Fn(String) -> Problem,
    ) -> Option<Problem> {
        if self.testing {
            return None;
        }
        let wrong = literals::wrong(name, given)?;
        let problem = at(wrong.message);
        Some(match wrong.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        })
    }

    fn unknown(&self, name: &str, at: &dyn Fn(String) -> Problem) -> Problem {
        let problem = at(format!("no function `{name}`"));
        let package = name.rsplit_once('.').map_or("", |(package, _)| package);
        if self.packages.contains(&format!("data.{package}")) {
            return problem.hint(format!(
                "write `import data.{package}` at the top of the file"
            ));
        }
        if let Some(why) = functions::refused(name) {
            return problem.hint(why);
        }
        let own = self
            .functions
            .keys()
            .filter_map(|function| function.rsplit('.').next());
        match nearest(
            name,
            BUILTINS
                .keys()
                .copied()
                .filter(|known| !known.starts_with("__"))
                .chain(functions::names())
                .chain(own),
        ) {
            Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
            None => {
                problem.hint("neither a rule of this policy nor a built-in function has this name")
            }
        }
    }
}
