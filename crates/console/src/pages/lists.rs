//! Sessions and servers.

use std::collections::HashMap;

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{Permission, Server, Session, Source};

use super::{Desk, Frame, Nav, path_with};
use crate::{moment::length, respond::page, text::Hostile};

/// Rows of a page.
const PAGE: usize = 100;
/// Tenant of callers that name none.
const DEFAULT_TENANT: &str = "default";

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    count: usize,
    rows: Vec<SessionRow>,
    may_end: bool,
    next: Option<String>,
}

struct SessionRow {
    id: Hostile,
    caller: Hostile,
    client: Option<Hostile>,
    tenant: Option<Hostile>,
    server: Hostile,
    age: String,
    idle: String,
    end: String,
}

#[derive(Template)]
#[template(path = "servers.html")]
struct ServersPage {
    frame: Frame,
    rows: Vec<ServerRow>,
    may_cut: bool,
    next: Option<String>,
}

struct ServerRow {
    name: Hostile,
    owner: Option<Hostile>,
    environment: Option<Hostile>,
    trust: &'static str,
    labels: Vec<Hostile>,
    sessions: usize,
    kind: &'static str,
    target: Hostile,
    cut: String,
}

impl<S: Source> Desk<'_, S> {
    /// Open sessions, by their ids.
    pub(super) async fn sessions(&self) -> Response<Bytes> {
        let all = self.admin.source().sessions();
        let count = all.len();
        let (rows, next) = paged(all, self.query.text("after"), |session| &*session.id);
        let template = SessionsPage {
            frame: self.frame(Some(Nav::Sessions)).await,
            count,
            next: next.map(|next| path_with("/console/sessions", &[("after", Some(&next))])),
            rows: rows.iter().map(session_row).collect(),
            may_end: self.may(Permission::Drill),
        };
        page(StatusCode::OK, &template)
    }

    /// Servers of the configuration, by their names.
    pub(super) async fn servers(&self) -> Response<Bytes> {
        let mut counts = HashMap::<String, usize>::new();
        for session in self.admin.source().sessions() {
            *counts.entry(session.server).or_default() += 1;
        }
        let all = self.admin.source().servers();
        let (rows, next) = paged(all, self.query.text("after"), |server| &*server.name);
        let rows = rows.iter().map(|server| {
            let sessions = counts.get(&server.name).copied().unwrap_or_default();
            server_row(server, sessions)
        });
        let template = ServersPage {
            frame: self.frame(Some(Nav::Servers)).await,
            rows: rows.collect(),
            may_cut: self.may(Permission::Drill),
            next: next.map(|next| path_with("/console/servers", &[("after", Some(&next))])),
        };
        page(StatusCode::OK, &template)
    }
}

/// One page of `all`, which begins after the key `after`, and the key after which the next one begins.
fn paged<T>(mut all: Vec<T>, after: &str, key: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
    all.sort_by(|one, other| key(one).cmp(key(other)));
    let begin = all.partition_point(|it| !after.is_empty() && key(it) <= after);
    let mut rows: Vec<T> = all.drain(begin..).take(PAGE + 1).collect();
    let has_more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = rows
        .last()
        .filter(|_| has_more)
        .map(|last| key(last).to_owned());
    (rows, next)
}

fn kill_link(scope: &str, target: &str) -> String {
    path_with(
        "/console/kills",
        &[("scope", Some(scope)), ("target", Some(target))],
    )
}

fn session_row(session: &Session) -> SessionRow {
    let tenant = Some(&session.tenant).filter(|tenant| *tenant != DEFAULT_TENANT);
    SessionRow {
        id: Hostile::brief(&session.id),
        caller: Hostile::brief(&session.caller),
        client: session.client.as_deref().map(Hostile::brief),
        tenant: tenant.map(|tenant| Hostile::brief(tenant)),
        server: Hostile::brief(&session.server),
        age: length(session.age_s),
        idle: length(session.idle_s),
        end: kill_link("session", &session.id),
    }
}

fn server_row(server: &Server, sessions: usize) -> ServerRow {
    ServerRow {
        name: Hostile::brief(&server.name),
        owner: server.owner.as_deref().map(Hostile::brief),
        environment: server.environment.as_deref().map(Hostile::brief),
        trust: server.trust,
        labels: server.labels.iter().map(|it| Hostile::brief(it)).collect(),
        sessions,
        kind: server.kind,
        target: Hostile::brief(&server.target),
        cut: kill_link("server", &server.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_paged_by_key_and_lose_nothing() {
        let all: Vec<String> = (0..250).map(|at| format!("s{at:03}")).rev().collect();
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (rows, next) = paged(all.clone(), &after, |it| it);
            assert!(rows.len() <= PAGE);
            seen.extend(rows);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        let mut sorted = all;
        sorted.sort();
        assert_eq!(seen, sorted);
    }
}
