//! `keys create|list|revoke`: a running gateway sees the change as soon as the file is written.

use std::path::Path;
use std::time::SystemTime;

use keepgate_authn::{ApiKey, ApiKeys, KeyRequest, StoreError};
use keepgate_mcp::visible::visible;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Context;
use crate::arguments::{CreateKey, Keys, State};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::table;

/// `keys ..`.
pub(super) fn run(command: Keys, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Keys::Create(wish) => create(wish, context),
        Keys::List { state } => list(state, context),
        Keys::Revoke { id, state } => revoke(&id, state, context),
    }
}

/// Opens the store.
fn open(state: State, context: &Context<'_>) -> Result<ApiKeys, Failure> {
    ApiKeys::open(&context.known_state(state.directory)?).map_err(|error| failed(&error))
}

/// Which code an error of the store ends with.
fn failed(error: &StoreError) -> Failure {
    let exit = if matches!(
        error,
        StoreError::Request { .. } | StoreError::Present { .. }
    ) {
        Exit::Usage
    } else if matches!(error, StoreError::Unknown { .. }) {
        Exit::Negative
    } else {
        Exit::State
    };
    Failure::caused(exit, error)
}

/// A key as it is shown.
#[derive(Serialize)]
struct Shown {
    id: String,
    subject: String,
    tenant: String,
    status: &'static str,
    roles: Vec<String>,
    scopes: Vec<String>,
    servers: Option<Vec<String>>,
    created: String,
    expires: Option<String>,
    revoked: Option<String>,
}

impl Shown {
    fn new(key: ApiKey, now: SystemTime) -> Self {
        Self {
            status: key.status(now).as_str(),
            id: key.id,
            subject: key.subject,
            tenant: key.tenant,
            roles: key.roles,
            scopes: key.scopes,
            servers: key.servers,
            created: stamp(key.created),
            expires: key.expires.map(stamp),
            revoked: key.revoked.map(stamp),
        }
    }
}

/// A time in RFC 3339, UTC.
fn stamp(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A new key with its secret.
#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    #[serde(flatten)]
    shown: Shown,
}

/// `keys create`.
fn create(wish: CreateKey, context: &mut Context<'_>) -> Result<(), Failure> {
    let now = SystemTime::now();
    let state = context.known_state(wish.state.directory)?;
    if let Some(owner) = &wish.owner {
        check_owner(owner, &state)?;
    }
    let keys = ApiKeys::open(&state).map_err(|error| failed(&error))?;
    let request = KeyRequest {
        subject: wish.subject,
        owner: wish.owner,
        roles: wish.roles,
        scopes: wish.scopes,
        tenant: String::new(),
        servers: (!wish.servers.is_empty()).then_some(wish.servers),
        expires: wish.expires.and_then(|lifetime| now.checked_add(lifetime)),
    };
    if wish.new_file {
        keys.begin().map_err(|error| failed(&error))?;
    }
    let created = keys.create(request, now).map_err(|error| failed(&error))?;
    let shown = Created {
        key: &created.secret,
        shown: Shown::new(created.key, now),
    };
    Ok(context.output.print(&shown, |created| {
        format!(
            "{}\n\nid {}, subject {}, expires {}\nThe key is shown this once. Send it as `Authorization: Bearer <key>`.\n",
            created.key,
            created.shown.id,
            created.shown.subject,
            created.shown.expires.as_deref().unwrap_or("never")
        )
    })?)
}

/// Accepts owners that can be compared with who decides: an operator's name, or a person of a token issuer. Any other text
/// would compare with nobody, and its owner could approve the key's calls.
fn check_owner(owner: &str, state: &Path) -> Result<(), Failure> {
    if let Some((issuer, subject)) = owner.split_once('#') {
        let is_url = issuer
            .strip_prefix("https://")
            .is_some_and(|rest| !rest.is_empty());
        if is_url && !subject.is_empty() {
            return Ok(());
        }
    }
    let operators = keepgate_admin::read(state);
    let operators = operators.map_err(|error| Failure::caused(Exit::State, &error))?;
    if operators.iter().any(|operator| operator.name == owner) {
        return Ok(());
    }
    let message = format!(
        "no operator has the name of this owner: `{}`",
        visible(owner)
    );
    Err(Failure::new(Exit::Usage, message).hint(
        "`keepgate operators add` first; a person of a token issuer is named https://ISSUER#SUBJECT",
    ))
}

/// All keys.
#[derive(Serialize)]
struct List {
    keys: Vec<Shown>,
}

/// `keys list`.
fn list(state: State, context: &mut Context<'_>) -> Result<(), Failure> {
    let now = SystemTime::now();
    let keys = open(state, context)?
        .list()
        .map_err(|error| failed(&error))?;
    let list = List {
        keys: keys.into_iter().map(|key| Shown::new(key, now)).collect(),
    };
    Ok(context.output.print(&list, |list| {
        if list.keys.is_empty() {
            return "no keys yet, make one with `keepgate keys create --subject NAME`\n".to_owned();
        }
        let join = |names: &[String]| {
            if names.is_empty() {
                "-".to_owned()
            } else {
                names.join(",")
            }
        };
        let row = |key: &Shown| {
            [
                key.id.clone(),
                key.subject.clone(),
                key.status.to_owned(),
                join(&key.roles),
                join(&key.scopes),
                key.servers
                    .as_deref()
                    .map_or_else(|| "all".to_owned(), join),
                key.expires.clone().unwrap_or_else(|| "never".to_owned()),
            ]
        };
        let rows: Vec<_> = list.keys.iter().map(row).collect();
        table(
            [
                "ID", "SUBJECT", "STATUS", "ROLES", "SCOPES", "SERVERS", "EXPIRES",
            ],
            &rows,
        )
    })?)
}

/// `keys revoke`.
fn revoke(id: &str, state: State, context: &mut Context<'_>) -> Result<(), Failure> {
    let now = SystemTime::now();
    let key = open(state, context)?
        .revoke(id, now)
        .map_err(|error| failed(&error))?;
    let shown = Shown::new(key, now);
    context.output.report(&shown, |key| {
        format!(
            "revoked {} of {}; running gateways refuse it within seconds\n",
            key.id, key.subject
        )
    });
    Ok(())
}
