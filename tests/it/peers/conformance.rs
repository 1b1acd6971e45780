//! The official conformance suite: through the gateway every scenario passes as many checks as directly.

use super::gate::Home;
use super::process::{run, serve};

#[tokio::test(flavor = "multi_thread")]
async fn no_scenario_loses_a_check() {
    let (_direct, direct) = serve("fixture", &[]).await;
    let (_behind, behind) = serve("fixture", &[]).await;
    let gate = Home::new().url("up", &behind).serve().await;
    let (before, after) = (
        gate.home.path("direct.json"),
        gate.home.path("gateway.json"),
    );
    let (before, after) = (before.display().to_string(), after.display().to_string());
    let url = gate.url("up");
    let (directly, through) = ([direct.as_str(), &before], [url.as_str(), &after]);
    let (ran_before, ran_after) = tokio::join!(
        run("conformance.sh", &directly, &[]),
        run("conformance.sh", &through, &[])
    );
    ran_before.good();
    ran_after.good();
    let compared = run("conformance-compare.py", &[&before, &after], &[])
        .await
        .good();
    println!("{compared}");
    gate.end().await;
}
