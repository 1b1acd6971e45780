//! `check`: everything a start would read, without a start.

use keepgate_net::{Certificate, TlsFiles};
use keepgate_policy::Policy;
use serde::Serialize;

use super::Context;
use crate::arguments::Check;
use crate::config::Configuration;
use crate::exit::Exit;
use crate::failure::Failure;

/// What was found in order.
#[derive(Serialize)]
struct Checked {
    config: String,
    servers: usize,
    auth: &'static str,
    policy_files: usize,
    policy_revision: String,
    warnings: Vec<String>,
}

/// `check`.
pub(super) fn run(wish: &Check, context: &mut Context<'_>) -> Result<(), Failure> {
    let configuration = context.configuration()?;
    tls(&configuration)?;
    let (sources, remote) = configuration
        .local_sources()
        .map_err(|error| Failure::caused(Exit::Configuration, &error))?;
    let policy = super::policy::load(sources)?;
    if wish.readiness {
        return super::readiness::run(context, &configuration, &policy);
    }
    let absent = super::presence::absent(&configuration, &context.variables);
    let mut checked = checked(context, configuration, &policy);
    checked.warnings.extend(absent);
    let unseen = |name: &String| format!("not fetched, so not checked: bundle {name}");
    checked.warnings.extend(remote.iter().map(unseen));
    Ok(context.output.print(&checked, text)?)
}

/// Certificates and keys have to fit, of the listeners and for servers.
fn tls(configuration: &Configuration) -> Result<(), Failure> {
    let own = configuration.own_tls().map(|files| TlsFiles {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
    });
    let shown = configuration.gateway.identities();
    for files in own.chain(shown.map(|(_, files)| files.clone())) {
        Certificate::read(files).map_err(|error| Failure::caused(Exit::Configuration, &error))?;
    }
    Ok(())
}

fn checked(context: &Context<'_>, configuration: Configuration, policy: &Policy) -> Checked {
    let generation = policy.generation();
    Checked {
        config: context.config.display().to_string(),
        servers: configuration.gateway.servers.len(),
        auth: configuration.auth.as_str(),
        policy_files: generation.files,
        policy_revision: generation.revision.to_string(),
        warnings: configuration.warnings,
    }
}

fn text(checked: &Checked) -> String {
    let mut text = format!(
        "configuration ok: {} (servers: {}, callers by {})\npolicies ok: {} files, revision {}\n",
        checked.config,
        checked.servers,
        checked.auth,
        checked.policy_files,
        checked.policy_revision
    );
    for warning in &checked.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}
