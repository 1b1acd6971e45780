//! The kill switch: what is cut off, what another kill would cut, and the acts.

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{
    DrillReport, KillClearing, KillDrill, KillListing, KillOutcome, KillSetting, KillView,
    Permission, Refused, Session, Source,
};
use keepgate_mcp::visible::is_hidden;

use super::{Answered, Desk, Frame, Nav, Problem, approval::one_line, path_with};
use crate::{
    form::Form,
    moment::{ago, moment},
    respond::{page, see},
    sessions::Notice,
    text::Hostile,
};

/// Kills of a page.
const PAGE: usize = 50;
/// Names of a list; further ones are a number.
const NAMES: usize = 200;
/// Times after which a kill ends by itself, as they are sent and as they are shown.
const ENDS: [(&str, &str); 6] = [
    ("", "never, until it is cleared"),
    ("15m", "15 minutes"),
    ("1h", "1 hour"),
    ("8h", "8 hours"),
    ("1d", "1 day"),
    ("7d", "7 days"),
];
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
    notices: Vec<NoticeLine>,
    warnings: Vec<Hostile>,
    form: Option<KillForm>,
    kills: Vec<KillCard>,
    is_all: bool,
    next: Option<String>,
}

struct NoticeLine {
    class: &'static str,
    text: Hostile,
}

struct KillForm {
    token: String,
    scopes: Vec<Choice>,
    target: String,
    tenant: String,
}

struct Choice {
    value: &'static str,
    name: &'static str,
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
    clear: Option<ClearForm>,
    /// Whether another operator has to clear it.
    is_of_others: bool,
}

struct ClearedLine {
    by: Hostile,
    reason: Hostile,
}

struct ClearForm {
    token: String,
    reason: String,
    is_open: bool,
}

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewPage {
    frame: Frame,
    problem: Option<Problem>,
    token: String,
    action: String,
    scope: &'static str,
    /// One line each, for the heading and the button; the whole values are in `raw_…` and in the list of what is cut off.
    target: Option<Hostile>,
    tenant: Option<Hostile>,
    whole_target: Option<Hostile>,
    whole_tenant: Option<Hostile>,
    raw_target: String,
    raw_tenant: String,
    reason: String,
    ends: Vec<Choice>,
    warnings: Vec<Hostile>,
    running: usize,
    sessions: usize,
    active: usize,
    callers: usize,
    servers: usize,
    lists: Vec<Names>,
    session_lines: Vec<SessionLine>,
    more_sessions: usize,
}

struct SessionLine {
    id: Hostile,
    caller: Hostile,
    server: Hostile,
    tenant: Hostile,
    client: Option<Hostile>,
    grant: Option<Hostile>,
}

impl SessionLine {
    fn of(session: &Session) -> Self {
        Self {
            id: Hostile::whole(&session.id),
            caller: Hostile::whole(&session.caller),
            server: Hostile::whole(&session.server),
            tenant: Hostile::whole(&session.tenant),
            client: session.client.as_deref().map(Hostile::whole),
            grant: session.grant.as_deref().map(Hostile::whole),
        }
    }
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
            shown: all.take(NAMES).map(|it| Hostile::whole(it)).collect(),
            more: count.saturating_sub(NAMES),
        }
    }
}

/// An act that did not happen, with its form, so that a person need not write it again.
pub(super) struct FailedAct<'a> {
    refused: Refused,
    form: &'a Form,
    /// The kill that was to be cleared, if it was that.
    cleared: Option<&'a str>,
}

impl<S: Source> Desk<'_, S> {
    /// The kills.
    pub(super) async fn kills(&self, failed: Option<FailedAct<'_>>) -> Answered {
        let is_all = self.query.text("all") == "true";
        let after = self.query.given("after");
        let listing = KillListing::new(is_all, after, PAGE);
        let listed = self.admin.list_kills(self.operator(), &listing)?;
        let next = listed.next.map(|next| {
            let all = is_all.then_some("true");
            path_with("/console/kills", &[("all", all), ("after", Some(&next))])
        });
        let failed = failed.as_ref();
        let notices = self.tools.sessions.take_notices(self.visitor);
        let cards = listed.kills.iter().map(|kill| self.card(kill, failed));
        let template = KillsPage {
            frame: self.frame(Some(Nav::Kills)).await,
            problem: failed.map(|failed| Problem::of(&failed.refused)),
            notices: notices.iter().map(notice_line).collect(),
            warnings: listed
                .warnings
                .iter()
                .map(|it| Hostile::whole(it))
                .collect(),
            form: self.may(Permission::Drill).then(|| self.kill_form(failed)),
            kills: cards.collect(),
            is_all,
            next,
        };
        let status = failed.map_or(StatusCode::OK, |failed| failed.refused.status());
        Ok(page(status, &template))
    }

    /// The form, filled in by a link on a session or a server, or as it was sent.
    fn kill_form(&self, failed: Option<&FailedAct<'_>>) -> KillForm {
        let sent = failed.filter(|failed| failed.cleared.is_none());
        let value = |name: &str| match sent {
            Some(failed) => failed.form.text(name).to_owned(),
            None => self.seen(name),
        };
        let scope = value("scope");
        KillForm {
            token: self.visitor.form_token("/console/kills/preview"),
            scopes: SCOPES
                .map(|word| Choice {
                    value: word,
                    name: word,
                    is_selected: *word == *scope,
                })
                .into(),
            target: value("target"),
            tenant: value("tenant"),
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

    fn card(&self, kill: &KillView, failed: Option<&FailedAct<'_>>) -> KillCard {
        let is_active = kill.state == "active";
        let may_clear = is_active && self.admin.may_clear(self.operator(), kill);
        let failed = failed.filter(|failed| failed.cleared == Some(&*kill.id));
        let cleared = kill.cleared_by.as_ref().map(|by| ClearedLine {
            by: Hostile::brief(by),
            reason: Hostile::whole(kill.cleared_reason.as_deref().unwrap_or_default()),
        });
        KillCard {
            clear: may_clear.then(|| ClearForm {
                token: self.visitor.form_token(&clear_path(&kill.id)),
                reason: failed.map_or("", |it| it.form.text("reason")).to_owned(),
                is_open: failed.is_some(),
            }),
            is_of_others: is_active && !may_clear && self.may(Permission::Clear),
            id: kill.id.clone(),
            scope: kill.scope,
            target: kill.target.as_deref().map(Hostile::whole),
            tenant: kill.tenant.as_deref().map(Hostile::whole),
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
        match self.admin.drill(self.operator(), &drill(form)).await {
            Ok(report) => Ok(self.preview_page(&report, form, None).await),
            Err(refused) => self.kills(Some(failed(refused, form))).await,
        }
    }

    async fn preview_page(
        &self,
        report: &DrillReport,
        form: &Form,
        refused: Option<&Refused>,
    ) -> Response<Bytes> {
        let cut = &report.would_cut;
        // Of the report, not of the form: what is shown is what was understood, and what is sent.
        let (target, tenant) = (report.target.as_deref(), report.tenant.as_deref());
        let members = [
            ("scope", Some(report.scope)),
            ("target", target),
            ("tenant", tenant),
        ];
        let lines = cut.session_list.iter().take(NAMES).map(SessionLine::of);
        let template = PreviewPage {
            frame: self.frame(Some(Nav::Kills)).await,
            problem: refused.map(Problem::of),
            token: self.visitor.form_token("/console/kills"),
            action: path_with("/console/kills", &members),
            scope: report.scope,
            target: target.map(Hostile::brief),
            tenant: tenant.map(Hostile::brief),
            whole_target: target.map(Hostile::whole),
            whole_tenant: tenant.map(Hostile::whole),
            raw_target: target.unwrap_or_default().to_owned(),
            raw_tenant: tenant.unwrap_or_default().to_owned(),
            reason: form.text("reason").to_owned(),
            ends: ENDS
                .map(|(value, name)| Choice {
                    value,
                    name,
                    is_selected: value == form.text("expires_in"),
                })
                .into(),
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
            session_lines: lines.collect(),
            more_sessions: cut.sessions.saturating_sub(NAMES),
        };
        let status = refused.map_or(StatusCode::OK, Refused::status);
        page(status, &template)
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
        let setting = self.admin.set_kill(self.operator(), &setting);
        match self.try_act(setting).await {
            Ok(outcome) => Ok(self.kill_acted(&outcome, "is set")),
            Err(refused) => match self.admin.kill_reach(self.operator(), &drill(form)) {
                Ok(report) => Ok(self.preview_page(&report, form, Some(&refused)).await),
                Err(_of_the_reach) => self.kills(Some(failed(refused, form))).await,
            },
        }
    }

    /// Clears one.
    pub(super) async fn clear_kill(&self, id: &str, form: &Form) -> Answered {
        let clearing = KillClearing::new(&one_line(form.text("reason")));
        let clearing = self.admin.clear_kill(self.operator(), id, &clearing);
        match self.try_act(clearing).await {
            Ok(outcome) => Ok(self.kill_acted(&outcome, "is cleared")),
            Err(refused) => {
                let failed = FailedAct {
                    cleared: Some(id),
                    ..failed(refused, form)
                };
                self.kills(Some(failed)).await
            }
        }
    }

    /// The way to the page with the report of an act: a reload of it acts no second time.
    fn kill_acted(&self, outcome: &KillOutcome, done: &str) -> Response<Bytes> {
        let text = match outcome.cut {
            0 => format!("Kill {} {done}.", outcome.kill.id),
            1 => format!(
                "Kill {} {done}: 1 running call or stream was cut.",
                outcome.kill.id
            ),
            cut => format!(
                "Kill {} {done}: {cut} running calls and streams were cut.",
                outcome.kill.id
            ),
        };
        let warnings = outcome.warnings.iter().map(|text| Notice {
            is_warning: true,
            text: text.clone(),
        });
        let done = Notice {
            is_warning: false,
            text,
        };
        let notices = warnings.chain([done]).collect();
        self.tools.sessions.leave(self.visitor, notices);
        see("/console/kills")
    }
}

/// Path of the form that clears a kill.
fn clear_path(id: &str) -> String {
    format!("/console/kills/{id}/clear")
}

fn drill(form: &Form) -> KillDrill {
    let (target, tenant) = (form.given("target"), form.given("tenant"));
    KillDrill::new(form.text("scope"), target, tenant)
}

fn failed(refused: Refused, form: &Form) -> FailedAct<'_> {
    FailedAct {
        refused,
        form,
        cleared: None,
    }
}

fn notice_line(notice: &Notice) -> NoticeLine {
    NoticeLine {
        class: if notice.is_warning { "warn" } else { "good" },
        text: Hostile::whole(&notice.text),
    }
}
