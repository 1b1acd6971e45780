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
    reads_arguments: BTreeSet<String>,
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
                if reads_arguments(&mention.what) {
                    graph.reads_arguments.insert(from.clone());
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

    /// Nodes that read `input.arguments`, themselves or through what they need. The graph must have no cycle.
    pub(crate) fn reading_arguments(&self) -> BTreeSet<String> {
        let mut reading = self.reads_arguments.clone();
        loop {
            let more: Vec<String> = self
                .edges
                .iter()
                .filter(|(from, needs)| !reading.contains(*from) && !needs.is_disjoint(&reading))
                .map(|(from, _)| from.clone())
                .collect();
            if more.is_empty() {
                return reading;
            }
            reading.extend(more);
        }
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
    /// Whether this rule, not only others of its name, reads arguments: itself, or through one of the nodes `reading`.
    pub(crate) fn reads(&self, reading: &BTreeSet<String>) -> bool {
        let nodes: Vec<String> = reading
            .iter()
            .filter(|node| **node != self.node())
            .cloned()
            .collect();
        self.mentions.iter().any(|mention| {
            let mut reached = BTreeSet::new();
            targets(&nodes, &self.package, &mention.what, &mut reached);
            !reached.is_empty() || reads_arguments(&mention.what)
        })
    }
}

fn reads_arguments(what: &What) -> bool {
    match what {
        What::Input { path, .. } => path.first().is_none_or(|first| first == "arguments"),
        What::Data { .. } | What::Name(_) | What::Call { .. } | What::With { .. } => false,
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
