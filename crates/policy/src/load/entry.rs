//! The entries of the sets that decide and oblige, as far as they are written out: a key misspelt is found when the policy is
//! loaded, not when the first call is refused for it.

use regorus::Value;
use regorus::value::Set;

use super::check::DECISIONS;
use super::nearest::nearest;
use super::survey::{Kind, Site};
use crate::answer::{self, Odd, obligations};
use crate::obligations::Obligations;
use crate::problem::Problem;

/// The keys an entry of a set may have; none known of a set whose entries are no objects.
fn known(set: &str) -> &'static [&'static str] {
    match set {
        "allow" | "visible" => &["code", "message"],
        "deny" => &["code", "message", "scopes"],
        "approve" => answer::APPROVE_KEYS,
        "redact" => &["result", "field", "pattern", "remove"],
        "max_records" => &["max", "result"],
        "limit" => &["name", "rate", "by"],
        "set_arguments" => &["path", "value"],
        "audit" => &["level"],
        "credential" => &["ref"],
        _ => &[],
    }
}

/// What is wrong with the entry of a rule of ours.
pub(crate) fn check(site: &Site) -> Vec<Problem> {
    let set = site.name.first().map_or("", String::as_str);
    let mut problems: Vec<Problem> = always(site, set).into_iter().collect();
    if site.kind != Kind::Set {
        return problems;
    }
    let known = known(set);
    let unknown = site
        .style
        .keys
        .iter()
        .filter(|(key, _)| !known.is_empty() && !known.contains(&key.as_str()));
    for (key, (line, column)) in unknown {
        let problem = Problem::at(
            &site.file,
            *line,
            *column,
            format!("an entry of `{set}` has no key `{key}`"),
        );
        problems.push(match nearest(key, known.iter().copied()) {
            Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
            None => problem.hint(format!(
                "it may have {}",
                known
                    .iter()
                    .map(|key| format!("`{key}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        });
    }
    if problems.is_empty() {
        problems.extend(odd(site, set));
    }
    problems
}

/// An allowance whose condition always holds looks like one that does not.
fn always(site: &Site, set: &str) -> Option<Problem> {
    let (line, column) = site.style.always?;
    matches!(set, "allow" | "visible").then(|| {
        Problem::at(
            &site.file,
            line,
            column,
            format!("the condition of this `{set}` always holds"),
        )
        .hint("leave `if` out to say that there is none")
    })
}

/// An entry written out whole is read as it will be.
fn odd(site: &Site, set: &str) -> Option<Problem> {
    let wrong = wrong(set, site.constant.clone()?)?;
    Some(
        Problem::at(
            &site.file,
            site.line,
            site.column,
            format!("an entry of `{set}` is not one: {wrong}"),
        )
        .hint(shape(set)),
    )
}

/// What is wrong with an entry of a set.
pub(crate) fn wrong(set: &str, entry: Value) -> Option<Odd> {
    let mut entries = Set::new();
    entries.insert(entry);
    let entries: Value = entries.into_value();
    let read = match set {
        "deny" => answer::denials(&entries).map(drop),
        "approve" => answer::approval(&entries).map(drop),
        set if DECISIONS.contains(&set) => answer::reasons(&entries, "").map(drop),
        set => obligations::read(set, &entries, &mut Obligations::default()),
    };
    // What cannot be carried out yet is refused call by call, with a code of its own.
    read.err()
        .filter(|wrong| *wrong != obligations::UNSUPPORTED)
}

/// An entry as it should be.
fn shape(set: &str) -> &'static str {
    match set {
        "redact" => {
            "write `{\"result\": \"/items/*/ssn\"}`, `{\"field\": \"ssn\"}` or `{\"pattern\": \"email\"}`"
        }
        "max_records" => "write a number, or `{\"max\": 100, \"result\": \"/items\"}`",
        "max_bytes" => "write a number of bytes",
        "limit" => "write `{\"name\": \"exports\", \"rate\": \"10/1h\", \"by\": \"session\"}`",
        "set_arguments" => "write `{\"path\": \"/dry_run\", \"value\": true}`",
        "timeout" => "write a time such as `5s`",
        "audit" => "write `{\"level\": \"summary\"}`: metadata, summary or full",
        "credential" => "write `{\"ref\": \"vault:secret/x#y\"}`",
        "labels" => "write one word",
        "notify" => "write the name of a target of `approvals.notify`",
        _ => "write a text, or `{\"code\": \"..\", \"message\": \"..\"}`",
    }
}
