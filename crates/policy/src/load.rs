//! From directories to something that can judge: read, look, parse, check, build, warm.
//!
//! All of it but reading runs on a helper thread with a large stack and a deadline, so that a hostile file costs the
//! load and never the process.

mod absence;
mod advice;
pub(crate) mod brackets;
pub(crate) mod check;
pub(crate) mod entry;
pub(crate) mod files;
pub(crate) mod graph;
pub(crate) mod guard;
mod header;
mod import;
mod literals;
pub(crate) mod locate;
mod metadata;
pub(crate) mod native;
mod nearest;
pub(crate) mod plan;
mod presence;
pub(crate) mod rewrite;
mod scope;
pub(crate) mod shape;
pub(crate) mod style;
pub(crate) mod survey;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use regorus::unstable::Module;
use regorus::{Engine, Value};

use crate::bundle;
use crate::engine;
use crate::facts::Phase;
use crate::input::Wanted;
use crate::json;
use crate::layer::{Layer, Plans, Warm};
use crate::log_rules::OnLog;
use crate::problem::{LoadErrors, Problem};
use crate::settings::Settings;
use crate::sources::Source;
use files::{File, Kind};
use graph::{Graph, Readers};
use survey::Site;

/// Stack of the helper thread: a syntax tree as deep as its file is long must fit.
const STACK: usize = 512 * 1024 * 1024;
/// Helper threads that may be stuck before further loads are refused.
const MAX_STUCK: usize = 4;

static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Reads, checks and builds one layer.
pub(crate) fn load(sources: &[Source], settings: &Settings) -> Result<Layer, LoadErrors> {
    let files = read(sources, settings, false).map_err(LoadErrors::new)?;
    of_files(files, settings)
}

/// Reads everything `sources` have; tests among them when `tests`.
pub(crate) fn read(
    sources: &[Source],
    settings: &Settings,
    tests: bool,
) -> Result<Vec<File>, Vec<Problem>> {
    let mut directories = Vec::new();
    let mut bundles = Vec::new();
    for source in sources {
        match source {
            Source::Directory(path) => directories.push(path.clone()),
            Source::Bundle(bundle) => bundles.push(bundle),
        }
    }
    let mut problems = Vec::new();
    let mut files = files::found(&directories, settings, tests).unwrap_or_else(|more| {
        problems.extend(more);
        Vec::new()
    });
    let mut owned = Vec::new();
    for bundle in &bundles {
        match bundle.read(settings, tests) {
            Ok(contents) => {
                owned.push((bundle.name().to_owned(), contents.about.roots));
                files.extend(contents.files);
            }
            Err(more) => problems.extend(more),
        }
    }
    problems.extend(bundle::overlaps(&owned));
    let place = directories
        .first()
        .map(PathBuf::as_path)
        .or_else(|| bundles.first().map(|bundle| bundle.name()))
        .unwrap_or_else(|| Path::new("."));
    if problems.is_empty() && files.len() > settings.max_files {
        let message = format!("more than {} files", settings.max_files);
        problems.push(Problem::whole(place, message));
    }
    if problems.is_empty() {
        files::with_rules(files, place)
    } else {
        Err(problems)
    }
}

/// The layer of the servers' definitions: the library that comes with the gateway, over them as data.
pub(crate) fn definitions(
    definitions: &BTreeMap<String, Arc<str>>,
    settings: &Settings,
) -> Result<Layer, LoadErrors> {
    of_files(definition_files(definitions), settings)
}

/// The library for definitions, and the definitions as data.
pub(crate) fn definition_files(definitions: &BTreeMap<String, Arc<str>>) -> Vec<File> {
    let servers: Vec<String> = definitions
        .iter()
        .map(|(name, document)| format!("{}:{document}", Value::from(name.as_str())))
        .collect();
    let file = |path: &str, kind, text: String| File {
        path: PathBuf::from(path),
        mount: Vec::new(),
        kind,
        text: text.into(),
    };
    let data = format!("{{\"servers\":{{{}}}}}", servers.join(","));
    vec![
        file(
            "keepgate/definition.rego",
            Kind::Rules,
            files::DEFINITION.to_owned(),
        ),
        file("keepgate/tables.json", Kind::Json, files::TABLES.to_owned()),
        file("keepgate/data.json", Kind::Json, data),
    ]
}

fn of_files(files: Vec<File>, settings: &Settings) -> Result<Layer, LoadErrors> {
    let place = files
        .first()
        .map_or_else(|| PathBuf::from("."), |file| file.path.clone());
    let bounds = settings.clone();
    aside(&place, settings.load_limit, move || build(&files, &bounds)).map_err(LoadErrors::new)
}

/// Runs `work` on a helper thread until `limit`; what is not done by then is left to itself.
pub(crate) fn aside<T: Send + 'static>(
    place: &Path,
    limit: Duration,
    work: impl FnOnce() -> Result<T, Vec<Problem>> + Send + 'static,
) -> Result<T, Vec<Problem>> {
    let failed = |message: &str| Err(vec![Problem::whole(place, message)]);
    if STUCK.load(Ordering::SeqCst) >= MAX_STUCK {
        return failed("too many earlier loads are still stuck; restart to load again");
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let watch = Arc::new(AtomicBool::new(false));
    let running = Running(Arc::clone(&watch));
    let started = std::thread::Builder::new()
        .name("policy-load".into())
        .stack_size(STACK)
        .spawn(move || {
            let _running = running;
            // The receiver is gone when the limit has passed; then nobody wants the result.
            drop(sender.send(work()));
        });
    if started.is_err() {
        return failed("failed to start a thread to load in");
    }
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            STUCK.fetch_add(1, Ordering::SeqCst);
            if watch.swap(true, Ordering::SeqCst) {
                STUCK.fetch_sub(1, Ordering::SeqCst); // it ended meanwhile
            }
            failed(&format!("not loaded within {limit:?}"))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => failed("the parser failed"),
    }
}

/// Says when a helper thread ends, however it ends: whoever comes second, it or the one who waits, counts it out.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.swap(true, Ordering::SeqCst) {
            STUCK.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Modules parsed, surveyed and checked.
pub(crate) struct Checked {
    pub(crate) data: Value,
    /// Warnings found on the way.
    pub(crate) warnings: Vec<Problem>,
    pub(crate) sites: Vec<Site>,
    pub(crate) graph: Graph,
}

/// What a call is about, and what comes with it: nothing of it is there while a session is opened.
const SUBJECT: [&str; 8] = [
    "arguments",
    "completion",
    "params",
    "prompt",
    "resource",
    "response",
    "task",
    "tool",
];

/// The sets that speak of an answer: it was allowed when it was asked for.
fn speaks_of_answers(name: &str) -> bool {
    name == "deny" || check::OBLIGATIONS.contains(&name)
}

/// Which rules can speak in which phase: those of which nothing they read is missing there.
pub(crate) struct Reach {
    answers: Readers,
    arguments: Readers,
    subject: Readers,
    phases: Readers,
}

impl Reach {
    pub(crate) fn new(graph: &Graph) -> Self {
        Self {
            answers: graph.readers(&["response"], false),
            arguments: graph.readers(&["arguments"], true),
            subject: graph.readers(&SUBJECT, false),
            phases: graph.readers(&["phase"], false),
        }
    }

    /// Whether a rule of a set is asked in this phase.
    pub(crate) fn speaks(&self, phase: Phase, site: &Site) -> bool {
        let name = site.name.first().map_or("", String::as_str);
        let of_answers = site.is_one_of(&self.answers);
        match phase {
            Phase::Call | Phase::ServerRequest => !of_answers,
            Phase::List => {
                !check::OBLIGATIONS.contains(&name)
                    && !of_answers
                    && !site.is_one_of(&self.arguments)
            }
            Phase::Connect => {
                (check::OBLIGATIONS.contains(&name) || matches!(name, "deny" | "approve"))
                    && site.is_one_of(&self.phases)
                    && !site.is_one_of(&self.subject)
            }
            Phase::Response => speaks_of_answers(name) && of_answers,
        }
    }
}

fn build(files: &[File], settings: &Settings) -> Result<Layer, Vec<Problem>> {
    let checked = check_files(files, false)?;
    let (sites, graph) = (&checked.sites, &checked.graph);
    let plan = |speaks: &dyn Fn(&Site) -> bool| {
        plan::plan(files, sites, graph, speaks, settings.split)
            .map(Arc::new)
            .map_err(|error| vec![prepare_problem(files, &error)])
    };
    let reach = Reach::new(graph);
    let plans = Plans {
        call: plan(&|site| reach.speaks(Phase::Call, site))?,
        list: plan(&|site| reach.speaks(Phase::List, site))?,
        connect: plan(&|site| reach.speaks(Phase::Connect, site))?,
        response: plan(&|site| reach.speaks(Phase::Response, site))?,
    };
    let wanted = Wanted::by(sites);
    let on_log = OnLog::by(sites);
    let layer = Layer::new(files, plans, wanted, checked.data, on_log, reads(sites));
    // The first is built alone: what is wrong with it would be wrong with all.
    let mut ready =
        vec![warm(&layer, settings).map_err(|error| vec![prepare_problem(files, &error)])?];
    while ready.len() < settings.workers {
        ready.push(warm(&layer, settings).map_err(|error| vec![prepare_problem(files, &error)])?);
    }
    layer.store(ready);
    Ok(layer)
}

/// The parts of the input that the rules which decide read.
fn reads(sites: &[Site]) -> Vec<Vec<String>> {
    let deciding = sites
        .iter()
        .filter(|site| site.package.join(".") != check::LOG);
    let mentions = deciding.flat_map(|site| &site.mentions);
    let mut reads: Vec<Vec<String>> = mentions
        .filter_map(|mention| match &mention.what {
            survey::What::Input { path, .. } => Some(path.clone()),
            survey::What::Data { .. }
            | survey::What::Name(_)
            | survey::What::Call { .. }
            | survey::What::With { .. } => None,
        })
        .collect();
    reads.sort();
    reads.dedup();
    reads
}

fn warm(layer: &Layer, settings: &Settings) -> Result<Warm, String> {
    let mut warm = Warm::build(layer)?;
    warm.exercise(settings.decision_limit);
    Ok(warm)
}

/// An error found while preparing names its file in its own text.
pub(crate) fn prepare_problem(files: &[File], error: &str) -> Problem {
    let named = files
        .iter()
        .find(|file| error.contains(&format!("--> {}:", file.path.display())));
    let path = named
        .or_else(|| files.first())
        .map_or_else(|| Path::new("."), |file| file.path.as_path());
    quoted(locate::problem(path, &error), files)
}

/// Shows the line a problem is on, and says what to do where the problem does not.
pub(crate) fn quoted(problem: Problem, files: &[File]) -> Problem {
    let Some(file) = files.iter().find(|file| file.path == problem.file) else {
        return problem;
    };
    let problem = problem.quoting(&file.text);
    let index = usize::try_from(problem.line).unwrap_or(0).checked_sub(1);
    match index.and_then(|index| file.text.lines().nth(index)) {
        Some(line) => advice::advise(problem, line),
        None => advice::advise(problem, ""),
    }
}

/// Parses and checks files; tests among them when `testing`.
pub(crate) fn check_files(files: &[File], testing: bool) -> Result<Checked, Vec<Problem>> {
    checked(files, testing).map_err(|problems| {
        let quoted = problems.into_iter().map(|problem| quoted(problem, files));
        quoted.collect()
    })
}

fn checked(files: &[File], testing: bool) -> Result<Checked, Vec<Problem>> {
    let mut problems = Vec::new();
    let data = data(files, &mut problems);
    let modules: Vec<_> = files
        .iter()
        .filter(|file| matches!(file.kind, Kind::Rules | Kind::Tests))
        .collect();
    problems.extend(
        modules
            .iter()
            .filter_map(|file| brackets::check(&file.path, &file.text).err()),
    );
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut engine = engine::bare().map_err(|error| vec![Problem::whole(Path::new("."), error)])?;
    for file in modules {
        let name = file.path.display().to_string();
        if let Err(error) = engine.add_policy(name, file.text.to_string()) {
            problems.push(locate::problem(&file.path, &error));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let sites = sites(&mut engine);
    let graph = Graph::new(&sites);
    let optional: Vec<Vec<String>> = files
        .iter()
        .filter(|file| file.kind == Kind::Rules)
        .flat_map(|file| metadata::optional(&file.text))
        .collect();
    let mut problems = check::check(&sites, (&data, &optional), &graph, testing);
    let modules = engine.get_modules();
    problems.extend(import::problems(
        modules.iter().map(|module| &**module),
        &sites,
    ));
    let mut warnings = Vec::new();
    if problems.is_empty() {
        let modules: Vec<&Module> = modules.iter().map(|module| &**module).collect();
        let found = presence::look(&modules, &sites, &data, &graph);
        problems.extend(found.problems);
        warnings = found.warnings;
    }
    if problems.is_empty() {
        Ok(Checked {
            data,
            warnings,
            sites,
            graph,
        })
    } else {
        Err(problems)
    }
}

/// All rules of an engine but our own.
fn sites(engine: &mut Engine) -> Vec<Site> {
    let modules = engine.get_modules();
    let surveyed = modules.iter().flat_map(|module| survey::survey(module));
    surveyed
        .filter(|site| site.package.first().is_none_or(|root| root != "keepgate"))
        .collect()
}

/// The data documents, each mounted at its folder.
fn data(files: &[File], problems: &mut Vec<Problem>) -> Value {
    let mut engine = Engine::new();
    for file in files {
        let read = match file.kind {
            Kind::Json => json::parse(&file.text).map_err(|error| error.to_string()),
            Kind::Yaml => Value::from_yaml_str(&file.text).map_err(|error| error.to_string()),
            Kind::Rules | Kind::Tests => continue,
        };
        let document = match read {
            Ok(document) => document,
            Err(error) => {
                problems.push(Problem::whole(
                    &file.path,
                    format!("failed to read: {error}"),
                ));
                continue;
            }
        };
        let mounted = file.mount.iter().rev().fold(document, |inner, folder| {
            let mut outer = regorus::value::Object::new();
            outer.insert(Value::from(folder.as_str()), inner);
            outer.into_value()
        });
        let reserved = mounted.as_object().ok().and_then(|object| {
            ["mcp", "keepgate", "system"]
                .into_iter()
                .find(|root| object.contains_key(&Value::from(*root)))
        });
        if let Some(root) = reserved {
            problems.push(Problem::whole(
                &file.path,
                format!("data may not lie under `{root}`"),
            ));
        } else if mounted.as_object().is_err() {
            problems.push(Problem::whole(&file.path, "data must be an object"));
        } else if let Err(error) = engine.add_data(mounted) {
            problems.push(Problem::whole(
                &file.path,
                format!("conflicts with another data file: {error}"),
            ));
        }
    }
    engine.get_data()
}

#[cfg(test)]
mod tests;
