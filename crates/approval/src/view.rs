//! Requests as operators see them.

use std::sync::Arc;

use keepgate_call::Tenant;
use keepgate_store::{
    approvals::{ApprovalRow, ApprovalState, DatabaseError, DecisionRow, PageQuery},
    kill::text,
};
use serde::Serialize;

use crate::{Approvals, FrozenCall, approvals::moment};

/// Rows read at a time; each may hold a megabyte.
const ROWS: u32 = 16;

/// A request as operators see it. Texts come from agents and servers: whoever prints them escapes them.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// Its id.
    pub id: Arc<str>,
    /// Its tenant.
    pub tenant: String,
    /// Its state.
    pub state: &'static str,
    /// Time of the request (RFC 3339, UTC).
    pub created_at: String,
    /// End of the wait.
    pub expires_at: String,
    /// Time of the decision.
    pub decided_at: Option<String>,
    /// Begin of its use, where that is later than the decision.
    pub usable_from: Option<String>,
    /// End of its use.
    pub usable_until: Option<String>,
    /// Uses that are left.
    pub uses_left: u32,
    /// The call; none when the key it was sealed with is lost.
    pub call: Option<FrozenCall>,
    /// Digest of the call as it is shown, which a decision names.
    pub shown: Option<String>,
    /// The decisions so far; in a list none.
    pub decisions: Vec<DecisionView>,
    /// Place in the list, for the next page.
    #[serde(skip)]
    pub created_ms: u64,
}

/// A decision as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct DecisionView {
    /// The operator.
    pub operator: Box<str>,
    /// `approve` or `deny`.
    pub verdict: &'static str,
    /// Time of it (RFC 3339, UTC).
    pub at: String,
    /// The operator's reason.
    pub reason: Box<str>,
}

/// Reason approvals cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the approvals")]
pub struct ViewError(#[from] DatabaseError);

impl Approvals {
    /// Whether a request still waits for a decision. A store that does not answer is not waited for.
    pub async fn is_pending(&self, tenant: &Tenant, id: &str) -> bool {
        let state = self.0.store.state(tenant, id).await;
        matches!(state, Ok(Some(ApprovalState::Pending)))
    }

    /// The request with this id.
    ///
    /// # Errors
    /// [`ViewError`] when the store does not answer.
    pub async fn show(&self, tenant: &Tenant, id: &str) -> Result<Option<View>, ViewError> {
        let found = self.0.store.get(tenant, id).await?;
        Ok(found.map(|(row, decisions)| self.view(&row, &decisions)))
    }

    /// One page of a tenant's requests, newest first. Without arguments, which [`Self::show`] has: a page of them may be hundreds
    /// of megabytes.
    ///
    /// # Errors
    /// [`ViewError`] when the store does not answer.
    pub async fn page(&self, tenant: &Tenant, query: &PageQuery) -> Result<Vec<View>, ViewError> {
        let (mut query, mut views, limit) = (query.clone(), Vec::new(), query.limit);
        loop {
            let left = limit.saturating_sub(u32::try_from(views.len()).unwrap_or(u32::MAX));
            query.limit = left.min(ROWS);
            let rows = self.0.store.page(tenant, &query).await?;
            let is_last = rows.len() < usize::try_from(query.limit).unwrap_or(usize::MAX);
            views.extend(rows.iter().map(|row| self.outline(row)));
            match rows.last() {
                Some(last) if !is_last && left > query.limit => {
                    query.after = Some((last.created_ms, Arc::clone(&last.id)));
                }
                Some(_) | None => return Ok(views),
            }
        }
    }

    fn outline(&self, row: &ApprovalRow) -> View {
        let mut view = self.view(row, &[]);
        // Who has not seen the arguments decides over nothing.
        view.shown = None;
        view.call = view.call.map(FrozenCall::outline);
        view
    }

    pub(crate) fn view(&self, row: &ApprovalRow, decisions: &[DecisionRow]) -> View {
        let call = self.opened(row);
        let time = |millis: u64| text(moment(millis));
        let decisions = decisions.iter().map(|decision| DecisionView {
            operator: decision.operator.clone(),
            verdict: if decision.approves { "approve" } else { "deny" },
            at: time(decision.decided_ms),
            reason: decision.reason.clone(),
        });
        View {
            id: Arc::clone(&row.id),
            tenant: row.tenant.as_str().to_owned(),
            state: row.state.as_str(),
            created_at: time(row.created_ms),
            expires_at: time(row.expires_ms),
            decided_at: row.decided_ms.map(time),
            usable_from: row.not_before_ms.map(time),
            usable_until: row.usable_until_ms.map(time),
            uses_left: row.uses_left,
            shown: call.as_ref().map(FrozenCall::shown),
            call,
            decisions: decisions.collect(),
            created_ms: row.created_ms,
        }
    }
}
