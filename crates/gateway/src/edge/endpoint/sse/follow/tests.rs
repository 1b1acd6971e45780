//! Pauses and refusals of streams that are asked for again.

use super::*;

#[test]
fn no_server_gets_more_than_one_attempt_a_second() {
    let ms = Duration::from_millis;
    for wanted in [
        None,
        Some(ms(0)),
        Some(ms(10)),
        Some(ms(999)),
        Some(ms(1000)),
    ] {
        for attempts in 0..40 {
            let doubled = ms(1000 * (1 << attempts.min(5))).min(ms(30_000));
            assert_eq!(pause(wanted, attempts), doubled, "{wanted:?} {attempts}");
        }
    }
    for (wanted, attempts, expected) in [(5, 0, 5), (5, 1, 5), (5, 3, 8), (900, 0, 30)] {
        let wanted = Some(Duration::from_secs(wanted));
        assert_eq!(pause(wanted, attempts), Duration::from_secs(expected));
    }
    // What brings something begins again; a refusal that names a wait is heard.
    let mut attempts = Attempts::default();
    let limited = Refusal::new(Code::RateLimited).limit("limits.rate.caller", ms(7000));
    assert_eq!(attempts.refused(&limited), ms(7000));
    assert_eq!(attempts.ended(&Ended::default()), ms(4000));
    let fruitful = Ended {
        is_fruitful: true,
        ..Ended::default()
    };
    assert_eq!(attempts.ended(&fruitful), ms(1000));
}

#[test]
fn refusals_that_pass_are_told_from_those_that_stay() {
    for status in [408, 425, 429, 500, 502, 503, 504, 529] {
        assert!(is_transient(&refused_with(status)), "{status}");
    }
    for status in [400, 401, 403, 404, 405, 406, 410, 501] {
        assert!(!is_transient(&refused_with(status)), "{status}");
    }
    for code in [
        Code::UpstreamUnreachable,
        Code::UpstreamTimeout,
        Code::UpstreamCircuitOpen,
        Code::RateLimited,
        Code::ConcurrencyLimited,
        Code::SessionSuspended,
        Code::MemoryFull,
        Code::Overloaded,
        Code::InspectionOverloaded,
        Code::AuditUnavailable,
        Code::CredentialUnavailable,
    ] {
        assert!(is_transient(&Refusal::new(code)), "{code}");
    }
    for code in [
        Code::Killed,
        Code::SessionUnknown,
        Code::EventUnknown,
        Code::PolicyDenied,
        Code::AuthnInvalid,
        Code::CredentialRejected,
        Code::UpstreamInvalid,
        Code::Draining,
        Code::Internal,
    ] {
        assert!(!is_transient(&Refusal::new(code)), "{code}");
    }
}
