//! A client that tries everything the [`fixture`](crate::fixture) offers and reports step by step.
//!
//! It is meant for tests: straight to the fixture, or through a gate. The report is one JSON
//! object, `{"step": {"ok": bool, "detail": text}}`, in the order of the steps; a step that rmcp
//! or the revision does not have is `ok` and carries `"skipped": true` with the reason.

mod client;
mod report;
mod steps;
mod walk;

use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::ProtocolVersion;
use rmcp::service::RunningService;

use crate::connect::{self, Era, Target};
use client::Asked;
pub use report::Report;
use report::{Outcome, StepError};
pub use walk::walk;

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open connection and what came in on it.
struct Session {
    client: RunningService<RoleClient, Asked>,
    era: Era,
    revision: ProtocolVersion,
}

/// Runs every step against `target` and reports. A failed connection is a failed first step, and
/// the only one.
pub async fn run(target: &Target, era: Era, revision: ProtocolVersion) -> Report {
    let mut report = Report::default();
    let handler = Asked::new(revision.clone());
    let opened = connect::connect(handler, target, era, revision.clone());
    let client = match tokio::time::timeout(PATIENCE, opened).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            report.add("connect", Err(StepError::Connect(error)));
            return report;
        }
        Err(_) => {
            report.add(
                "connect",
                Err(StepError::Silence("an answer to the first request")),
            );
            return report;
        }
    };
    let session = Session {
        client,
        era,
        revision,
    };
    report.add("connect", Ok(steps::basics::peer(&session)));
    all(&session, &mut report).await;
    let closed = match session.client.cancel().await {
        Ok(reason) => Ok(Outcome::Done(format!("{reason:?}"))),
        Err(error) => Err(StepError::Unexpected(error.to_string())),
    };
    report.add("close", closed);
    report
}

async fn all(session: &Session, report: &mut Report) {
    use steps::{ask, basics, catalog, feed, long};
    report.run("ping", basics::ping(session)).await;
    report.run("list_tools", basics::list_tools(session)).await;
    report.run("echo", basics::echo(session)).await;
    report.run("add_structured", basics::add(session)).await;
    report
        .run("unknown_tool", basics::unknown_tool(session))
        .await;
    report.run("slow_progress", long::progress(session)).await;
    report.run("slow_cancel", long::cancel(session)).await;
    report.run("parallel", long::parallel(session)).await;
    report.run("sample", ask::sample(session)).await;
    report.run("elicit_form", ask::form(session)).await;
    report.run("elicit_url", ask::url(session)).await;
    report.run("roots", ask::roots(session)).await;
    report.run("log", feed::log(session)).await;
    report
        .run("list_changed", feed::list_changed(session))
        .await;
    report
        .run("resource_updated", feed::resource_updated(session))
        .await;
    report.run("resources", catalog::resources(session)).await;
    report
        .run("resource_templates", catalog::templates(session))
        .await;
    report.run("resource_read", catalog::read(session)).await;
    report
        .run("resource_unknown", catalog::read_unknown(session))
        .await;
    report.run("prompts", catalog::prompts(session)).await;
    report.run("prompt_get", catalog::prompt(session)).await;
    report.run("completion", catalog::completion(session)).await;
}
