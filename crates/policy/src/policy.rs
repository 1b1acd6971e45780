//! The policies in force: loading, swapping, judging, layer by layer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use regorus::Value;

use crate::decision::{Approval, Decision, Effect, Reason, Visible};
use crate::event::Judged;
use crate::explain;
use crate::facts::{Facts, Item, Phase, Subject};
use crate::input::{Part, Wanted, Words};
use crate::layer::{Layer, Verdict};
use crate::load;
use crate::log_rules::LogRules;
use crate::method;
use crate::problem::LoadErrors;
use crate::settings::Settings;
use crate::sources::Sources;

/// The policies in force. Share it by `Arc`; all its methods take `&self`.
pub struct Policy {
    sources: Mutex<Sources>,
    settings: Settings,
    current: ArcSwap<Layers>,
    /// Who is handed each decision.
    observer: OnceLock<Observer>,
}

/// Whoever keeps the decision log. It is called on the thread that judges, and must not wait.
pub type Observer = Box<dyn Fn(Judged) + Send + Sync>;

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// One set of policies that came into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Counts from 1, by one for each load that changed something.
    pub number: u64,
    /// Content hash of the files.
    pub revision: Arc<str>,
    /// How many policy and data files were read.
    pub files: usize,
    /// Whether this load changed anything.
    pub changed: bool,
}

impl Policy {
    /// Reads, checks and warms all policies of `sources` (directories recursively: `*.rego`, and `data.json` or
    /// `data.yaml` mounted at their folder; `*_test.rego` are left to [`crate::runner`]).
    ///
    /// # Errors
    /// Every problem found in any file.
    pub fn load(sources: impl Into<Sources>, settings: &Settings) -> Result<Self, LoadErrors> {
        regorus::cache::configure(regorus::cache::Config {
            regex: 4_096,
            glob: 4_096,
        });
        let sources = sources.into();
        let layers = Layers::load(&sources, settings, 1)?;
        Ok(Self {
            sources: Mutex::new(sources),
            settings: settings.clone(),
            current: ArcSwap::from_pointee(layers),
            observer: OnceLock::new(),
        })
    }

    /// Reads the sources again and, when all is well, puts the result into force at once. Calls being judged finish
    /// under the policies they began with. Blocks for as long as loading takes.
    ///
    /// # Errors
    /// Every problem found; the policies in force stay.
    pub fn reload(&self) -> Result<Generation, LoadErrors> {
        // Held while loading: two reloads at once must not overtake each other.
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&sources)
    }

    /// As [`Self::reload`], from other sources, which stay those it reloads from.
    ///
    /// # Errors
    /// Every problem found; the policies in force, and where they are read from, stay.
    pub fn reload_from(&self, sources: Sources) -> Result<Generation, LoadErrors> {
        let mut held = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.replace(&sources)?;
        *held = sources;
        Ok(generation)
    }

    /// The active policies and the places they are read from, to be put back by [`Self::restore`].
    #[must_use]
    pub fn keep(&self) -> Kept {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        Kept {
            sources: sources.clone(),
            layers: self.current.load_full(),
        }
    }

    /// Puts back what was kept. Nothing is read again: what is at those places by now may be something else, or broken.
    pub fn restore(&self, kept: Kept) -> Generation {
        let mut held = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        *held = kept.sources;
        if kept.layers.revision == current.revision {
            return current.generation(false);
        }
        // A number of its own: whoever remembers something by the last one must not take it for this.
        let layers = Layers {
            number: current.number + 1,
            ..Layers::clone(&kept.layers)
        };
        let generation = layers.generation(true);
        self.current.store(Arc::new(layers));
        generation
    }

    fn replace(&self, sources: &Sources) -> Result<Generation, LoadErrors> {
        let current = self.current.load_full();
        let next = Layers::load(sources, &self.settings, current.number + 1)?;
        if next.revision == current.revision {
            return Ok(current.generation(false));
        }
        let generation = next.generation(true);
        self.current.store(Arc::new(next));
        Ok(generation)
    }

    /// Hands `observer` every decision that has an id, with what the rules saw; from now on, and to one observer only.
    pub fn observe(&self, observer: Observer) {
        let _only_one = self.observer.set(observer);
    }

    /// What is in force.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.current.load().generation(false)
    }

    /// Content hash of the files in force, for audit records.
    #[must_use]
    pub fn revision(&self) -> Arc<str> {
        Arc::clone(&self.current.load().revision)
    }

    /// Whether any rule speaks in this phase: where none does, [`Self::judge`] lets everything pass.
    #[must_use]
    pub fn speaks(&self, phase: Phase) -> bool {
        self.current.load().any(|layer| layer.speaks(phase))
    }

    /// Whether any rule reads `input.history`: else nobody need count.
    #[must_use]
    pub fn reads_history(&self) -> bool {
        self.current.load().wanted.has(Part::History)
    }

    /// Whether any rule reads `input.flow`.
    #[must_use]
    pub fn reads_flow(&self) -> bool {
        self.current.load().wanted.has(Part::Flow)
    }

    /// The platform's and tenants' rules and data as they are now.
    pub(crate) fn files(&self) -> Result<Vec<load::files::File>, LoadErrors> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = Vec::new();
        for sources in std::iter::once(&sources.platform).chain(sources.tenants.values()) {
            if !sources.is_empty() {
                files.extend(
                    load::read(sources, &self.settings, false)
                        .map_err(|problems| LoadErrors { problems })?,
                );
            }
        }
        Ok(files)
    }

    /// The parts of the input that any rule which decides reads.
    pub(crate) fn reads(&self) -> Vec<Vec<String>> {
        let layers = self.current.load();
        let all = layers.all().flat_map(|layer| layer.reads.iter().cloned());
        all.collect()
    }

    /// The files of the layers a call meets, with the layers' names, as they are now.
    pub(crate) fn files_met(
        &self,
        tenant: &str,
        server: &str,
    ) -> Result<Vec<(String, Vec<load::files::File>)>, LoadErrors> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |sources| load::read(sources, &self.settings, false).map_err(LoadErrors::new);
        let mut met = Vec::new();
        if !sources.platform.is_empty() {
            met.push((explain::layer_name(None), read(&sources.platform)?));
        }
        if let Some(own) = sources.tenants.get(tenant) {
            met.push((explain::layer_name(Some(tenant)), read(own)?));
        }
        if sources.definitions.contains_key(server) {
            let files = load::definition_files(&sources.definitions);
            met.push((explain::definition_name(), files));
        }
        Ok(met)
    }

    /// Judges one call. Synchronous, bounded by twice [`Settings::decision_limit`] for each layer, without IO; whatever
    /// goes wrong is a refusal. Methods the protocol needs for itself pass unjudged: see [`crate::is_judged`].
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> Decision {
        let started = Instant::now();
        let layers = self.current.load();
        let verdict = if method::is_judged(facts.phase, facts.method) {
            let verdicts = layers
                .of(facts)
                .map(|layer| layer.judge(facts, self.settings.decision_limit));
            verdicts
                .reduce(strictest)
                .unwrap_or_else(|| Verdict::refused(Reason::NO_RULE))
        } else {
            Verdict::passed()
        };
        let decision = verdict.decision(&layers.revision, started);
        if let Some(observer) = self.observer.get()
            && !facts.id.is_empty()
            && method::is_judged(facts.phase, facts.method)
        {
            observer(judged(facts, &decision));
        }
        decision
    }

    /// Judges an input that was recorded, as [`Self::judge`] would have. `None` for what is no input.
    #[must_use]
    pub(crate) fn judge_input(&self, input: &Value) -> Option<Decision> {
        let started = Instant::now();
        let layers = self.current.load();
        let seen = Seen::of(input)?;
        let verdict = if method::is_judged(seen.phase, seen.method) {
            let verdicts = layers
                .met(seen.tenant, seen.server)
                .map(|layer| layer.judge_input(seen.phase, input, self.settings.decision_limit));
            verdicts
                .reduce(strictest)
                .unwrap_or_else(|| Verdict::refused(Reason::NO_RULE))
        } else {
            Verdict::passed()
        };
        Some(verdict.decision(&layers.revision, started))
    }

    /// The platform's rules on the decision log, if it has some. The error is the evaluator's own.
    pub(crate) fn log_rules(&self) -> Result<Option<LogRules>, String> {
        match &self.current.load().platform {
            Some(layer) => LogRules::build(layer),
            None => Ok(None),
        }
    }

    /// Says which items of a list the caller may see, in their order: those that in every layer `visible`, `allow` or
    /// `approve` hold for and `deny` does not. What only a missing scope denies is shown to callers that can ask for a
    /// token with more of them, or they would never know to. `facts.phase` is taken as [`Phase::List`];
    /// `facts.subject` and `facts.arguments` are ignored.
    #[must_use]
    pub fn visible(&self, facts: &Facts<'_>, items: &[Item<'_>]) -> Visible {
        let started = Instant::now();
        let layers = self.current.load();
        let deadline = started + self.settings.list_limit;
        let mut shown: Option<Vec<bool>> = None;
        let mut failure = None;
        for layer in layers.of(facts) {
            match (layer.visible(facts, items, deadline), &mut shown) {
                (Ok(more), None) => shown = Some(more),
                (Ok(more), Some(shown)) => {
                    shown
                        .iter_mut()
                        .zip(more)
                        .for_each(|(one, other)| *one &= other);
                }
                (Err(failed), _) => failure = Some(failed),
            }
        }
        let shown = shown
            .filter(|_| failure.is_none())
            .unwrap_or_else(|| vec![false; items.len()]);
        Visible {
            shown,
            failure: failure.map(Reason::ours),
            revision: Arc::clone(&layers.revision),
            elapsed: started.elapsed(),
        }
    }
}

/// Policies that were active, and the places they are read from.
pub struct Kept {
    sources: Sources,
    layers: Arc<Layers>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("revision", &self.layers.revision)
            .finish_non_exhaustive()
    }
}

/// All layers of one generation.
#[derive(Clone)]
struct Layers {
    number: u64,
    revision: Arc<str>,
    wanted: Wanted,
    platform: Option<Arc<Layer>>,
    tenants: HashMap<Box<str>, Arc<Layer>>,
    /// One for all definitions; a server without one is none of its business.
    definitions: Option<Arc<Layer>>,
    defined: Vec<Box<str>>,
}

impl Layers {
    fn load(sources: &Sources, settings: &Settings, number: u64) -> Result<Self, LoadErrors> {
        let mut problems = Vec::new();
        let mut kept = |loaded: Result<Layer, LoadErrors>| match loaded {
            Ok(layer) => Some(Arc::new(layer)),
            Err(errors) => {
                problems.extend(errors.problems);
                None
            }
        };
        let platform = (!sources.platform.is_empty())
            .then(|| kept(load::load(&sources.platform, settings)))
            .flatten();
        let tenants: HashMap<Box<str>, Arc<Layer>> = sources
            .tenants
            .iter()
            .filter_map(|(name, sources)| {
                Some((name.as_str().into(), kept(load::load(sources, settings))?))
            })
            .collect();
        let definitions = (!sources.definitions.is_empty())
            .then(|| kept(load::definitions(&sources.definitions, settings)))
            .flatten();
        if !problems.is_empty() {
            return Err(LoadErrors::new(problems));
        }
        let mut layers = Self {
            number,
            revision: "".into(),
            wanted: Wanted::default(),
            platform,
            tenants,
            definitions,
            defined: sources
                .definitions
                .keys()
                .map(|name| name.as_str().into())
                .collect(),
        };
        layers.revision = layers.digest(sources);
        layers.wanted = layers
            .all()
            .fold(Wanted::default(), |wanted, layer| wanted.or(layer.wanted));
        Ok(layers)
    }

    /// The revision of the only layer, or a digest over those of all and whom they are for.
    fn digest(&self, sources: &Sources) -> Arc<str> {
        if let (Some(platform), true, None) =
            (&self.platform, self.tenants.is_empty(), &self.definitions)
        {
            return Arc::clone(&platform.revision);
        }
        let mut hasher = blake3::Hasher::new();
        let mut add = |kind: &str, name: &str, layer: Option<&Arc<Layer>>| {
            for part in [kind, name, layer.map_or("", |layer| &*layer.revision)] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        };
        add("platform", "", self.platform.as_ref());
        for name in sources.tenants.keys() {
            add("tenant", name, self.tenants.get(name.as_str()));
        }
        add("definitions", "", self.definitions.as_ref());
        let digest = hasher.finalize().to_hex();
        digest.chars().take(32).collect::<String>().into()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Layer>> {
        self.platform
            .iter()
            .chain(self.tenants.values())
            .chain(&self.definitions)
    }

    fn any(&self, holds: impl Fn(&Arc<Layer>) -> bool) -> bool {
        self.all().any(holds)
    }

    /// The layers a call meets.
    fn of<'a>(&'a self, facts: &Facts<'_>) -> impl Iterator<Item = &'a Arc<Layer>> {
        self.met(facts.tenant, &facts.server.name)
    }

    fn met<'a>(&'a self, tenant: &str, server: &str) -> impl Iterator<Item = &'a Arc<Layer>> {
        let tenant = self.tenants.get(tenant);
        let found = self.defined.binary_search_by(|name| (**name).cmp(server));
        let defined = found.is_ok();
        let definition = self.definitions.as_ref().filter(|_| defined);
        self.platform.iter().chain(tenant).chain(definition)
    }

    fn generation(&self, changed: bool) -> Generation {
        Generation {
            number: self.number,
            revision: Arc::clone(&self.revision),
            files: self.all().map(|layer| layer.files).sum(),
            changed,
        }
    }
}

/// What of a recorded input says which layers judge it, and when.
pub(crate) struct Seen<'a> {
    pub(crate) phase: Phase,
    pub(crate) method: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) server: &'a str,
}

impl<'a> Seen<'a> {
    pub(crate) fn of(input: &'a Value) -> Option<Self> {
        let text = |path: &[&str]| {
            let mut at = input;
            for step in path {
                at = at.as_object().ok()?.get(&Value::from(*step))?;
            }
            at.as_string().ok().map(|text| &**text)
        };
        let phase = match text(&["phase"])? {
            "connect" => Phase::Connect,
            "list" => Phase::List,
            "call" => Phase::Call,
            "response" => Phase::Response,
            "server_request" => Phase::ServerRequest,
            _ => return None,
        };
        Some(Self {
            phase,
            method: text(&["method"])?,
            tenant: text(&["tenant"]).unwrap_or_default(),
            server: text(&["server", "name"])?,
        })
    }
}

/// A decision for whoever keeps the log. The whole input, whatever the rules in force read of it: those that are tried on
/// it later may read more.
fn judged(facts: &Facts<'_>, decision: &Decision) -> Judged {
    let input = Words::whole(facts).unwrap_or_else(|error| {
        tracing::warn!(%error, "a decision is logged without its input");
        Value::new_object()
    });
    let params = match facts.subject {
        Subject::ServerRequest { params } => params,
        Subject::None
        | Subject::Tool { .. }
        | Subject::Prompt { .. }
        | Subject::Resource(_)
        | Subject::Completion { .. }
        | Subject::Task { .. } => None,
    };
    let answer = facts.response.and_then(|response| response.json);
    let texts = [facts.arguments, params, answer];
    Judged {
        id: facts.id.into(),
        at: SystemTime::now(),
        input,
        decision: decision.clone(),
        trace: facts.request.trace,
        text: texts.into_iter().flatten().map(str::len).sum(),
    }
}

/// What two layers say together: the stricter effect, and what both oblige to.
fn strictest(one: Verdict, other: Verdict) -> Verdict {
    let (strict, mild) = if rank(&one.effect) >= rank(&other.effect) {
        (one, other)
    } else {
        (other, one)
    };
    if strict.effect == Effect::Deny {
        return both_deny(strict, mild);
    }
    let mut joined = strict;
    if let (Effect::Approve(approval), Effect::Approve(more)) = (&mut joined.effect, &mild.effect) {
        Approval::join(approval, more);
    }
    if rank(&joined.effect) == rank(&mild.effect) {
        joined.reasons.extend(mild.reasons);
        joined.reasons.sort();
        joined.reasons.dedup();
    }
    match (&mut joined.obligations, mild.obligations) {
        (Some(held), Some(more)) => {
            if !held.join(*more) {
                tracing::warn!("two layers of policy oblige to different things");
                return Verdict::refused(Reason::POLICY_INVALID_RESULT);
            }
        }
        (held @ None, more) => *held = more,
        (Some(_), None) => {}
    }
    joined
}

fn rank(effect: &Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::Approve(_) => 1,
        Effect::Deny => 2,
    }
}

/// More scopes lift a denial only if they lift that of each layer that denies.
fn both_deny(mut one: Verdict, other: Verdict) -> Verdict {
    if other.effect == Effect::Deny {
        if one.scopes.is_empty() || other.scopes.is_empty() {
            one.scopes.clear();
        } else {
            one.scopes.extend(other.scopes);
            one.scopes.sort();
            one.scopes.dedup();
        }
        one.reasons.extend(other.reasons);
        one.reasons.sort();
        one.reasons.dedup();
    }
    one.obligations = None;
    one
}

#[cfg(test)]
pub(crate) mod tests;
