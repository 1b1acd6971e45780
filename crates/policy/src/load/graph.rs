//! Which rule needs which, over all files.
//!
//! The evaluator finds plain rules that need themselves, but a function that does so runs down the stack until the
//! process ends. So every cycle is refused before anything is evaluated, and so is a chain long enough to matter.

use std::collections::{BTreeMap, BTreeSet};

use super::survey::{Site, What, node};

/// Longest chain of rules and functions, each needing the next.
pub(crate) const MAX_CHAIN: usize = 32;

/// Rules as nodes (`data.<package>.<name>`), needs as edges.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
    /// What of the input each node reads itself: names of fields, empty for the whole.
    reads: BTreeMap<String, BTreeSet<String>>,
}

/// The rules that read certain fields of the input, themselves or through others.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    fields: BTreeSet<&'static str>,
    whole: bool,
    nodes: BTreeSet<String>,
}

impl Readers {
    fn reads(&self, what: &What) -> bool {
        let What::Input { path, .. } = what else {
            return false;
        };
        match path.first() {
            None => self.whole,
            Some(first) => self.fields.contains(first.as_str()),
        }
    }
}

/// What is wrong with a graph, named by one node of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// These nodes need each other, in this order.
    Cycle(Vec<String>),
    /// From this node on the chain is too long.
    Chain(String),
}

impl Graph {
    pub(crate) fn new(sites: &[Site]) -> Self {
        let mut graph = Self::default();
        for site in sites {
            graph.edges.entry(site.node()).or_default();
        }
        let nodes: Vec<String> = graph.edges.keys().cloned().collect();
        for site in sites {
            let from = site.node();
            let mut needs = BTreeSet::new();
            for mention in &site.mentions {
                targets(&nodes, &site.package, &mention.what, &mut needs);
                if let What::Input { path, .. } = &mention.what {
                    let field = path.first().cloned().unwrap_or_default();
                    graph.reads.entry(from.clone()).or_default().insert(field);
                }
            }
            graph.edges.entry(from).or_default().extend(needs);
            graph.replacements(&nodes, site);
        }
        graph
    }

    /// `with f as g` sends whoever needs `f` to `g`.
    fn replacements(&mut self, nodes: &[String], site: &Site) {
        for mention in &site.mentions {
            let What::With {
                target,
                replacement,
            } = &mention.what
            else {
                continue;
            };
            let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
            path_targets(nodes, &site.package, target, &mut from);
            path_targets(nodes, &site.package, replacement, &mut to);
            for node in from {
                self.edges
                    .entry(node)
                    .or_default()
                    .extend(to.iter().cloned());
            }
        }
    }

    /// Who reads one of `fields`, or the input as a whole if that counts as `whole`. The graph must have no cycle.
    pub(crate) fn readers(&self, fields: &[&'static str], whole: bool) -> Readers {
        let mut readers = Readers {
            fields: fields.iter().copied().collect(),
            whole,
            nodes: BTreeSet::new(),
        };
        let counts = |field: &String| {
            if field.is_empty() {
                whole
            } else {
                readers.fields.contains(field.as_str())
            }
        };
        let own = self.reads.iter();
        let own = own.filter(|(_, read)| read.iter().any(counts));
        let mut nodes: BTreeSet<String> = own.map(|(node, _)| node.clone()).collect();
        loop {
            let more: Vec<String> = self
                .edges
                .iter()
                .filter(|(from, needs)| !nodes.contains(*from) && !needs.is_disjoint(&nodes))
                .map(|(from, _)| from.clone())
                .collect();
            if more.is_empty() {
                readers.nodes = nodes;
                return readers;
            }
            nodes.extend(more);
        }
    }

    /// The nodes themselves and all they need, directly or through others.
    pub(crate) fn reached(&self, nodes: BTreeSet<String>) -> BTreeSet<String> {
        let mut waiting: Vec<String> = nodes.iter().cloned().collect();
        let mut reached = nodes;
        while let Some(node) = waiting.pop() {
            let needs = self.edges.get(&node).into_iter().flatten();
            waiting.extend(
                needs
                    .filter(|need| reached.insert((*need).clone()))
                    .cloned(),
            );
        }
        reached
    }

    /// The nodes that `roots` go by: those that widen what a root takes when they hold, and those that narrow it. Both, where
    /// one is negated at one place and not at another.
    pub(crate) fn directions(
        &self,
        sites: &[Site],
        roots: BTreeSet<String>,
    ) -> (BTreeSet<String>, BTreeSet<String>) {
        let nodes: Vec<String> = self.edges.keys().cloned().collect();
        let mut waiting: Vec<(String, bool)> = roots.into_iter().map(|root| (root, true)).collect();
        let mut seen: BTreeSet<(String, bool)> = waiting.iter().cloned().collect();
        while let Some((node, widens)) = waiting.pop() {
            for site in sites.iter().filter(|site| site.node() == node) {
                for mention in &site.mentions {
                    let mut reached = BTreeSet::new();
                    targets(&nodes, &site.package, &mention.what, &mut reached);
                    for next in reached {
                        let next = (next, widens != mention.negated);
                        if seen.insert(next.clone()) {
                            waiting.push(next);
                        }
                    }
                }
            }
        }
        let of = |wanted: bool| {
            let those = seen.iter().filter(move |(_, widens)| *widens == wanted);
            those.map(|(node, _)| node.clone()).collect()
        };
        (of(true), of(false))
    }

    /// Whether any node needs this one.
    pub(crate) fn is_needed(&self, node: &str) -> bool {
        self.edges
            .iter()
            .any(|(from, needs)| from != node && needs.contains(node))
    }

    /// The first cycle or overlong chain, if there is one.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let mut heights = BTreeMap::new();
        for start in self.edges.keys() {
            if let Some(fault) = self.visit(start, &mut heights) {
                return Some(fault);
            }
        }
        None
    }

    /// Depth-first without recursion: `heights` holds the longest chain from each finished node.
    fn visit<'g>(
        &'g self,
        start: &'g str,
        heights: &mut BTreeMap<&'g str, usize>,
    ) -> Option<Fault> {
        if heights.contains_key(start) {
            return None;
        }
        let mut path: Vec<(&str, Vec<&str>)> = vec![(start, self.needs(start))];
        while let Some((node, waiting)) = path.last_mut() {
            let node: &'g str = node;
            match waiting.pop() {
                Some(next) if heights.contains_key(next) => {}
                Some(next) => {
                    if let Some(begin) = path.iter().position(|(node, _)| *node == next) {
                        let cycle = path
                            .iter()
                            .skip(begin)
                            .map(|(node, _)| (*node).to_owned())
                            .collect();
                        return Some(Fault::Cycle(cycle));
                    }
                    path.push((next, self.needs(next)));
                }
                None => {
                    let below = self
                        .needs(node)
                        .iter()
                        .filter_map(|next| heights.get(next))
                        .max();
                    let height = below.map_or(1, |below| below + 1);
                    if height > MAX_CHAIN {
                        return Some(Fault::Chain(node.to_owned()));
                    }
                    heights.insert(node, height);
                    path.pop();
                }
            }
        }
        None
    }

    fn needs(&self, node: &str) -> Vec<&str> {
        self.edges
            .get(node)
            .map(|needs| needs.iter().map(String::as_str).collect())
            .unwrap_or_default()
    }
}

impl Site {
    /// Whether this rule, not only others of its name, is one of `readers`: itself, or through a rule it needs.
    pub(crate) fn is_one_of(&self, readers: &Readers) -> bool {
        let nodes: Vec<String> = readers
            .nodes
            .iter()
            .filter(|node| **node != self.node())
            .cloned()
            .collect();
        self.mentions.iter().any(|mention| {
            let mut reached = BTreeSet::new();
            targets(&nodes, &self.package, &mention.what, &mut reached);
            !reached.is_empty() || readers.reads(&mention.what)
        })
    }
}

/// Adds the nodes a mention may reach. Local variables are not told apart from rules of the same name: seeing a need
/// that is not there costs an author a rename, missing one costs the process.
fn targets(nodes: &[String], package: &[String], what: &What, into: &mut BTreeSet<String>) {
    match what {
        What::Input { .. } | What::With { .. } => {}
        What::Name(name) => exact(nodes, node(package, name), into),
        What::Data { path, .. } => below_or_above(nodes, path, into),
        What::Call { path, .. } => path_targets(nodes, package, path, into),
    }
}

fn path_targets(
    nodes: &[String],
    package: &[String],
    path: &[String],
    into: &mut BTreeSet<String>,
) {
    match path.split_first() {
        Some((root, rest)) if root == "data" => below_or_above(nodes, rest, into),
        Some((name, _)) => exact(nodes, node(package, name), into),
        None => {}
    }
}

fn exact(nodes: &[String], node: String, into: &mut BTreeSet<String>) {
    if nodes.binary_search(&node).is_ok() {
        into.insert(node);
    }
}

/// A reference into `data` reaches the rule it goes through, and all rules below it when it names a package.
fn below_or_above(nodes: &[String], path: &[String], into: &mut BTreeSet<String>) {
    let path = std::iter::once("data")
        .chain(path.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(".");
    for node in nodes {
        let through = path == *node || starts(&path, node);
        if through || starts(node, &path) {
            into.insert(node.clone());
        }
    }
}

fn starts(long: &str, short: &str) -> bool {
    long.strip_prefix(short)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Whether two paths meet: one is the other or lies below it.
pub(crate) fn meet(one: &str, other: &str) -> bool {
    one == other || starts(one, other) || starts(other, one)
}
