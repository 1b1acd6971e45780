//! The ladder: how a call that waits for a person is answered, by what its client can take.

use keepgate_mcp::{Era, message::Request};

/// One rung, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rung {
    /// The client's user gets the link of the approval, and the client makes the call again; later rounds are held.
    Link,
    /// The client makes the call again by itself; each round is held (2026-07-28 `basic/patterns/mrtr`).
    Rounds,
    /// The call is held, and the client is asked on its response stream to send its user to the link of the approval.
    StreamLink,
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
    /// Whether its client declares, on this request or for its session, that it sends users to URLs, and there is one to send
    /// them to.
    pub(super) has_link: bool,
    /// Whether it is the first round.
    pub(super) is_first: bool,
    /// Whether the response may begin as a stream before its answer is there.
    pub(super) may_stream: bool,
    /// Whether it may be held, now and by the settings.
    pub(super) is_held: bool,
}

impl Situation {
    /// The best rung the client can take.
    pub(super) fn rung(self) -> Rung {
        match self.era {
            Era::Stateless if self.is_first && self.has_link => Rung::Link,
            Era::Stateless if self.is_held => Rung::Rounds,
            Era::Stateful if self.is_held && self.may_stream && self.has_link => Rung::StreamLink,
            Era::Stateful if self.is_held && self.may_stream => Rung::Stream,
            Era::Stateless | Era::Stateful => Rung::Answer,
        }
    }
}

/// Whether a request of 2026-07-28 declares that its client sends users to URLs.
pub(super) fn declares_url(request: &Request) -> bool {
    let capabilities = request.meta().client_capabilities();
    let elicitation = capabilities.and_then(|all| all.member("elicitation"));
    let url = elicitation.and_then(|elicitation| elicitation.member("url"));
    url.is_some_and(|url| url.is_object())
}

#[cfg(test)]
mod tests {
    use keepgate_mcp::Era;

    use super::{Rung, Situation};

    #[test]
    fn every_client_gets_the_best_rung_it_can_take() {
        let either = [false, true];
        let mut seen = 0;
        for era in [Era::Stateless, Era::Stateful] {
            for has_link in either {
                for is_first in either {
                    for may_stream in either {
                        for is_held in either {
                            let situation = Situation {
                                era,
                                has_link,
                                is_first,
                                may_stream,
                                is_held,
                            };
                            // A link in the first round alone, and in sessions, which have no rounds.
                            let links = has_link && (is_first || era == Era::Stateful);
                            let row = (era, links, may_stream, is_held);
                            let rung = match row {
                                (Era::Stateless, true, _, _) => Rung::Link,
                                (Era::Stateless, false, _, true) => Rung::Rounds,
                                (Era::Stateless, false, _, false) => Rung::Answer,
                                (Era::Stateful, true, true, true) => Rung::StreamLink,
                                (Era::Stateful, false, true, true) => Rung::Stream,
                                (Era::Stateful, _, false, _) => Rung::Answer,
                                (Era::Stateful, _, true, false) => Rung::Answer,
                            };
                            assert_eq!(situation.rung(), rung, "{situation:?}");
                            seen += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(seen, 32);
    }
}
