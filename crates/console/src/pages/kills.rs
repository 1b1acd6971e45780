//! The kill switch: what is cut off, what another kill would cut, and the acts.

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{
    DrillReport, KillClearing, KillDrill, KillListing, KillOutcome, KillSetting, KillView,
    Permission, Refused, Source,
};

use keepgate_mcp::visible::is_hidden;

use super::{Answered, Desk, Frame, Nav, Problem, approval::one_line, path_with};
use crate::{
    form::Form,
    moment::{ago, moment},
    respond::{page, see},
    text::Hostile,
};

/// Kills of a page.
const PAGE: usize = 50;
/// Names of a list; further ones are a number.
const NAMES: usize = 200;
/// Scopes, in the order of the form.
const SCOPES: [&str; 7] = [
    "caller",
    "session",
    "server",
    "tool",
    "credential",
    "tenant",
    "everything",
];

#[derive(Template)]
#[template(path = "kills.html")]
struct KillsPage {
    frame: Frame,
    problem: Option<Problem>,
    warnings: Vec<Hostile>,
    form: Option<KillForm>,
    kills: Vec<KillCard>,
    is_all: bool,
    next: Option<String>,
}

struct KillForm {
    token: String,
    scopes: Vec<ScopeOption>,
    target: String,
    tenant: String,
}

struct ScopeOption {
    word: &'static str,
    is_selected: bool,
}

struct KillCard {
    id: String,
    scope: &'static str,
    target: Option<Hostile>,
    tenant: Option<Hostile>,
    state: &'static str,
    reason: Hostile,
    by: Hostile,
    set_at: String,
    ago: String,
    expires_at: Option<String>,
    remains: Option<Hostile>,
    cleared: Option<ClearedLine>,
    /// Token of the form that clears it.
    token: Option<String>,
}

struct ClearedLine {
    by: Hostile,
    reason: Hostile,
}

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewPage {
    frame: Frame,
    token: String,
    scope: &'static str,
    target: Option<Hostile>,
    raw_target: String,
    raw_tenant: String,
    warnings: Vec<Hostile>,
    running: usize,
    sessions: usize,
    active: usize,
    callers: usize,
    servers: usize,
    lists: Vec<Names>,
}

struct Names {
    name: &'static str,
    count: usize,
    shown: Vec<Hostile>,
    more: usize,
}

impl Names {
    fn of<'a>(name: &'static str, all: impl ExactSizeIterator<Item = &'a String>) -> Self {
        let count = all.len();
        Self {
            name,
            count,
            shown: all.take(NAMES).map(|it| Hostile::brief(it)).collect(),
            more: count.saturating_sub(NAMES),
        }
    }
}

impl<S: Source> Desk<'_, S> {
    /// The kills. `refused` is an act that did not happen, `warnings` those of one that did.
    pub(super) fn kills(&self, refused: Option<&Refused>, warnings: &[String]) -> Answered {
        let is_all = self.query.text("all") == "true";
        let after = self.query.given("after");
        let listing = KillListing::new(is_all, after, PAGE);
        let listed = self.admin.list_kills(self.operator(), &listing)?;
        let next = listed.next.map(|next| {
            let all = is_all.then_some("true");
            path_with("/console/kills", &[("all", all), ("after", Some(&next))])
        });
        let warnings = warnings.iter().chain(&listed.warnings);
        let template = KillsPage {
            frame: self.frame(Nav::Kills),
            problem: refused.map(Problem::of),
            warnings: warnings.map(|it| Hostile::whole(it)).collect(),
            form: self.may(Permission::Drill).then(|| self.kill_form()),
            kills: listed.kills.iter().map(|kill| self.card(kill)).collect(),
            is_all,
            next,
        };
        let status = refused.map_or(StatusCode::OK, Refused::status);
        Ok(page(status, &template))
    }

    /// The form, filled in by a link on a session or a server.
    fn kill_form(&self) -> KillForm {
        let scope = self.query.text("scope");
        KillForm {
            token: self.visitor.form_token("/console/kills/preview"),
            scopes: SCOPES
                .map(|word| ScopeOption {
                    word,
                    is_selected: word == scope,
                })
                .into(),
            target: self.seen("target"),
            tenant: self.seen("tenant"),
        }
    }

    /// A value of a link for the form, if all of it can be seen: one who reads the form must not be misled.
    fn seen(&self, name: &str) -> String {
        let value = self.query.text(name);
        if value.chars().any(is_hidden) {
            return String::new();
        }
        value.to_owned()
    }

    fn card(&self, kill: &KillView) -> KillCard {
        let is_active = kill.state == "active";
        let path = format!("/console/kills/{}/clear", kill.id);
        let may_clear = self.may(Permission::Clear) && is_active;
        let cleared = kill.cleared_by.as_ref().map(|by| ClearedLine {
            by: Hostile::brief(by),
            reason: Hostile::whole(kill.cleared_reason.as_deref().unwrap_or_default()),
        });
        KillCard {
            token: may_clear.then(|| self.visitor.form_token(&path)),
            id: kill.id.clone(),
            scope: kill.scope,
            target: kill.target.as_deref().map(Hostile::whole),
            tenant: kill.tenant.as_deref().map(Hostile::brief),
            state: kill.state,
            reason: Hostile::whole(&kill.reason),
            by: Hostile::brief(&kill.by),
            ago: ago(&kill.set_at, self.now),
            set_at: moment(&kill.set_at),
            expires_at: kill.expires_at.as_deref().map(moment),
            remains: kill.remains().as_deref().map(Hostile::whole),
            cleared,
        }
    }

    /// Shows the reach of a kill before it is set; on record as a drill.
    pub(super) async fn preview(&self, form: &Form) -> Answered {
        let (target, tenant) = (form.given("target"), form.given("tenant"));
        let drill = KillDrill::new(form.text("scope"), target, tenant);
        match self.admin.drill(self.operator(), &drill).await {
            Ok(report) => Ok(self.preview_page(&report, target, tenant)),
            Err(refused) => self.kills(Some(&refused), &[]),
        }
    }

    fn preview_page(
        &self,
        report: &DrillReport,
        target: Option<&str>,
        tenant: Option<&str>,
    ) -> Response<Bytes> {
        let cut = &report.would_cut;
        let template = PreviewPage {
            frame: self.frame(Nav::Kills),
            token: self.visitor.form_token("/console/kills"),
            scope: report.scope,
            target: target.map(Hostile::brief),
            raw_target: target.unwrap_or_default().to_owned(),
            raw_tenant: tenant.unwrap_or_default().to_owned(),
            warnings: report
                .warnings
                .iter()
                .map(|it| Hostile::whole(it))
                .collect(),
            running: cut.running,
            sessions: cut.sessions,
            active: cut.sessions_active,
            callers: cut.callers.len(),
            servers: cut.servers.len(),
            lists: vec![
                Names::of("Callers", cut.callers.iter()),
                Names::of("Servers", cut.servers.iter()),
            ],
        };
        page(StatusCode::OK, &template)
    }

    /// Sets a kill.
    pub(super) async fn set_kill(&self, form: &Form) -> Answered {
        let setting = KillSetting::new(
            form.text("scope"),
            form.given("target"),
            form.given("tenant"),
            &one_line(form.text("reason")),
            form.given("expires_in"),
        );
        let set = self.admin.set_kill(self.operator(), &setting).await;
        self.kill_acted(set)
    }

    /// Clears one.
    pub(super) async fn clear_kill(&self, id: &str, form: &Form) -> Answered {
        let clearing = KillClearing::new(&one_line(form.text("reason")));
        let cleared = self.admin.clear_kill(self.operator(), id, &clearing).await;
        self.kill_acted(cleared)
    }

    fn kill_acted(&self, acted: Result<KillOutcome, Refused>) -> Answered {
        match acted {
            Ok(outcome) if outcome.warnings.is_empty() => Ok(see("/console/kills")),
            Ok(outcome) => self.kills(None, &outcome.warnings),
            Err(refused) => self.kills(Some(&refused), &[]),
        }
    }
}
