//! A reload that hangs.

use nix::sys::signal::Signal;

use super::super::gate::Home;
use super::Shim;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_hangs_does_not_hold_up_the_end() {
    let home = Home::new().keys().url("up", "http://127.0.0.1:9/mcp");
    let shim = Shim::new(&home);
    let (name, library) = shim.environment();
    let _key = home.key("a").await;
    let mut gate = home.serve_with(&[(name, &library)]).await;
    // Longer than anybody waits.
    shim.obey("open state/keys 1+ delay=600000\n");
    gate.process.signal(Signal::SIGHUP);
    gate.says("reload asked for by SIGHUP", 1).await;
    let gate = gate.end_keeping().await;
    assert_eq!(gate.said("keys reloaded"), 0);
}
