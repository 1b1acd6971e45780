//! Approvals for operators: list, show, decide, take back. One way for every client of the API.

use std::collections::BTreeMap;

use keepgate_approval::{Approvals, DecideError, Ineligible, Verdict, View};
use keepgate_call::Tenant;
use keepgate_store::approvals::{ApprovalState, PageQuery};
use serde::{Deserialize, Serialize};

use crate::{operators::Operator, refused::Refused};

/// Most requests of a page; each may show a megabyte of arguments.
const MAX_PAGE: u32 = 200;
/// Requests of a page where none are named.
const PAGE: u32 = 50;
/// Names of the query of a list.
const QUERY: &str =
    "a list takes `tenant`, `state` (may be there several times), `after` and `limit`";

/// The query of `GET /api/v1/approvals`.
#[derive(Debug)]
pub struct ApprovalListing {
    tenant: Tenant,
    states: Vec<ApprovalState>,
    after: Option<String>,
    limit: u32,
}

impl ApprovalListing {
    /// The page of `limit` requests in these states after the one with this id; without states, in all of them.
    pub fn new(tenant: Tenant, states: &[ApprovalState], after: Option<&str>, limit: u32) -> Self {
        Self {
            tenant,
            states: states.to_vec(),
            after: after.map(str::to_owned),
            limit: limit.clamp(1, MAX_PAGE),
        }
    }

    /// Reads a query, strictly.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Refused> {
        let wrong = |message: &str| Refused::Request(message.to_owned());
        let mut listing = Self {
            tenant: Tenant::default(),
            states: Vec::new(),
            after: None,
            limit: PAGE,
        };
        let (mut seen, members) = (Vec::new(), query.into_iter().flat_map(|it| it.split('&')));
        for member in members {
            let (name, value) = member.split_once('=').ok_or_else(|| wrong(QUERY))?;
            if name != "state" && seen.contains(&name) {
                return Err(wrong(&format!("`{name}` is there twice")));
            }
            seen.push(name);
            match name {
                "tenant" if !value.is_empty() => listing.tenant = Tenant::new(value),
                "state" => {
                    let unknown = || wrong(&format!("no approval has this state: `{value}`"));
                    listing
                        .states
                        .push(ApprovalState::parse(value).ok_or_else(unknown)?);
                }
                "after" => listing.after = Some(value.to_owned()),
                "limit" => {
                    let limit = value.parse().ok();
                    let limit = limit.filter(|limit| (1..=MAX_PAGE).contains(limit));
                    let out = || wrong(&format!("`limit` is a number from 1 to {MAX_PAGE}"));
                    listing.limit = limit.ok_or_else(out)?;
                }
                _ => return Err(wrong(QUERY)),
            }
        }
        Ok(listing)
    }
}

/// The tenant of the query of one approval.
pub(crate) fn tenant(query: Option<&str>) -> Result<Tenant, Refused> {
    match query.map(|query| query.split_once('=')) {
        None => Ok(Tenant::default()),
        Some(Some(("tenant", name))) if !name.is_empty() && !name.contains('&') => {
            Ok(Tenant::new(name))
        }
        Some(_) => Err(Refused::Request(
            "an approval takes `tenant` alone".to_owned(),
        )),
    }
}

/// The body of `POST /api/v1/approvals/{id}/decision`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    verdict: Word,
    reason: String,
    shown: String,
}

impl Decision {
    /// A verdict over what was shown, by its digest.
    pub fn new(verdict: Verdict, reason: &str, shown: &str) -> Self {
        Self {
            verdict: match verdict {
                Verdict::Approve => Word::Approve,
                Verdict::Deny => Word::Deny,
            },
            reason: reason.to_owned(),
            shown: shown.to_owned(),
        }
    }
}

/// A verdict as it is written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Approve,
    Deny,
}

/// The body of `DELETE /api/v1/approvals/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    reason: String,
}

impl Revocation {
    /// The end of an approval, for a reason.
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
        }
    }
}

/// A page of approvals.
#[derive(Debug, Serialize)]
pub struct ApprovalPage {
    /// The approvals, newest first, without their arguments.
    pub approvals: Vec<View>,
    /// The approval after which the next page begins; none at the end.
    pub next: Option<String>,
}

/// The approvals behind the listener; none where nobody can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Desk(pub(crate) Option<Approvals>);

impl Desk {
    fn approvals(&self) -> Result<&Approvals, Refused> {
        self.0.as_ref().ok_or(Refused::Path)
    }

    /// Numbers of those that wait, by tenant; `None` while the store does not answer.
    pub(crate) async fn pending(&self) -> Option<BTreeMap<Tenant, u64>> {
        match &self.0 {
            None => Some(BTreeMap::new()),
            Some(approvals) => approvals.pending_by_tenant().await.ok(),
        }
    }

    /// One page, newest first.
    pub(crate) async fn list(&self, listing: &ApprovalListing) -> Result<ApprovalPage, Refused> {
        let approvals = self.approvals()?;
        let after = match &listing.after {
            None => None,
            Some(id) => {
                let found = approvals.show(&listing.tenant, id).await;
                let found = found.map_err(|error| unavailable(&error))?;
                let last = found.ok_or_else(|| Refused::NoApproval(id.clone()))?;
                Some((last.created_ms, last.id))
            }
        };
        let query = PageQuery {
            states: listing.states.clone(),
            after,
            limit: listing.limit + 1,
        };
        let page = approvals.page(&listing.tenant, &query).await;
        let mut approvals = page.map_err(|error| unavailable(&error))?;
        let limit = usize::try_from(listing.limit).unwrap_or(usize::MAX);
        let has_more = approvals.len() > limit;
        approvals.truncate(limit);
        let last = approvals.last().map(|last| last.id.to_string());
        let next = last.filter(|_| has_more);
        Ok(ApprovalPage { approvals, next })
    }

    /// One approval, whole.
    pub(crate) async fn show(&self, tenant: &Tenant, id: &str) -> Result<View, Refused> {
        let found = self.approvals()?.show(tenant, id).await;
        let found = found.map_err(|error| unavailable(&error))?;
        found.ok_or_else(|| Refused::NoApproval(id.to_owned()))
    }

    /// Counts a decision.
    pub(crate) async fn decide(
        &self,
        operator: &Operator,
        (tenant, id): (&Tenant, &str),
        decision: &Decision,
    ) -> Result<View, Refused> {
        let verdict = match decision.verdict {
            Word::Approve => Verdict::Approve,
            Word::Deny => Verdict::Deny,
        };
        let (person, reason, shown) = (operator.person(), &decision.reason, &decision.shown);
        let decided = self
            .approvals()?
            .decide(tenant, id, &person, verdict, reason, shown);
        decided.await.map_err(|error| refused(&error, id))
    }

    /// Takes an approval back.
    pub(crate) async fn revoke(
        &self,
        operator: &Operator,
        (tenant, id): (&Tenant, &str),
        revocation: &Revocation,
    ) -> Result<View, Refused> {
        let reason = &revocation.reason;
        let revoked = self.approvals()?.revoke(tenant, id, &operator.name, reason);
        revoked.await.map_err(|error| refused(&error, id))
    }
}

fn refused(error: &DecideError, id: &str) -> Refused {
    match error {
        DecideError::Unknown => Refused::NoApproval(id.to_owned()),
        DecideError::TooEarly
        | DecideError::WindowOver
        | DecideError::Closed(_)
        | DecideError::Sent
        | DecideError::Twice
        | DecideError::Sealed => Refused::Closed(error.to_string()),
        DecideError::NotShown => Refused::NotShown,
        DecideError::Ineligible(
            Ineligible::NotNamed
            | Ineligible::NotYet
            | Ineligible::Requester
            | Ineligible::Nameless
            | Ineligible::Unnamed
            | Ineligible::Gone
            | Ineligible::Unrelated,
        ) => Refused::Ineligible(error.to_string()),
        DecideError::Reason => Refused::Request(error.to_string()),
        DecideError::Store(_) => unavailable(error),
        DecideError::OutcomeUnknown => Refused::OutcomeUnknown,
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Refused {
    tracing::error!(%error, "approvals cannot be used");
    Refused::Unavailable
}
