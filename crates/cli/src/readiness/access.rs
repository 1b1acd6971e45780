//! Access just in time: consent where it matters, callers with names, nothing open for ever.

use std::time::Duration;

use keepgate_admin::Role;
use keepgate_approval::Unrelated;
use keepgate_authn::KeyStatus;

use super::privilege::shown;
use super::state;
use super::{Finding, Ground, Group, Item, first, names};
use crate::config::{AuthMode, length};

/// Rest after which a session should end.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

pub(super) const GROUP: Group = Group {
    title: "Access just in time",
    items: &[
        Item {
            id: "callers_known",
            title: "every caller proves who it is",
            look: callers_known,
        },
        Item {
            id: "destructive_approved",
            title: "destructive tools need somebody's consent",
            look: destructive_approved,
        },
        Item {
            id: "approvals_asked",
            title: "somebody is asked for consent",
            look: approvals_asked,
        },
        Item {
            id: "sessions_end",
            title: "sessions at rest end within an hour",
            look: sessions_end,
        },
        Item {
            id: "tls",
            title: "clients come over TLS",
            look: tls,
        },
        Item {
            id: "upstream_tls",
            title: "servers on the network are reached over TLS",
            look: upstream_tls,
        },
    ],
};

fn callers_known(ground: &Ground<'_>) -> Finding {
    let mode = ground.configuration.auth;
    if mode == AuthMode::Anonymous {
        return Finding::missing(
            "auth.mode is `anonymous`: whoever reaches the listener is let in, and records name nobody",
            "auth: { mode: keys }\nkeepgate keys create --subject <agent> --role <role> --server <server> --expires 90d",
        );
    }
    Finding::done(format!("auth.mode is `{}`", mode.as_str()))
}

fn destructive_approved(ground: &Ground<'_>) -> Finding {
    let found = &ground.probed.destructive;
    let Some(witness) = found.first() else {
        let cut = if ground.probed.cut_short {
            "; the policies have more words than were tried"
        } else {
            ""
        };
        return Finding::done(format!(
            "no tool the policies name is allowed once its server calls it destructive; rules that look at arguments were not tried{cut}"
        ));
    };
    Finding::missing(
        format!(
            "allowed without consent even if the server calls them destructive: {} (rule: `{}`)",
            names(&shown(found)),
            witness.reason
        ),
        "in a policy: approve contains {\"code\": \"destructive\", \"message\": \"the server calls this destructive\"} if input.tool.annotations.destructiveHint == true",
    )
}

fn approvals_asked(ground: &Ground<'_>) -> Finding {
    if ground.probed.asked_for == 0 {
        return Finding::done("no rule asks for consent where it was tried");
    }
    let operators = keepgate_admin::read(&ground.configuration.state).unwrap_or_default();
    let mut active = operators.iter().filter(|it| it.revoked.is_none());
    if !active.any(|operator| operator.roles.contains(&Role::Approver)) {
        return Finding::missing(
            "rules ask for consent, and nobody has the role `approver`",
            "keepgate operators add NAME --role approver --group GROUP",
        );
    }
    match ownerless(ground) {
        Err(why) => state::unreadable(&why),
        Ok(keys) if keys.is_empty() => {
            Finding::done("rules ask for consent, and there are approvers")
        }
        Ok(keys) => Finding::missing(
            format!(
                "rules ask for consent, and nobody can approve what is not of `risk: low` for callers with these keys, which have no owner to compare an approver with: {}",
                names(&keys)
            ),
            "keepgate keys create --subject <agent> --owner <operator>\napprovals: { unrelated: allow }",
        ),
    }
}

/// The keys that let in callers whom no approver can be compared with, where that matters.
fn ownerless(ground: &Ground<'_>) -> Result<Vec<String>, String> {
    let configuration = ground.configuration;
    if configuration.approvals.unrelated == Unrelated::Allow || !state::uses_keys(configuration) {
        return Ok(Vec::new());
    }
    let keys = state::keys(&configuration.state)?.into_iter();
    let alone =
        keys.filter(|key| key.status(ground.now) == KeyStatus::Active && key.owner.is_none());
    Ok(alone.map(|key| key.id).collect())
}

fn sessions_end(ground: &Ground<'_>) -> Finding {
    let idle = ground.configuration.gateway.limits.session_idle;
    let shown = length(idle);
    if idle <= LONGEST_REST {
        return Finding::done(format!("after {shown}"));
    }
    Finding::missing(
        format!("they end after {shown}"),
        "limits: { session_idle: 30m }",
    )
}

fn tls(ground: &Ground<'_>) -> Finding {
    let mut open = ground
        .configuration
        .listen
        .iter()
        .filter(|address| !address.ip().is_loopback());
    match (open.next(), &ground.configuration.tls) {
        (None, _) => Finding::done("the listeners are on loopback"),
        (Some(_), Some(_)) => Finding::done("every listener has it"),
        (Some(address), None) => Finding::missing(
            format!("{address} is reached from other machines, and has none"),
            "tls: { certificate: ./tls.crt, key: ./tls.key }",
        ),
    }
}

fn upstream_tls(ground: &Ground<'_>) -> Finding {
    let clear = ground.named(|server| server.upstream.travels_clear());
    if clear.is_empty() {
        return Finding::done("https, or on this machine");
    }
    Finding::missing(
        format!("calls and results of {} travel in clear", names(&clear)),
        format!("servers: {{ {}: {{ url: https://.. }} }}", first(&clear)),
    )
}
