//! The ladder: how a call that waits for a person is answered, by what its client can take.

use keepgate_approval::HoldTimes;
use keepgate_call::Call;
use keepgate_mcp::Era;

/// One rung, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// The client makes the call again by itself; each round is held (2026-07-28 `basic/patterns/mrtr`).
    Rounds,
    /// The call is held, and its response stream shows that it lives.
    Stream,
    /// A result, or an error: it waits, make the same call again. Every client can take it.
    Answer,
}

/// Facts of a call that decide its rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Situation {
    /// Era of its revision.
    pub(super) era: Era,
    /// Whether the response may begin as a stream before its answer is there.
    pub(super) may_stream: bool,
    /// Whether calls of its era are held.
    pub(super) is_held: bool,
}

impl Situation {
    /// The situation of a call.
    pub(super) fn of(call: &Call, times: &HoldTimes) -> Self {
        let era = call.revision.era();
        let time = match era {
            Era::Stateless => times.round.min(times.total),
            Era::Stateful => times.stream,
        };
        Self {
            era,
            may_stream: call.wait.may_stream,
            is_held: !time.is_zero(),
        }
    }

    /// The best rung the client can take.
    pub(super) fn rung(self) -> Rung {
        match self.era {
            Era::Stateless if self.is_held => Rung::Rounds,
            Era::Stateful if self.is_held && self.may_stream => Rung::Stream,
            Era::Stateless | Era::Stateful => Rung::Answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use keepgate_mcp::Era;

    use super::{Rung, Situation};

    #[test]
    fn every_client_gets_the_best_rung_it_can_take() {
        // Era, open stream, held, rung.
        let table = [
            (Era::Stateless, true, true, Rung::Rounds),
            (Era::Stateless, false, true, Rung::Rounds),
            (Era::Stateless, true, false, Rung::Answer),
            (Era::Stateless, false, false, Rung::Answer),
            (Era::Stateful, true, true, Rung::Stream),
            (Era::Stateful, false, true, Rung::Answer),
            (Era::Stateful, true, false, Rung::Answer),
            (Era::Stateful, false, false, Rung::Answer),
        ];
        for (era, may_stream, is_held, rung) in table {
            let situation = Situation {
                era,
                may_stream,
                is_held,
            };
            assert_eq!(situation.rung(), rung, "{situation:?}");
        }
    }
}
