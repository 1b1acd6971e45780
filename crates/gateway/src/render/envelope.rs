//! The envelope of denials (SEP-2643, draft of 2026-08-21): whether anything can be done, machine-readable, in `_meta` of results.
//!
//! Not on what looks absent, not on what ran in part, and not on errors, which have no `_meta`: there the code of the refusal, or
//! the challenge in a header, is all.

use keepgate_call::{Code, Refusal, WaitAnswer};

/// The member of `_meta`.
const MEMBER: &str = "io.modelcontextprotocol/authorization";

/// Remedy of a denial, in the words of the draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Somebody can still agree.
    Available,
    /// The same call is denied again.
    Unavailable,
    /// Only operators know.
    Undisclosed,
}

impl Remedy {
    /// The remedy of a denial; `None` for a refusal that is none.
    fn of(refusal: &Refusal) -> Option<Self> {
        if refusal.dispatched {
            return None;
        }
        let is = |codes: &[Code]| codes.contains(&refusal.code);
        if is(&[Code::ApprovalPending]) {
            Some(Self::Available)
        } else if is(&[
            Code::PolicyDenied,
            Code::ApprovalRequired,
            Code::ApprovalDenied,
        ]) {
            Some(Self::Unavailable)
        } else {
            is(&[Code::Killed]).then_some(Self::Undisclosed)
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Unavailable => "unavailable",
            Self::Undisclosed => "undisclosed",
        }
    }
}

/// The member, with a comma before it; nothing for a refusal that has none.
pub(super) fn member(refusal: &Refusal) -> String {
    let Some(remedy) = Remedy::of(refusal) else {
        return String::new();
    };
    let remedy = remedy.as_str();
    let mut members = format!(r#""reason":"insufficient_authorization","remediation":"{remedy}""#);
    if has_link(refusal) {
        members.push_str(r#","hints":[{"type":"url"}]"#);
    }
    if let Some(id) = &refusal.decision {
        members.push_str(&format!(r#","authorizationContextId":"{id}""#));
    }
    format!(r#","{MEMBER}":{{{members}}}"#)
}

/// Whether the answer sends the client's user to a page.
fn has_link(refusal: &Refusal) -> bool {
    match refusal.approval.as_deref().map(|note| &note.answer) {
        Some(WaitAnswer::Round { link, .. }) => link.is_some(),
        Some(WaitAnswer::Plain) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use keepgate_call::{Code, Refusal};

    use super::{Remedy, member};

    #[test]
    fn denials_have_an_envelope_and_nothing_else_has() {
        for code in Code::ALL {
            let remedy = match code.as_str() {
                "approval_pending" => Some(Remedy::Available),
                "policy_denied" | "approval_required" | "approval_denied" => {
                    Some(Remedy::Unavailable)
                }
                "killed" => Some(Remedy::Undisclosed),
                _not_a_denial => None,
            };
            let refusal = Refusal::new(*code);
            assert_eq!(Remedy::of(&refusal), remedy, "{code}");
            assert_eq!(member(&refusal).is_empty(), remedy.is_none(), "{code}");
            // It may have had its effect.
            assert_eq!(member(&refusal.dispatched()), "", "{code}");
        }
    }
}
