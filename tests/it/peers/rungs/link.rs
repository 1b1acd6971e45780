//! Links to users of clients with sessions: the SDKs' own clients, with their own time limits.

use keepgate_tests::FakeServer;
use serde_json::json;

use super::super::{
    approvals::{decide, holding_with, server, waiting},
    process::{PATIENCE, begin},
};
use super::sent;

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_with_sessions_show_the_link_and_go_on() {
    let server: FakeServer = server().await;
    let hold = json!({"stream": "50s"});
    let (gate, people) = holding_with(&server, hold, |it| {
        it["admin"]["public_url"] = json!("https://console.example");
    })
    .await;
    let url = gate.url("up");
    let key = people.key.as_str();
    for (made, (script, words)) in [
        ("ts-link.mjs", vec!["1", &url, key]),
        ("ts-link.mjs", vec!["2", &url, key]),
        ("py_link.py", vec![&url, key]),
    ]
    .into_iter()
    .enumerate()
    {
        let client = begin(script, &words, &[]);
        let id = waiting(&gate, &people.ann).await;
        decide(&gate, &people.ann, "approve", &id).await;
        let finished = client.finished(PATIENCE).await;
        let lines: Vec<_> = finished.stdout.lines().collect();
        let link = format!("link https://console.example/console/approvals/{id}");
        for line in [&link, "completed", "answer did delete"] {
            assert!(
                lines.contains(&line),
                "{script} {made}: {line}: {finished:?}"
            );
        }
        assert_eq!(sent(&server), made + 1, "{finished:?}");
    }
    gate.end().await;
}
