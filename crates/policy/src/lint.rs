//! What is allowed and still deserves a second look: rules without a condition, conditions that never change, `=` for
//! `==`, files that nothing reads. None of it keeps a policy from coming into force.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::load::check::PACKAGE;
use crate::load::files::{self, File, Kind};
use crate::load::survey::{Site, What};
use crate::load::{self, Checked, quoted};
use crate::problem::{LoadErrors, Problem};
use crate::settings::Settings;

/// Packages that the gateway asks itself, beside the decisions: the mask of the decision log.
const ASKED: &str = "system";
/// Most folders deep that unread files are looked for.
const MAX_FOLDERS: usize = 16;

/// Warnings about the policies under `directories`, in order of file, line and column.
///
/// # Errors
/// Every problem for which they could not come into force.
pub fn warnings(directories: &[PathBuf]) -> Result<Vec<Problem>, LoadErrors> {
    let settings = Settings::default();
    let read = files::read(directories, &settings, true).map_err(LoadErrors::new)?;
    let place = directories
        .first()
        .cloned()
        .unwrap_or_else(|| PathBuf::from("."));
    let mut found =
        load::aside(&place, settings.load_limit, move || look(&read)).map_err(LoadErrors::new)?;
    for directory in directories {
        unread(directory, 0, &mut found);
    }
    Ok(LoadErrors::new(found).problems)
}

fn look(read: &[File]) -> Result<Vec<Problem>, Vec<Problem>> {
    let in_force: Vec<File> = read
        .iter()
        .filter(|file| file.kind != Kind::Tests)
        .cloned()
        .collect();
    let checked = load::check_files(&in_force, false)?;
    let mut found: Vec<Problem> = checked.sites.iter().flat_map(style).collect();
    found.extend(checked.warnings.iter().cloned());
    found.extend(misplaced(&checked.sites));
    found.extend(varying(&checked));
    found.extend(unused(&in_force, &checked));
    Ok(found
        .into_iter()
        .map(|problem| quoted(problem, &in_force))
        .collect())
}

/// How a rule is written.
fn style(site: &Site) -> Vec<Problem> {
    let at =
        |(line, column): (u32, u32), message: &str| Problem::at(&site.file, line, column, message);
    let mut found = Vec::new();
    let name = site.name.first().map_or("", String::as_str);
    if site.package.join(".") == PACKAGE && !site.style.conditional {
        let said = match name {
            "allow" => Some((
                "allows everything that nothing denies",
                "right for a layer that only denies; otherwise say when: `if { .. }`",
            )),
            "approve" => Some(("everything has to be approved", "say when: `if { .. }`")),
            "deny" => Some(("refuses everything", "say when: `if { .. }`")),
            "visible" => Some(("shows everything in lists", "say when: `if { .. }`")),
            _ => None,
        };
        found.extend(said.map(|(message, hint)| at((site.line, site.column), message).hint(hint)));
    }
    for (place, holds) in &site.style.truths {
        let (message, hint) = if *holds {
            ("this condition always holds", "leave it out")
        } else {
            (
                "this condition never holds",
                "the rule does nothing; leave it out, or say what it waits for",
            )
        };
        found.push(at(*place, message).hint(hint));
    }
    let unified = site.style.unified.iter();
    found.extend(unified.map(|place| {
        at(*place, "`=` gives a value or compares, as it comes")
            .hint("compare with `==`, give a name a value with `:=`")
    }));
    found
}

/// Fields that are not there in lists of 2026-07-28: these may vary with the caller, not with the session or what it did.
const VARYING: [&str; 5] = ["session", "history", "flow", "approval", "grant"];

/// Rules of lists that read what lists of the newest revision do not have.
fn varying(checked: &Checked) -> Vec<Problem> {
    let is_list = |site: &&Site| {
        site.package.join(".") == PACKAGE && site.name.first().is_some_and(|name| name == "visible")
    };
    let nodes = checked.sites.iter().filter(is_list).map(Site::node);
    let reached = checked.graph.reached(nodes.collect());
    let sites = checked.sites.iter();
    let sites = sites.filter(|site| reached.contains(&site.node()));
    let mut found = Vec::new();
    for (site, mention) in sites.flat_map(|site| site.mentions.iter().map(move |it| (site, it))) {
        let What::Input { path, .. } = &mention.what else {
            continue;
        };
        let field = path.first().map_or("", String::as_str);
        if VARYING.contains(&field) {
            let message = format!("`input.{field}` is not there in lists of 2026-07-28");
            found.push(
                Problem::at(&site.file, mention.line, mention.column, message).hint(
                    "show by caller, server and tool, and decide the rest when the tool is called",
                ),
            );
        }
    }
    found
}

/// Tests where nobody runs them.
fn misplaced(sites: &[Site]) -> Vec<Problem> {
    let is_test = |site: &&Site| {
        site.name
            .first()
            .is_some_and(|name| name.starts_with("test_"))
    };
    let mut files = BTreeSet::new();
    let first = sites
        .iter()
        .filter(is_test)
        .filter(|site| files.insert(&site.file));
    first
        .map(|site| {
            Problem::at(
                &site.file,
                site.line,
                site.column,
                "a test in a file of rules is never run",
            )
            .hint("tests live in files named `*_test.rego`")
        })
        .collect()
}

/// Files that no decision comes to.
fn unused(files: &[File], checked: &Checked) -> Vec<Problem> {
    let begins = |site: &&Site| {
        site.package.join(".") == PACKAGE || site.package.first().is_some_and(|root| root == ASKED)
    };
    let nodes: BTreeSet<String> = checked
        .sites
        .iter()
        .filter(begins)
        .map(Site::node)
        .collect();
    let reached = checked.graph.reached(nodes);
    let mut found = Vec::new();
    for file in files {
        let used = match file.kind {
            Kind::Tests => true,
            Kind::Rules => {
                let own: Vec<&Site> = checked
                    .sites
                    .iter()
                    .filter(|site| site.file == file.path)
                    .collect();
                own.iter().any(|site| reached.contains(&site.node()))
            }
            Kind::Json | Kind::Yaml => {
                let sites = checked
                    .sites
                    .iter()
                    .filter(|site| reached.contains(&site.node()));
                sites
                    .flat_map(|site| &site.mentions)
                    .any(|mention| reads(&mention.what, &file.mount))
            }
        };
        if !used {
            found.push(
                Problem::whole(&file.path, "no decision reads anything of this file").hint(
                    "a rule of package `mcp.authz` must need it, directly or through other rules",
                ),
            );
        }
    }
    found
}

/// Whether a mention may read data mounted there.
fn reads(what: &What, mount: &[String]) -> bool {
    match what {
        What::Data { path, .. } => path.iter().zip(mount).all(|(one, other)| one == other),
        What::Input { .. } | What::Name(_) | What::Call { .. } | What::With { .. } => false,
    }
}

/// Files that look like data and are not read.
fn unread(folder: &Path, depth: usize, found: &mut Vec<Problem>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if depth < MAX_FOLDERS {
                unread(&path, depth + 1, found);
            }
            continue;
        }
        let data = path
            .extension()
            .is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known));
        let known = ["data.json", "data.yaml", "data.yml", "matrix.yaml"].contains(&name.as_str())
            || name.ends_with(".schema.json");
        if data && !known {
            found.push(
                Problem::whole(&path, "this file is not read")
                    .hint("data is read from files named `data.json` or `data.yaml`, and lies under the names of its folders"),
            );
        }
    }
}
