//! A record of every call: on the disk, kept, sent to where it is watched.

use keepgate_audit::Durability;

use super::{Finding, Ground, Group, Item};

pub(super) const GROUP: Group = Group {
    title: "A record of every call",
    items: &[
        Item {
            id: "audit_on",
            title: "every call is on a signed record before it happens",
            look: audit_on,
        },
        Item {
            id: "audit_durable",
            title: "the record survives the machine's end",
            look: audit_durable,
        },
        Item {
            id: "audit_arguments",
            title: "arguments stand in the record as digests",
            look: audit_arguments,
        },
        Item {
            id: "audit_sink",
            title: "records reach a SIEM",
            look: audit_sink,
        },
        Item {
            id: "audit_retention",
            title: "records are kept as long as they must be",
            look: audit_retention,
        },
        Item {
            id: "telemetry",
            title: "traces and metrics are collected",
            look: telemetry,
        },
    ],
};

fn audit_on(_: &Ground<'_>) -> Finding {
    Finding::done("it cannot be switched off: no record, no call")
}

fn audit_durable(ground: &Ground<'_>) -> Finding {
    match ground.configuration.durability {
        Durability::Synced => Finding::done("audit.durability is `synced`"),
        Durability::Written => Finding::missing(
            "audit.durability is `written`: the last records may be lost when the power is",
            "audit: { durability: synced }",
        ),
    }
}

fn audit_arguments(ground: &Ground<'_>) -> Finding {
    let clear = &ground.configuration.gateway.clear_arguments;
    if clear.is_empty() {
        return Finding::done("no tool is named in audit.arguments.clear");
    }
    let tools: Vec<String> = clear
        .iter()
        .map(|(server, tool)| format!("{server}.{tool}"))
        .collect();
    Finding::not_knowable(
        format!(
            "{} stand there in clear; whether they may hold what is personal or secret is yours to say",
            super::names(&tools)
        ),
        "audit: { arguments: { clear: [] } }",
    )
}

/// What definitions ask of the record, by their servers: the value at a pointer.
fn asked(ground: &Ground<'_>, pointer: &str) -> Vec<String> {
    let asked = |(name, server): (
        &keepgate_call::ServerName,
        &keepgate_gateway::settings::Server,
    )| {
        let definition: serde_json::Value =
            serde_json::from_str(server.definition.as_ref()?).ok()?;
        let value = definition.pointer(pointer)?;
        Some(format!(
            "{name}: {}",
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        ))
    };
    ground.servers().filter_map(asked).collect()
}

fn audit_sink(ground: &Ground<'_>) -> Finding {
    let asked = asked(ground, "/audit/siem_forward");
    let wish = if asked.is_empty() {
        String::new()
    } else {
        format!("; definitions ask for it ({})", super::names(&asked))
    };
    Finding::later(
        format!("audit.sinks comes later: nothing is sent by the gateway itself{wish}"),
        format!(
            "let an agent ship {}/audit, or: keepgate audit tail --follow --output json | <forwarder>",
            ground.configuration.state.display()
        ),
    )
}

fn audit_retention(ground: &Ground<'_>) -> Finding {
    let asked = asked(ground, "/audit/retention_days");
    let wish = if asked.is_empty() {
        String::new()
    } else {
        format!(
            "; what definitions ask for, in days, is kept ({})",
            super::names(&asked)
        )
    };
    Finding::later(
        format!(
            "audit.retention comes later: nothing is ever deleted, so nothing is lost, and the disk fills{wish}"
        ),
        format!(
            "watch the space below {}; when it is full, calls are refused",
            ground.configuration.state.display()
        ),
    )
}

fn telemetry(ground: &Ground<'_>) -> Finding {
    let telemetry = &ground.configuration.telemetry;
    let traces = telemetry
        .traces
        .as_ref()
        .is_some_and(|traces| traces.collector.is_some());
    let mend = "telemetry: { otlp: { endpoint: \"http://collector:4317\" } }";
    match (traces, telemetry.metrics.is_some()) {
        (true, true) => Finding::done("both go to a collector"),
        (true, false) => Finding::not_knowable(
            "traces go to a collector; whether Prometheus asks for /metrics is not written here",
            "scrape /metrics of admin.listen, with the rules of deploy/prometheus",
        ),
        (false, true) => Finding::missing("metrics go to a collector, traces nowhere", mend),
        (false, false) => Finding::missing(
            "no collector is named; whether Prometheus asks for /metrics is not written here",
            mend,
        ),
    }
}
