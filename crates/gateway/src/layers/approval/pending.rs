//! A call that waits for a person: held as its client can take it, and answered by the rung it is on.

use std::{sync::Arc, time::Duration};

use keepgate_approval::{Approvals, FrozenCall, Settings};
use keepgate_call::{Call, CallState, Refusal, WaitAnswer};
use keepgate_mcp::{Era, message::Request, revision::Revision};

use super::{
    Bound, RequireApproval,
    held::LentPlaces,
    hold::{hold, still_wanted},
    ladder::{Rung, Situation, declares_url},
    rounds::Round,
};

/// Result of a wait.
pub(super) enum Held<'a> {
    /// It is to be answered so.
    Answered(WaitAnswer),
    /// It was held, or not yet: look again. Within, the round that may come after, if nobody has decided, and the places that
    /// others had meanwhile.
    Again(Option<(u8, u64)>, Option<LentPlaces<'a>>),
}

/// A call that waits.
pub(super) struct PendingCall<'a> {
    pub(super) gate: &'a RequireApproval,
    pub(super) approvals: &'a Approvals,
    pub(super) bound: &'a Bound,
    pub(super) call: &'a Call,
    pub(super) request: &'a Request,
    pub(super) id: &'a Arc<str>,
    pub(super) settings: &'a Settings,
    /// The state that its client has brought back.
    pub(super) state: Option<&'a CallState>,
}

impl<'a> PendingCall<'a> {
    /// Holds the call for the time of its rung.
    ///
    /// # Errors
    /// The refusal of a call that may not go on.
    pub(super) async fn held(&self) -> Result<Held<'a>, Refusal> {
        let (call, times) = (self.call, &self.settings.hold);
        // Another request than the one its client waited for: that one has ended, and the model has to hear of this one.
        if self.state.is_some_and(|state| state.approval != *self.id) {
            return Ok(Held::Answered(WaitAnswer::Plain));
        }
        let now_ms = self.approvals.now_ms();
        let round = Round::of(call, self.state, now_ms);
        let era = call.revision.era();
        let time = match era {
            Era::Stateless => round.time(times, now_ms),
            Era::Stateful => times.stream,
        };
        let situation = Situation {
            era,
            has_link: self.settings.console.is_some() && self.shows_links(),
            is_first: round.is_first(),
            may_stream: call.wait.may_stream,
            is_held: !time.is_zero(),
        };
        let rung = situation.rung();
        match rung {
            Rung::Answer => return Ok(Held::Answered(WaitAnswer::Plain)),
            Rung::Link => return Ok(Held::Again(round.next(times, now_ms, false), None)),
            Rung::Rounds | Rung::StreamLink | Rung::Stream => {}
        }
        // As many are held as may be: this one is answered that it waits.
        let Some(place) = self.approvals.hold(&call.caller) else {
            return Ok(Held::Answered(WaitAnswer::Plain));
        };
        match rung {
            Rung::StreamLink => self.ask_with_link(),
            Rung::Stream => call.wait.hold(self.id, None),
            Rung::Link | Rung::Rounds | Rung::Answer => {}
        }
        let lent = self.gate.places.lend(self.bound);
        let (load, clock) = (&self.gate.load, &self.gate.clock);
        hold(self.approvals, load, clock, (call, self.id), time).await;
        drop(place);
        still_wanted(call, clock)?;
        if call.is_left() || call.wait.is_declined() {
            // Nobody would have the result: what was approved meanwhile is there for the next equal call.
            return Ok(Held::Answered(WaitAnswer::Plain));
        }
        let next = match era {
            Era::Stateless => round.next(times, self.approvals.now_ms(), true),
            Era::Stateful => None,
        };
        Ok(Held::Again(next, Some(lent)))
    }

    /// Whether the client declares that it sends its user to links: in its session, or with this very request.
    fn shows_links(&self) -> bool {
        match self.call.revision {
            Revision::V2024_11_05 | Revision::V2025_03_26 | Revision::V2025_06_18 => false,
            Revision::V2025_11_25 => {
                let session = self.bound.session.session();
                session.is_some_and(|session| session.links.is_declared())
            }
            Revision::V2026_07_28 => declares_url(self.request),
        }
    }

    /// Has the client of a session ask its user to follow the link, on the stream of the response.
    fn ask_with_link(&self) {
        let (call, console) = (&self.bound.call, self.settings.console.as_ref());
        let link = console.map(|console| console.approval(&call.caller.tenant, self.id));
        if let Some(session) = self.bound.session.session() {
            session.links.ask(call);
        }
        call.wait.hold(self.id, link.map(Into::into));
    }

    /// The answer to a call that was made while the gateway drains: its next round, which its client makes at another replica or
    /// at the next process. Nothing begins here any more, also where somebody has agreed meanwhile.
    pub(super) fn elsewhere(&self, frozen: &FrozenCall, expires_in: Duration) -> WaitAnswer {
        let now_ms = self.approvals.now_ms();
        let round = Round::of(self.call, self.state, now_ms);
        match round.next(&self.settings.hold, now_ms, true) {
            Some(next) => self.round(next, frozen, expires_in),
            None => WaitAnswer::Plain,
        }
    }

    /// The answer that has the client make the call again by itself.
    pub(super) fn round(
        &self,
        (round, began_ms): (u8, u64),
        frozen: &FrozenCall,
        expires_in: Duration,
    ) -> WaitAnswer {
        let caller = &self.call.caller;
        let lasts = u64::try_from(expires_in.as_millis()).unwrap_or_default();
        let Some(digest) = self.approvals.digest(&caller.tenant, frozen) else {
            return WaitAnswer::Plain;
        };
        let state = CallState {
            approval: Arc::clone(self.id),
            digest: *digest.as_bytes(),
            expires_ms: self.approvals.now_ms().saturating_add(lasts),
            round,
            began_ms,
        };
        let sealed = self.approvals.seal_state(caller, &self.call.server, &state);
        let console = self.settings.console.as_ref();
        let link = console.filter(|_| began_ms == 0 && declares_url(self.request));
        match sealed {
            Some(sealed) => WaitAnswer::Round {
                state: sealed.into(),
                link: link.map(|console| console.approval(&caller.tenant, self.id).into()),
            },
            // Without random bytes there is no state: the client makes the call again by hand.
            None => WaitAnswer::Plain,
        }
    }
}
