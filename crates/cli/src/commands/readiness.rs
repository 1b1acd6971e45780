//! `check --readiness`: what is missing before production, and how to mend it.

use std::time::SystemTime;

use keepgate_policy::{Policy, ServerFields, probe};

use super::Context;
use crate::config::Configuration;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::readiness::{self, Ground};

/// `check --readiness`, with a configuration and policies that are valid.
pub(super) fn run(
    context: &mut Context<'_>,
    configuration: &Configuration,
    policy: &Policy,
) -> Result<(), Failure> {
    let now = SystemTime::now();
    let labels: Vec<Vec<(&str, &str)>> = configuration
        .gateway
        .servers
        .values()
        .map(|server| {
            // As the gateway shows them to policies.
            let labels = server.labels.iter();
            labels
                .map(|label| label.split_once('=').unwrap_or((label, "true")))
                .collect()
        })
        .collect();
    let servers = configuration.gateway.servers.iter().zip(&labels);
    let servers: Vec<ServerFields<'_>> = servers
        .map(|((name, server), labels)| ServerFields {
            name: name.as_str(),
            owner: server.owner.as_deref().unwrap_or_default(),
            environment: server.environment.as_deref().unwrap_or_default(),
            trust: server.trust.as_str(),
            labels,
            definition: None,
        })
        .collect();
    let probed = probe::probe(policy, &servers, now)
        .map_err(|error| Failure::caused(Exit::Policy, &error))?;
    let mut report = readiness::look(&Ground {
        configuration,
        probed: &probed,
        now,
    });
    report.config = context.config.display().to_string();
    context.output.print(&report, readiness::text)?;
    if report.ready {
        Ok(())
    } else {
        Err(Failure::told(Exit::Unready))
    }
}
