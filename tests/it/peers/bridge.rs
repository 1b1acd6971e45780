//! `keepgate stdio`: the stdio clients of the official SDKs, in every era, through the bridge and a gateway.

mod scripted;

use super::drivers::passed;
use super::gate::{Gate, Home, of_kind};
use super::process::{program, run, serve};

/// Drives every client against the bridge to a server of the gateway.
async fn drive(gate: &Gate, server: &str, key: &[&str], reports: usize) {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().display().to_string();
    let keepgate = program("keepgate").display().to_string();
    let url = gate.url(server);
    let bridge = [&[keepgate.as_str(), "stdio", &url], key].concat();
    let words = [&["--stdio"][..], &["--"], &bridge].concat();
    let environment = [("OUT", folder.as_str())];
    println!("{}", run("drivers.sh", &words, &environment).await.good());
    let files = std::fs::read_dir(out.path()).expect("reports");
    let files: Vec<_> = files.map(|file| file.expect("a report").path()).collect();
    assert_eq!(files.len(), reports, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a report");
        passed(&file.display().to_string(), &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stdio_clients_work_through_the_bridge() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let gate = Home::new()
        .url("up", &upstream)
        .child("child", &["fixture-stdio"])
        .keys()
        .serve()
        .await;
    let (_id, key) = gate.home.key("bridge").await;
    let file = gate.home.path("key");
    keepgate_files::replace(&file, format!("{key}\n").as_bytes()).expect("a file");
    let reference = format!("file:{}", file.display());
    for server in ["up", "child"] {
        drive(&gate, server, &["--key", &reference], 7).await;
    }
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    assert!(intents.len() > 100, "{} intents", intents.len());
}
