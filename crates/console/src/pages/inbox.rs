//! The inbox: calls that wait for a person, then what became of others.

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{ApprovalListing, Source};
use keepgate_approval::{Risk, View};
use keepgate_call::Tenant;
use keepgate_store::approvals::ApprovalState;

use super::{Answered, Desk, Frame, Nav, approval::own_path, frame::approvals_of, path_with};
use crate::{
    moment::{ago, left, moment},
    respond::page,
    text::Hostile,
};

/// Approvals of a page.
const PAGE: u32 = 25;
/// Approvals of the past below those that wait.
const RECENT: u32 = 10;

/// A view of the inbox.
struct InboxView {
    word: &'static str,
    name: &'static str,
    states: &'static [ApprovalState],
}

const VIEWS: [InboxView; 6] = [
    InboxView {
        word: "waiting",
        name: "Waiting",
        states: &[ApprovalState::Pending],
    },
    InboxView {
        word: "approved",
        name: "Approved",
        states: &[ApprovalState::Approved],
    },
    InboxView {
        word: "denied",
        name: "Denied",
        states: &[ApprovalState::Denied],
    },
    InboxView {
        word: "used",
        name: "Used",
        states: &[ApprovalState::Consumed],
    },
    InboxView {
        word: "ended",
        name: "Ended",
        states: &[
            ApprovalState::Expired,
            ApprovalState::Cancelled,
            ApprovalState::Revoked,
        ],
    },
    InboxView {
        word: "all",
        name: "All",
        states: &[],
    },
];

#[derive(Template)]
#[template(path = "inbox.html")]
struct InboxPage {
    frame: Frame,
    tenant: Option<Hostile>,
    others: Vec<OtherTenant>,
    tabs: Vec<Tab>,
    lists: Vec<List>,
}

/// Another tenant in which approvals wait.
struct OtherTenant {
    name: Hostile,
    path: String,
    count: u64,
}

struct Tab {
    name: &'static str,
    path: String,
    is_current: bool,
}

/// Approvals under one heading.
struct List {
    title: &'static str,
    is_headed: bool,
    is_first: bool,
    none: &'static str,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    path: String,
    subject: Hostile,
    server: Hostile,
    caller: Hostile,
    reason: Hostile,
    is_high: bool,
    is_pending: bool,
    state: &'static str,
    until: String,
    left: String,
    at: String,
    ago: String,
}

fn others(frame: &Frame) -> Vec<OtherTenant> {
    let line = |(tenant, count): &(Tenant, u64)| OtherTenant {
        name: Hostile::brief(tenant.as_str()),
        path: approvals_of(tenant),
        count: *count,
    };
    frame.others().iter().map(line).collect()
}

impl<S: Source> Desk<'_, S> {
    /// The inbox, or one view of it.
    pub(super) async fn inbox(&self) -> Answered {
        let tenant = self.query.given("tenant");
        let word = self.query.given("state").unwrap_or("waiting");
        let view = VIEWS.iter().find(|view| view.word == word);
        let view = view.ok_or(keepgate_admin::Refused::Path)?;
        let after = self.query.given("after");
        let mut first = self.list(view, after, PAGE).await?;
        first.is_first = after.is_none() && word == "waiting";
        let mut lists = vec![first];
        if word == "waiting" && after.is_none() {
            let decided = InboxView {
                word: "all",
                name: "Recently decided",
                states: &[
                    ApprovalState::Approved,
                    ApprovalState::Denied,
                    ApprovalState::Consumed,
                    ApprovalState::Expired,
                    ApprovalState::Cancelled,
                    ApprovalState::Revoked,
                ],
            };
            let mut recent = self.list(&decided, None, RECENT).await?;
            recent.next = None;
            recent.is_headed = true;
            if !recent.rows.is_empty() {
                lists.push(recent);
            }
        }
        let tabs = VIEWS.iter().map(|view| Tab {
            name: view.name,
            path: path_with(
                "/console/approvals",
                &[("state", Some(view.word)), ("tenant", tenant)],
            ),
            is_current: view.word == word,
        });
        let frame = self.frame(Some(Nav::Approvals)).await;
        let template = InboxPage {
            others: others(&frame),
            frame,
            tenant: tenant.map(Hostile::whole),
            tabs: tabs.collect(),
            lists,
        };
        Ok::<Response<Bytes>, _>(page(StatusCode::OK, &template))
    }

    async fn list(
        &self,
        view: &InboxView,
        after: Option<&str>,
        limit: u32,
    ) -> Result<List, keepgate_admin::Refused> {
        let tenant = self.query.given("tenant");
        let listing = ApprovalListing::new(self.tenant(), view.states, after, limit);
        let found = self.admin.list_approvals(self.operator(), &listing).await?;
        let next = found.next.map(|next| {
            let members = [
                ("state", Some(view.word)),
                ("tenant", tenant),
                ("after", Some(&*next)),
            ];
            path_with("/console/approvals", &members)
        });
        let rows = found.approvals.iter().map(|view| self.row(view, tenant));
        Ok(List {
            title: view.name,
            is_headed: false,
            is_first: false,
            none: match view.word {
                "waiting" => "Nothing waits for a person.",
                _ => "Nothing here.",
            },
            rows: rows.collect(),
            next,
        })
    }

    fn row(&self, view: &View, tenant: Option<&str>) -> Row {
        let call = view.call.as_ref();
        let subject = call.map_or("(sealed)", |call| {
            call.subject.as_deref().unwrap_or(&call.method)
        });
        let reasons = call.map_or(&[][..], |call| &call.requirement.reasons);
        let reason = reasons.first().map_or("", |(_, message)| message);
        let at = view.decided_at.as_ref().unwrap_or(&view.created_at);
        Row {
            path: path_with(&own_path(&view.id), &[("tenant", tenant)]),
            subject: Hostile::brief(subject),
            server: Hostile::brief(call.map_or("", |call| &call.server)),
            caller: Hostile::brief(call.map_or("", |call| &call.caller.subject)),
            reason: Hostile::brief(reason),
            is_high: call.is_some_and(|call| call.requirement.risk == Risk::High),
            is_pending: view.state == ApprovalState::Pending.as_str(),
            state: view.state,
            until: moment(&view.expires_at),
            left: left(&view.expires_at, self.now),
            ago: ago(at, self.now),
            at: moment(at),
        }
    }
}
