//! `policy ..`: the policies alone, as they would come into force. One file a verb.

mod bundle;
mod check;
mod coverage;
mod eval;
mod explain;
mod junit;
mod matrix;
mod new;
mod problem;
mod record;
mod recorded;
mod replay;
mod schema;
mod test;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use keepgate_policy::bundle::BundleSource;
use keepgate_policy::runner::{self, Options, Report};
use keepgate_policy::{LoadErrors, Settings, Source, Sources};

use super::Context;
use crate::arguments::{Directories, Policy};
use crate::exit::Exit;
use crate::failure::Failure;

/// `policy ..`.
pub(super) fn run(command: Policy, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Policy::Check(directories) => check::run(directories, context),
        Policy::Test(wish) => test::run(wish, context),
        Policy::Coverage(wish) => coverage::run(wish, context),
        Policy::Schema { which } => schema::run(which, context),
        Policy::New(wish) => new::run(&wish, context),
        Policy::Eval(wish) => eval::run(&wish, context),
        Policy::Explain(wish) => explain::run(&wish, context),
        Policy::Record(wish) => record::run(&wish, context),
        Policy::Replay(wish) => replay::run(&wish, context),
        Policy::Bundle(command) => bundle::run(command, context),
    }
}

/// The directories named, as one layer; else those of the configuration, the platform's and each tenant's apart.
fn layers(context: &Context<'_>, named: Directories) -> Result<Vec<Vec<PathBuf>>, Failure> {
    if !named.directories.is_empty() {
        return Ok(vec![named.directories]);
    }
    let configuration = context.configuration();
    let failed =
        |failure: Failure| failure.hint("name the directories to do without a configuration");
    let configuration = configuration.map_err(failed)?;
    let tenants = configuration.tenants.into_values();
    let mut layers: Vec<Vec<PathBuf>> = [configuration.policies]
        .into_iter()
        .chain(tenants)
        .collect();
    layers.retain(|directories| !directories.is_empty());
    if layers.is_empty() {
        return Err(Failure::new(
            Exit::Configuration,
            "the configuration names bundles only, and a bundle has no tests",
        )
        .hint("name the directories the bundle is made from"));
    }
    Ok(layers)
}

/// Runs the tests of each layer.
fn tested(layers: &[Vec<PathBuf>], options: &Options) -> Result<Report, LoadErrors> {
    let mut reports = layers
        .iter()
        .map(|directories| runner::run(directories, options));
    let first = reports.next().unwrap_or_else(|| Ok(Report::default()))?;
    reports.try_fold(first, |all, report| Ok(all.and(report?)))
}

/// The directories and bundles named, else everything the configuration names.
fn sources(context: &Context<'_>, named: &[PathBuf]) -> Result<Sources, Failure> {
    if named.is_empty() {
        let configuration = context.configuration();
        let failed =
            |failure: Failure| failure.hint("name the policies to do without a configuration");
        let (sources, _unseen) = configuration
            .map_err(failed)?
            .local_sources()
            .map_err(|error| Failure::caused(Exit::Configuration, &error))?;
        return Ok(sources);
    }
    let source = |path: &PathBuf| {
        let name = path.to_string_lossy();
        if path.is_file() && (name.ends_with(".tar.gz") || name.ends_with(".tgz")) {
            Source::Bundle(Arc::new(BundleSource::file(path, None)))
        } else {
            Source::Directory(path.clone())
        }
    };
    Ok(Sources {
        platform: named.iter().map(source).collect(),
        ..Sources::default()
    })
}

/// Loads policies as the gateway does.
pub(super) fn load(sources: impl Into<Sources>) -> Result<keepgate_policy::Policy, Failure> {
    try_load(sources).map_err(|errors| invalid(&errors))
}

/// Loads policies as the gateway does, with all that is wrong with them.
fn try_load(sources: impl Into<Sources>) -> Result<keepgate_policy::Policy, LoadErrors> {
    // One evaluator is enough to find out whether they can be built.
    let settings = Settings {
        workers: 1,
        // Nobody waits for a call here, and a busy machine must not change what is found.
        decision_limit: std::time::Duration::from_secs(2),
        ..Settings::default()
    };
    keepgate_policy::Policy::load(sources, &settings)
}

/// Everything that is wrong with the policies.
fn invalid(errors: &LoadErrors) -> Failure {
    let count = errors.problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    let list: String = errors
        .problems
        .iter()
        .map(|problem| format!("{problem:#}\n\n"))
        .collect();
    Failure::new(
        Exit::Policy,
        format!("{list}{count} {noun} in the policies"),
    )
}
