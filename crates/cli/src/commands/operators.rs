//! `operators add|list|revoke`: a running gateway sees the change as soon as the file is written.

use std::path::Path;
use std::time::SystemTime;

use keepgate_admin::{Entry, OperatorError, Role};
use serde::Serialize;

use super::Context;
use crate::arguments::{Operators, State};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::table;

/// `operators ..`.
pub(super) fn run(command: Operators, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Operators::Add {
            name,
            roles,
            groups,
            new_file,
            state,
        } => {
            let directory = context.known_state(state.directory)?;
            if new_file {
                keepgate_admin::begin(&directory).map_err(|error| failed(&error))?;
            }
            add(&name, (roles, groups), &directory, context)
        }
        Operators::List { state } => list(state, context),
        Operators::Revoke { name, state } => revoke(&name, state, context),
    }
}

/// Which code an error ends with.
fn failed(error: &OperatorError) -> Failure {
    let exit = if matches!(
        error,
        OperatorError::Name(_)
            | OperatorError::Group(_)
            | OperatorError::Roles(_)
            | OperatorError::Taken(_)
            | OperatorError::Present { .. }
    ) {
        Exit::Usage
    } else if matches!(error, OperatorError::Unknown(_)) {
        Exit::Negative
    } else {
        Exit::State
    };
    Failure::caused(exit, error)
}

/// An operator as it is shown.
#[derive(Serialize)]
struct Shown {
    name: String,
    roles: Vec<Role>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    added: String,
    revoked: Option<String>,
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name,
            roles: entry.roles,
            groups: entry.groups,
            added: entry.added,
            revoked: entry.revoked,
        }
    }
}

/// A new operator with the token.
#[derive(Serialize)]
struct Added<'a> {
    token: &'a str,
    #[serde(flatten)]
    shown: Shown,
}

/// `operators add`.
fn add(
    name: &str,
    (roles, groups): (Vec<Role>, Vec<String>),
    directory: &Path,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let (entry, token) = keepgate_admin::add(directory, name, roles, groups, SystemTime::now())
        .map_err(|error| failed(&error))?;
    let added = Added {
        token: &token,
        shown: entry.into(),
    };
    Ok(context.output.print(&added, |added| {
        format!(
            "{}\n\noperator {}, roles {}\nThe token is shown this once. Keep it in a file only its owner reads, for --token-file.\n",
            added.token,
            added.shown.name,
            words(&added.shown.roles)
        )
    })?)
}

fn words(roles: &[Role]) -> String {
    let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    words.join(",")
}

/// All operators.
#[derive(Serialize)]
struct List {
    operators: Vec<Shown>,
}

/// `operators list`.
fn list(state: State, context: &mut Context<'_>) -> Result<(), Failure> {
    let directory = context.known_state(state.directory)?;
    let operators = keepgate_admin::read(&directory).map_err(|error| failed(&error))?;
    let list = List {
        operators: operators.into_iter().map(Shown::from).collect(),
    };
    Ok(context.output.print(&list, |list| {
        let row = |shown: &Shown| {
            [
                shown.name.clone(),
                words(&shown.roles),
                shown.groups.join(","),
                shown.added.clone(),
                shown.revoked.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        };
        let rows: Vec<_> = list.operators.iter().map(row).collect();
        let mut said = table(["NAME", "ROLES", "GROUPS", "ADDED", "REVOKED"], &rows);
        said.push_str(
            "Beside them, whoever holds the admin token is `bootstrap`, with the role admin.\n",
        );
        said
    })?)
}

/// `operators revoke`.
fn revoke(name: &str, state: State, context: &mut Context<'_>) -> Result<(), Failure> {
    let directory = context.known_state(state.directory)?;
    let entry = keepgate_admin::revoke(&directory, name, SystemTime::now())
        .map_err(|error| failed(&error))?;
    let shown = Shown::from(entry);
    context.output.report(&shown, |shown| {
        format!(
            "revoked the token of {}; running gateways refuse it within seconds\n",
            shown.name
        )
    });
    Ok(())
}
