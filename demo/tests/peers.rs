//! The rmcp peers against each other, and the agent straight at its servers. What a gate is
//! measured against has to work without one.

use std::net::{Ipv4Addr, SocketAddr};

use keepgate_demo::agent::{self, Place};
use keepgate_demo::connect::{Era, Target};
use keepgate_demo::console::Console;
use keepgate_demo::crm::Crm;
use keepgate_demo::driver;
use keepgate_demo::fixture::Fixture;
use keepgate_demo::serve;
use rmcp::ServerHandler;
use rmcp::model::ProtocolVersion;
use tokio_util::sync::{CancellationToken, DropGuard};

/// This package's program, which is also a stdio server.
const PROGRAM: &str = env!("CARGO_BIN_EXE_keepgate-demo");

fn own(arguments: &[&str]) -> Target {
    let command = std::iter::once(PROGRAM)
        .chain(arguments.iter().copied())
        .map(str::to_owned)
        .collect();
    Target::Stdio { command }
}

/// Serves on a free port until the guard is dropped.
async fn served<S: ServerHandler>(
    server: impl Fn() -> S + Send + Sync + 'static,
) -> Result<(Target, DropGuard), Box<dyn std::error::Error>> {
    let listener = serve::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let target = Target::http(format!("http://{}/mcp", listener.local_addr()?), None)?;
    let stop = CancellationToken::new();
    tokio::spawn(serve::http(server, listener, None, stop.clone()));
    Ok((target, stop.drop_guard()))
}

async fn check(target: &Target, era: Era, revision: ProtocolVersion) {
    let report = driver::run(target, era, revision).await;
    assert!(report.is_good(), "{report}");
}

async fn check_over_http(
    era: Era,
    revision: ProtocolVersion,
) -> Result<(), Box<dyn std::error::Error>> {
    let fixture = Fixture::new();
    let (target, _guard) = served(move || fixture.session()).await?;
    check(&target, era, revision).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_http_with_a_session() {
    check_over_http(Era::Stateful, ProtocolVersion::V_2025_11_25)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_http_with_a_session_in_older_revisions() {
    check_over_http(Era::Stateful, ProtocolVersion::V_2025_06_18)
        .await
        .unwrap();
    check_over_http(Era::Stateful, ProtocolVersion::V_2025_03_26)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_http_without_a_session() {
    check_over_http(Era::Stateless, ProtocolVersion::V_2026_07_28)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_stdio_in_both_eras() {
    for era in [Era::Stateful, Era::Stateless] {
        check(&own(&["fixture", "--stdio"]), era, era.revision()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lacks_things_is_reported() {
    let report = driver::run(&own(&["notes"]), Era::Stateful, Era::Stateful.revision()).await;
    assert!(!report.is_good());
    let steps: serde_json::Value = serde_json::from_str(&report.to_string()).unwrap();
    assert_eq!(steps["connect"]["ok"], true);
    assert_eq!(steps["echo"]["ok"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_one_failed_step() {
    let target = Target::http("http://127.0.0.1:9/mcp", None).unwrap();
    let report = driver::run(&target, Era::Stateful, Era::Stateful.revision()).await;
    assert!(!report.is_good());
    let steps: serde_json::Value = serde_json::from_str(&report.to_string()).unwrap();
    assert_eq!(steps.as_object().unwrap().len(), 1, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gate_the_agent_may_do_anything() {
    let crm = Crm::new();
    let (target, _guard) = served(move || crm.clone()).await.unwrap();
    let place = Place {
        crm: target,
        notes: own(&["notes"]),
        gated: false,
    };
    for era in [Era::Stateful, Era::Stateless] {
        let surprises = agent::work(&place, era, &Console::new()).await.unwrap();
        assert_eq!(surprises, 0);
    }
    // The same work with a gate expected: hidden tools show, denials do not come, nothing is redacted.
    let fooled = Place {
        gated: true,
        ..place
    };
    let surprises = agent::work(&fooled, Era::Stateless, &Console::new()).await;
    assert_eq!(surprises.unwrap(), 7);
}
