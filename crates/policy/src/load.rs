//! From directories to something that can judge: read, look, parse, check, build, warm.
//!
//! All of it but reading runs on a helper thread with a large stack and a deadline, so that a hostile file costs the
//! load and never the process.

pub(crate) mod brackets;
pub(crate) mod check;
pub(crate) mod files;
pub(crate) mod graph;
mod guard;
pub(crate) mod locate;
pub(crate) mod native;
mod nearest;
pub(crate) mod plan;
pub(crate) mod shape;
pub(crate) mod survey;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use regorus::{Engine, Value};

use crate::engine;
use crate::json;
use crate::policy::{Snapshot, Warm};
use crate::problem::{LoadErrors, Problem};
use crate::settings::Settings;
use files::{File, Kind};
use graph::Graph;
use survey::Site;

/// Stack of the helper thread: a syntax tree as deep as its file is long must fit.
const STACK: usize = 512 * 1024 * 1024;
/// Helper threads that may be stuck before further loads are refused.
const MAX_STUCK: usize = 4;

static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Reads, checks and builds everything in force under `directories`.
pub(crate) fn load(
    directories: &[PathBuf],
    settings: &Settings,
    number: u64,
) -> Result<Snapshot, LoadErrors> {
    let files = files::read(directories, settings, false).map_err(LoadErrors::new)?;
    let place = directories
        .first()
        .cloned()
        .unwrap_or_else(|| PathBuf::from("."));
    let settings = settings.clone();
    aside(&place, settings.load_limit, move || {
        build(&files, &settings, number)
    })
    .map_err(LoadErrors::new)
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
    pub(crate) sites: Vec<Site>,
    graph: Graph,
}

fn build(files: &[File], settings: &Settings, number: u64) -> Result<Snapshot, Vec<Problem>> {
    let checked = check_files(files, false)?;
    let plan = |leave_out: &BTreeSet<String>| {
        Arc::new(plan::plan(
            files,
            &checked.sites,
            &checked.graph,
            leave_out,
            settings.split,
        ))
    };
    let call = plan(&BTreeSet::new());
    let list = plan(&checked.graph.reading_arguments());
    let snapshot = Snapshot::new(
        number,
        files::revision(files),
        files.len(),
        call,
        list,
        checked.data,
    );
    // The first is built alone: what is wrong with it would be wrong with all.
    let mut ready =
        vec![warm(&snapshot, settings).map_err(|error| vec![prepare_problem(files, &error)])?];
    while ready.len() < settings.workers {
        ready
            .push(warm(&snapshot, settings).map_err(|error| vec![prepare_problem(files, &error)])?);
    }
    snapshot.store(ready);
    Ok(snapshot)
}

fn warm(snapshot: &Snapshot, settings: &Settings) -> Result<Warm, String> {
    let mut warm = Warm::build(snapshot)?;
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
    locate::problem(path, &error)
}

/// Parses and checks files; tests among them when `testing`.
pub(crate) fn check_files(files: &[File], testing: bool) -> Result<Checked, Vec<Problem>> {
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
    let problems = check::check(&sites, &data, &graph, testing);
    if problems.is_empty() {
        Ok(Checked { data, sites, graph })
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
            ["mcp", "keepgate"]
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
