//! Notifications of approvals: what is due to a target, and what it is about. Sending is the binary's.
//!
//! The store is the outbox. A notification is due once the transition it reports is in the audit log, and until its target has got it
//! or the sender gives it up; so one may be sent twice, under the same id, and none is lost with a process.

use std::sync::Arc;

use keepgate_call::Tenant;
use keepgate_store::approvals::{
    ApprovalEnd, ApprovalRow, ApprovalState, DecisionRow, END_RECORDED, NoticeSent,
    REQUEST_RECORDED,
};
use tokio::sync::watch;

use crate::{
    Approvals, FrozenCall, View, ViewError,
    approvals::{millis, moment},
};

/// A transition that targets are notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeEvent {
    /// A call has come to wait for a decision.
    Requested,
    /// Half of the time it waits is over.
    Reminder,
    /// It was approved or denied.
    Decided,
    /// It ended without a decision, or after one that was not used up.
    Ended,
}

impl NoticeEvent {
    /// All of them, in the order in which they come.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Reminder, Self::Decided, Self::Ended];

    /// The word of the configuration and of messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Reminder => "reminder",
            Self::Decided => "decided",
            Self::Ended => "ended",
        }
    }

    /// The number of the store.
    const fn number(self) -> u32 {
        match self {
            Self::Requested => 1,
            Self::Reminder => 2,
            Self::Decided => 3,
            Self::Ended => 4,
        }
    }
}

/// A notification that may be due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueNotice {
    /// Tenant of the request.
    pub tenant: Tenant,
    /// The request.
    pub approval: Arc<str>,
    /// Number of the last event the target has got.
    sent: u32,
}

/// A notification. Without the arguments of the call: whoever may see them follows the link.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Id, which is the same each time it is sent.
    pub id: String,
    /// The event.
    pub event: NoticeEvent,
    /// Time of it, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The request.
    pub view: View,
    /// The reason of an end.
    pub end: Option<ApprovalEnd>,
    /// Link to the request, where operators have a browser.
    pub link: Option<String>,
    sent: NoticeSent,
}

impl Notice {
    /// A notification of an event at this time.
    pub fn new(
        (event, at_ms): (NoticeEvent, u64),
        view: View,
        end: Option<ApprovalEnd>,
        link: Option<String>,
    ) -> Self {
        let sent = match event {
            NoticeEvent::Ended => NoticeSent::All,
            NoticeEvent::Decided if view.state == ApprovalState::Denied.as_str() => NoticeSent::All,
            NoticeEvent::Requested | NoticeEvent::Reminder | NoticeEvent::Decided => {
                NoticeSent::Event(event.number())
            }
        };
        Self {
            id: format!("{}.{}", view.id, event.as_str()),
            event,
            at_ms,
            view,
            end,
            link,
            sent,
        }
    }
}

impl Approvals {
    /// Changes after every transition that may make notifications due.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// Notifications that may be due to a target, `limit` at most, in order and those that follow `after`.
    ///
    /// # Errors
    /// [`ViewError`] when the store does not answer.
    pub async fn due_notices(
        &self,
        target: &str,
        after: Option<&DueNotice>,
        limit: u32,
    ) -> Result<Vec<DueNotice>, ViewError> {
        let now = millis(self.now());
        let mut due = Vec::new();
        let mut tenants = self.tenants().await?;
        tenants.sort_unstable();
        for tenant in tenants {
            let passed = match after {
                Some(after) if tenant < after.tenant => continue,
                Some(after) if tenant == after.tenant => &*after.approval,
                Some(_) | None => "",
            };
            let left = limit.saturating_sub(u32::try_from(due.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            let store = &self.0.store;
            let rows = store
                .due_notices(&tenant, target, passed, now, left)
                .await?;
            due.extend(rows.into_iter().map(|row| DueNotice {
                tenant: tenant.clone(),
                approval: row.approval,
                sent: row.sent,
            }));
        }
        Ok(due)
    }

    /// The notification that is due; none where the audit log lacks its transition so far.
    ///
    /// # Errors
    /// [`ViewError`] when the store does not answer.
    pub async fn notice(&self, due: &DueNotice) -> Result<Option<Notice>, ViewError> {
        let found = self.0.store.get(&due.tenant, &due.approval).await?;
        Ok(found.and_then(|(row, decisions)| self.notice_of(due.sent, &row, &decisions)))
    }

    fn notice_of(&self, sent: u32, row: &ApprovalRow, decisions: &[DecisionRow]) -> Option<Notice> {
        let half = u64::midpoint(row.created_ms, row.expires_ms);
        let is_late = millis(self.now()) >= half;
        let is_requested = row.recorded & REQUEST_RECORDED != 0;
        let (event, at_ms) = match row.state {
            ApprovalState::Pending if !is_requested => return None,
            ApprovalState::Pending if sent == 0 => (NoticeEvent::Requested, row.created_ms),
            ApprovalState::Pending if sent == 1 && is_late => (NoticeEvent::Reminder, half),
            ApprovalState::Pending => return None,
            ApprovalState::Approved | ApprovalState::Denied | ApprovalState::Consumed => {
                let is_on_record = is_requested && decisions.iter().all(|it| it.is_recorded);
                if sent >= NoticeEvent::Decided.number() || !is_on_record {
                    return None;
                }
                (
                    NoticeEvent::Decided,
                    row.decided_ms.unwrap_or(row.created_ms),
                )
            }
            ApprovalState::Expired | ApprovalState::Cancelled | ApprovalState::Revoked => {
                if row.recorded & END_RECORDED == 0 {
                    return None;
                }
                let at_ms = row.end.as_ref().map_or(row.expires_ms, |end| end.at_ms);
                (NoticeEvent::Ended, at_ms)
            }
        };
        let mut view = self.view(row, decisions);
        view.shown = None;
        if row.state == ApprovalState::Consumed {
            // What was decided, also when the call was quicker than its notification.
            view.state = ApprovalState::Approved.as_str();
        }
        view.call = view.call.map(FrozenCall::outline);
        let console = self.settings().console.clone();
        let link = console.map(|console| console.approval(&row.tenant, &row.id));
        let mut notice = Notice::new((event, at_ms), view, row.end.clone(), link);
        if event == NoticeEvent::Requested && is_late {
            // A request that is reported this late reminds of itself.
            notice.sent = NoticeSent::Event(NoticeEvent::Reminder.number());
        }
        Some(notice)
    }

    /// Notes that a target has got a notification, or that it was given up.
    ///
    /// # Errors
    /// [`ViewError`] when the store does not answer: it is sent once more, then.
    pub async fn note_notice(
        &self,
        target: &str,
        due: &DueNotice,
        notice: &Notice,
    ) -> Result<(), ViewError> {
        let (store, sent) = (&self.0.store, notice.sent);
        store
            .note_notice(&due.tenant, target, &due.approval, sent)
            .await?;
        Ok(())
    }

    /// Time since the event of a notification.
    pub fn notice_age(&self, notice: &Notice) -> std::time::Duration {
        self.now()
            .duration_since(moment(notice.at_ms))
            .unwrap_or_default()
    }
}
