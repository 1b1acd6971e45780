//! Which methods are judged.

use crate::facts::Phase;

/// Methods of the client that pass unjudged.
///
/// Opening a session, asking whether the other side lives, and telling it what was agreed to carry nothing a policy
/// protects, and a rule that forgets to name its tool must not keep callers from connecting. Lists pass and are
/// filtered item by item. Tasks are the caller's own, which the gateway holds to: what they answer was judged when
/// the call was. `subscriptions/listen` passes and each resource it names is judged as `resources/subscribe`.
const CLIENT: [&str; 19] = [
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/list",
];

/// Whether a method is judged in a phase. All methods are that are not known to need no judging, unknown ones
/// included: `tools/call`, `prompts/get`, `resources/read`, `resources/subscribe`, `completion/complete`, and of the
/// server's requests all but `ping` and notifications.
#[must_use]
pub fn is_judged(phase: Phase, method: &str) -> bool {
    match phase {
        Phase::Connect | Phase::List | Phase::Response => true,
        Phase::Call => CLIENT.binary_search(&method).is_err(),
        Phase::ServerRequest => method != "ping" && !method.starts_with("notifications/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_methods() {
        assert!(CLIENT.is_sorted());
        for method in CLIENT {
            assert!(!is_judged(Phase::Call, method), "{method}");
        }
        for method in [
            "tools/call",
            "prompts/get",
            "resources/read",
            "resources/subscribe",
            "completion/complete",
        ] {
            assert!(is_judged(Phase::Call, method), "{method}");
        }
        for method in [
            "sampling/createMessage",
            "elicitation/create",
            "roots/list",
            "tools/list",
            "initialize",
        ] {
            assert!(is_judged(Phase::ServerRequest, method), "{method}");
        }
        assert!(is_judged(Phase::Call, "vendor/unknown"));
        assert!(is_judged(Phase::Call, "notifications/vendor"));
    }
}
