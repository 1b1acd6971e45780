//! Bundles while the disk does not take them, and starts while their server hangs.

use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::faults::Shim;
use super::super::process::PATIENCE;
use super::*;

async fn is_unpersisted(gate: &Gate) -> bool {
    let metrics = gate.metrics().await;
    let mut lines = metrics
        .lines()
        .filter(|line| line.starts_with("keepgate_bundle_unpersisted{"));
    lines.next().expect("the metric").ends_with(" 1")
}

fn home(up: &FakeServer, policies: Value) -> Home {
    Home::new()
        .url("up", &up.url())
        .with(|it| it["policies"] = policies)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_bundle_that_could_not_be_kept_is_reported_and_kept_later() {
    let up = upstream().await;
    let mut shop = Shop::open(&[]).await;
    let (signed, verify) = signing("ES256");
    shop.stock("r1", &allows("echo"), &words(&signed)).await;
    let home = home(&up, remote(&shop, &verify));
    let shim = Shim::new(&home);
    let (name, value) = shim.environment();
    let mut gate = home.serve_with(&[(name, &value)]).await;
    let client = gate.client("up");
    assert_eq!(gate.part("bundles").await, "ok");
    assert!(!is_unpersisted(&gate).await);

    shim.obey("create,write,sync,rename state/bundles 1+ ENOSPC\n");
    shop.stock("r2", &allows("delete"), &words(&signed)).await;
    until("the second bundle", async || {
        allowed(&client, "delete").await
    })
    .await;
    gate.says("the bundle is active and could not be kept", 1)
        .await;
    assert!(gate.part("bundles").await.contains("NOT KEPT"));
    assert!(is_unpersisted(&gate).await);
    // Each look tries again, and the log has one line of it.
    let looks = shop.answered(" 304");
    until("more looks", async || shop.answered(" 304") >= looks + 2).await;
    assert_eq!(gate.said("the bundle is active and could not be kept"), 1);

    shim.obey("");
    gate.says("the bundle is kept again", 1).await;
    assert_eq!(gate.part("bundles").await, "ok");
    assert!(!is_unpersisted(&gate).await);

    // Nor does one count as kept that somebody has removed.
    let folder = gate.home.path("state/bundles");
    let mut entries = std::fs::read_dir(&folder).expect("the bundles");
    let kept = entries.next().expect("one").expect("readable").path();
    assert!(entries.next().is_none());
    std::fs::remove_dir_all(&folder).expect("removed");
    // Its own name, since the name of a file that is being written counts for nothing.
    until("the bundle to be kept again", async || kept.exists()).await;

    let home = gate.kill().await;
    shop.process = None;
    let gate = home.serve().await;
    let report = status(&gate).await;
    assert_eq!(
        report["bundles"][shop.bundle()]["active_revision"],
        "r2",
        "{report}"
    );
    gate.end().await;
}

/// Holds the place of a server that takes connections and never answers.
/// A folder whose policies do not load makes a new bundle wait; nothing is wrong with it, and it is activated with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_not_blamed_for_the_policies_it_is_loaded_with() {
    let up = upstream().await;
    let shop = Shop::open(&[]).await;
    let (signed, verify) = signing("ES256");
    shop.stock("r1", &allows("echo"), &words(&signed)).await;
    let mut policies = remote(&shop, &verify);
    let home = Home::new().url("up", &up.url());
    let folder = home.path("own");
    std::fs::create_dir(&folder).expect("a folder");
    let own = folder.join("own.rego");
    let good = "package own.numbers\n\nnumber := 1\n";
    std::fs::write(&own, good).expect("a file");
    policies.as_array_mut().expect("a list").push(json!(folder));
    let mut gate = home.with(|it| it["policies"] = policies).serve().await;
    let client = gate.client("up");
    assert!(allowed(&client, "echo").await);

    std::fs::write(&own, "package own.numbers\n\nnumber :=\n").expect("a file");
    gate.says("policies not taken", 1).await;
    shop.stock("r2", &allows("delete"), &words(&signed)).await;
    let bundle = || async { status(&gate).await["bundles"][shop.bundle()].clone() };
    until("the bundle to wait", async || {
        bundle().await["stale"] == true
    })
    .await;
    let waiting = bundle().await;
    let message = waiting["message"].as_str().expect("a message");
    assert!(
        message.contains("waits for the other policies"),
        "{waiting}"
    );
    let error = waiting["errors"][0].as_str().expect("an error");
    assert!(error.contains("own.rego"), "{waiting}");
    assert_eq!(waiting["active_revision"], "r1", "{waiting}");
    assert!(allowed(&client, "echo").await);
    // It is not tried again at each look.
    let (tries, looks) = (gate.said("policies not taken"), shop.answered(" 200"));
    until("more looks", async || shop.answered(" 200") >= looks + 3).await;
    assert_eq!(gate.said("policies not taken"), tries);

    // The very policies of before, so that nothing but the bundle is new.
    std::fs::write(&own, good).expect("a file");
    until("the second bundle", async || {
        allowed(&client, "delete").await
    })
    .await;
    until("its revision", async || {
        bundle().await["active_revision"] == "r2"
    })
    .await;
    assert_eq!(bundle().await["stale"], false);
    assert_eq!(gate.part("policy").await, "ok");
    gate.end().await;
}

fn hang(shop: &mut Shop) -> TcpListener {
    shop.process = None;
    let address = shop.url.trim_start_matches("http://").to_owned();
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(&address) {
            return listener;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the address is taken: {address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_wait_for_a_bundle_server_that_hangs() {
    let up = upstream().await;
    let mut shop = Shop::open(&[]).await;
    let (signed, verify) = signing("ES256");
    shop.stock("r1", &allows("echo"), &words(&signed)).await;
    let home = home(&up, remote(&shop, &verify));
    let home = home.serve().await.end_keeping().await.home;
    let hanging = hang(&mut shop);
    let gate = home.serve().await;
    assert!(
        gate.process
            .stderr()
            .contains("the start does not wait longer")
    );
    assert!(gate.part("bundles").await.contains("stale"));
    assert!(allowed(&gate.client("up"), "echo").await);
    gate.end().await;
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_ends_by_a_signal() {
    let up = upstream().await;
    let mut shop = Shop::open(&[]).await;
    let (signed, verify) = signing("ES256");
    shop.stock("r1", &allows("echo"), &words(&signed)).await;
    // It waits for a bundle, and for a disk.
    for rule in [
        "",
        "sync state 1 delay=600000\n",
        "rename state/audit 1 delay=600000\n",
    ] {
        let hanging = rule.is_empty().then(|| hang(&mut shop));
        let home = if rule.is_empty() {
            home(&up, remote(&shop, &verify))
        } else {
            Home::new().url("up", &up.url())
        };
        let shim = Shim::new(&home);
        shim.obey(rule);
        let (name, value) = shim.environment();
        let mut process = home.start(&[(name, &value)]);
        let starts = |text: &str| {
            text.contains("\"message\":\"keepgate starts\"")
                .then_some(())
        };
        process.says("its start", starts).await;
        process.signal(Signal::SIGTERM);
        let status = process.ended(PATIENCE).await;
        let text = process.stderr();
        assert_eq!(status.code(), Some(0), "{rule}: {text}");
        assert!(
            text.contains("ended by a signal before it was ready"),
            "{rule}: {text}"
        );
        drop(hanging);
    }
}
