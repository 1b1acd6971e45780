//! Containment: limits, an inventory, people who can cut off, and proof that they have tried.

use keepgate_gateway::settings::{Server, Upstream};
use keepgate_sandbox::Feature;

use super::state;
use super::{DAY, Finding, Ground, Group, Item, first, names};

/// How old the last drill may be, in days.
const DRILL_DAYS: u32 = 90;

pub(super) const GROUP: Group = Group {
    title: "Containment",
    items: &[
        Item {
            id: "rate_limits",
            title: "sessions and callers are limited in how often they call",
            look: rate_limits,
        },
        Item {
            id: "running_limits",
            title: "sessions and callers are limited in how much runs at once",
            look: running_limits,
        },
        Item {
            id: "breakers",
            title: "circuit breakers are on for servers that fail and sessions that are denied repeatedly",
            look: breakers,
        },
        Item {
            id: "children_confined",
            title: "child processes cannot reach the gateway's files",
            look: children_confined,
        },
        Item {
            id: "owners",
            title: "every server has an owner",
            look: owners,
        },
        Item {
            id: "environments",
            title: "every server says to which environment it belongs",
            look: environments,
        },
        Item {
            id: "operators",
            title: "people with names can cut off",
            look: operators,
        },
        Item {
            id: "kill_drill",
            title: "cutting off was tried in the last 90 days",
            look: kill_drill,
        },
        Item {
            id: "admin_apart",
            title: "operators' tokens never travel in clear",
            look: admin_apart,
        },
        Item {
            id: "playbooks",
            title: "those on call know what to do",
            look: playbooks,
        },
    ],
};

/// The limits that are off, and what is said of them.
fn switched(off: &[(&str, bool)], done: &str, mend: &str) -> Finding {
    let off: Vec<String> = off
        .iter()
        .filter(|(_, off)| *off)
        .map(|(key, _)| (*key).to_owned())
        .collect();
    if off.is_empty() {
        return Finding::done(done);
    }
    Finding::missing(format!("switched off: {}", names(&off)), mend)
}

fn rate_limits(ground: &Ground<'_>) -> Finding {
    let rate = &ground.configuration.gateway.limits.rate;
    let off = [
        ("limits.rate.session", rate.session.is_none()),
        ("limits.rate.caller", rate.caller.is_none()),
        ("limits.rate.opening", rate.opening.is_none()),
    ];
    let mend = "limits: { rate: { session: 600/1m, caller: 3000/1m, opening: 300/1m } }";
    switched(
        &off,
        "per session, per caller and for opening sessions",
        mend,
    )
}

fn running_limits(ground: &Ground<'_>) -> Finding {
    let concurrency = &ground.configuration.gateway.limits.concurrency;
    let off = [
        ("limits.concurrency.session", concurrency.session.is_none()),
        ("limits.concurrency.caller", concurrency.caller.is_none()),
    ];
    let mend = "limits: { concurrency: { session: 64, caller: 256 } }";
    switched(&off, "per session and per caller", mend)
}

fn breakers(ground: &Ground<'_>) -> Finding {
    let limits = &ground.configuration.gateway.limits;
    let off = [
        ("limits.breaker", limits.breaker.is_none()),
        ("limits.denial_breaker", limits.denial_breaker.is_none()),
    ];
    let mend = "limits: { breaker: { failures: 5, open_for: 10s }, denial_breaker: { failures: 50, open_for: 1m } }";
    switched(&off, "both are on", mend)
}

fn children_confined(ground: &Ground<'_>) -> Finding {
    let launched = |server: &Server| match &server.upstream {
        Upstream::Child { launch, .. } => launch.clone(),
        Upstream::Http { .. } => None,
    };
    let children = ground.named(|server| launched(server).is_some());
    if children.is_empty() {
        return Finding::done("no server is a child process");
    }
    let open = ground.named(|server| launched(server).is_some_and(|launch| launch.rules.abi == 0));
    if !open.is_empty() {
        return Finding::missing(
            format!(
                "in no sandbox, and may read the admin token and every key: {}",
                names(&open)
            ),
            "take `sandbox: off` out; the kernel needs Landlock (5.13)",
        );
    }
    let version = ground
        .servers()
        .filter_map(|(_, server)| Some(launched(server)?.rules.abi))
        .min();
    let lacks = Feature::ALL
        .into_iter()
        .filter(|(_, since, _)| Some(*since) > version);
    let lacks: Vec<String> = lacks
        .map(|(feature, _, kernel)| format!("{} (Linux {kernel} can)", feature.lack()))
        .collect();
    let ours =
        ground.named(|server| launched(server).is_some_and(|launch| launch.rules.user.is_none()));
    if !ours.is_empty() && !keepgate_sandbox::hides_processes() {
        return Finding::missing(
            format!(
                "root, without CAP_SYS_ADMIN to hide the gateway's processes: it can list what the gateway has open, and write to what root owns: {}",
                names(&ours)
            ),
            format!(
                "a gateway that runs as a plain user, or a user for each: servers: {{ {}: {{ user: <name> }} }}",
                first(&ours)
            ),
        );
    }
    if lacks.is_empty() || ours.is_empty() {
        return Finding::done(format!("{} of {}", children.len(), children.len()));
    }
    Finding::missing(
        format!("on this kernel {}", lacks.join("; ")),
        format!(
            "a newer kernel, or a user for each: servers: {{ {}: {{ user: <name> }} }}",
            first(&ours)
        ),
    )
}

fn owners(ground: &Ground<'_>) -> Finding {
    let none = ground.named(|server| server.owner.is_none());
    if none.is_empty() {
        return Finding::done("each is named in the inventory");
    }
    Finding::missing(
        format!("nobody answers for {}", names(&none)),
        format!("servers: {{ {}: {{ owner: <team> }} }}", first(&none)),
    )
}

fn environments(ground: &Ground<'_>) -> Finding {
    let none = ground.named(|server| server.environment.is_none());
    if none.is_empty() {
        return Finding::done("each is named in the inventory");
    }
    Finding::missing(
        format!("not said of {}", names(&none)),
        format!(
            "servers: {{ {}: {{ environment: production }} }}",
            first(&none)
        ),
    )
}

fn operators(ground: &Ground<'_>) -> Finding {
    let mend = "keepgate operators add <name> --role security_responder";
    match state::responders(&ground.configuration.state) {
        Err(why) => state::unreadable(&why),
        Ok(people) if people.is_empty() => Finding::missing(
            "nobody is named: whoever holds the admin token acts as `bootstrap`, and records cannot tell who it was",
            mend,
        ),
        Ok(people) if people.len() == 1 => Finding::missing(
            format!("only {} can: nobody stands in", names(&people)),
            mend,
        ),
        Ok(people) => Finding::done(format!("{} can", names(&people))),
    }
}

fn kill_drill(ground: &Ground<'_>) -> Finding {
    let mend = "keepgate kill drill everything";
    let last = match state::last_drill(&ground.configuration.state) {
        Ok(Some(last)) => last,
        Ok(None) => {
            let why = format!(
                "no report in {}/drills",
                ground.configuration.state.display()
            );
            return Finding::missing(why, mend);
        }
        Err(why) => return state::unreadable(&why),
    };
    let age = ground.now.duration_since(last).unwrap_or_default();
    let days = age.as_secs() / DAY.as_secs();
    if age <= DAY * DRILL_DAYS {
        Finding::done(format!("{days} days ago"))
    } else {
        // By less than a day, perhaps.
        Finding::missing(format!("the last time was more than {days} days ago"), mend)
    }
}

fn admin_apart(ground: &Ground<'_>) -> Finding {
    let listen = ground.configuration.admin.listen;
    if listen.ip().is_loopback() {
        return Finding::done(format!("{listen}; operators come by ssh or kubectl"));
    }
    if ground.configuration.admin.tls.is_some() {
        return Finding::done(format!("{listen}, over TLS"));
    }
    Finding::missing(
        format!("{listen} is reached from other machines, and operators' tokens go there in clear"),
        "admin: { listen: 127.0.0.1:9080 }, or admin: { tls: { certificate: ./admin.crt, key: ./admin.key } }",
    )
}

fn playbooks(_: &Ground<'_>) -> Finding {
    Finding::not_knowable(
        "who is on call, and whether they have read the playbooks, is not written here",
        "docs/operations.md has them; walk through a leaked credential, a changed tool and a runaway agent",
    )
}
