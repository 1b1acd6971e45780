//! A page in Chromium with the official client: what a browser lets it send and read is up to the gateway's CORS answers.

use keepgate_tests::free_port;
use serde_json::{Value, json};

use super::{
    gate::{Gate, Home},
    process::{run, serve},
};

/// Steps of a page at this port with their outcomes; `None`, with the skip recorded, on a machine without a browser.
async fn page(gate: &Gate, port: u16, era: &str, headers: &[&str]) -> Option<Value> {
    let chromium = keepgate_machine::installed("chromium")?;
    let (chromium, url) = (chromium.display().to_string(), gate.url("up"));
    let words = [&[chromium.as_str(), &url, era], headers].concat();
    let environment = [("PORT", port.to_string())];
    let environment = environment.each_ref().map(|(name, port)| (*name, &**port));
    Some(run("page.mjs", &words, &environment).await.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_works_in_chromium_and_others_are_kept_out() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let (listed, other) = (free_port(), free_port());
    let gate = Home::new()
        .url("up", &upstream)
        .keys()
        .with(|it| it["origins"] = json!([format!("http://app.example:{listed}")]))
        .serve()
        .await;
    let (_, key) = gate.home.key("page").await;
    let key = format!("authorization: Bearer {key}");
    for (era, session) in [
        ("stateful", "in a session"),
        ("stateless", "without a session"),
    ] {
        let Some(found) = page(&gate, listed, era, &[&key]).await else {
            return;
        };
        let steps = json!({
            "connect": session, "tools": true, "text": "text", "progress": true, "resources": true, "end": true,
            "stranger": [401, true],
        });
        assert_eq!(found["steps"], steps, "{era}: {found}");
        let Some(found) = page(&gate, other, era, &[&key]).await else {
            return;
        };
        let connected = found["steps"]["connect"].as_str().expect("a step");
        assert!(connected.starts_with("failed"), "{era}: {found}");
        // The preflight is refused, so the browser sends nothing.
        assert_eq!(found["requests"], json!([]), "{era}: {found}");
        let complaints = found["console"].to_string();
        assert!(complaints.contains("CORS"), "{era}: {found}");
    }
    gate.end().await;
}
