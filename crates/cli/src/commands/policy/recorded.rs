//! Where recorded decisions are read from: a file that is named, or the log in the state directory.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use keepgate_policy::{DECISION_FILE, Recorded};

use crate::arguments::From;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Files that may have been put aside; more than any configuration keeps in practice.
const MOST_ASIDE: usize = 1_000;

/// The lines of recorded decisions, oldest first.
pub(super) fn lines(context: &Context<'_>, from: &From) -> Result<Vec<String>, Failure> {
    let files = files(context, from)?;
    let mut lines = Vec::new();
    for file in files {
        let text = read(&file)?;
        let full = text.lines().filter(|line| !line.trim().is_empty());
        lines.extend(full.map(str::to_owned));
    }
    Ok(lines)
}

/// The files, oldest first.
fn files(context: &Context<'_>, from: &From) -> Result<Vec<PathBuf>, Failure> {
    if let Some(file) = &from.from {
        return Ok(vec![file.clone()]);
    }
    let log = context.state(from.state.clone())?.join(DECISION_FILE);
    if !log.exists() {
        let failure = Failure::new(
            Exit::Negative,
            format!("no decision is recorded: there is no `{}`", log.display()),
        );
        return Err(failure
            .hint("set `decisions: { file: {}, content: true }`, or name a file with --from"));
    }
    let aside = |number: usize| {
        let mut name = log.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let mut files: Vec<PathBuf> = (1..MOST_ASIDE)
        .map(aside)
        .take_while(|file| file.exists())
        .collect();
    files.reverse();
    files.push(log);
    Ok(files)
}

/// A file's text; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|found| text = found)
    };
    let failed = |error| {
        Failure::new(
            Exit::State,
            format!("failed to read `{}`: {error}", path.display()),
        )
    };
    read.map_err(failed)?;
    Ok(text)
}

/// The recorded decision of this id. A call may have several, one a phase: the refusal is what somebody wants explained,
/// else the call itself.
pub(super) fn find(lines: &[String], id: &str) -> Option<Recorded> {
    let found: Vec<Recorded> = lines
        .iter()
        .filter(|line| line.contains(id))
        .filter_map(|line| Recorded::parse(line).ok())
        .filter(|recorded| recorded.id() == id)
        .collect();
    let refused = found.iter().rfind(|recorded| recorded.effect() != "allow");
    let call = found.iter().find(|recorded| recorded.phase() == "call");
    refused.or(call).or_else(|| found.last()).cloned()
}
