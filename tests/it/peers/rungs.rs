//! Rungs of the ladder: what clients of each era get while a call waits for a person, and what runs in the end.

mod link;
mod rounds;
mod sent;
mod stream;

use std::time::Duration;

use keepgate_tests::FakeServer;
use serde_json::{Value, json};

use super::approvals::{self, People};
use super::gate::Gate;

/// A gateway before the server whose streams carry something each second; the policy wants a person for `delete`.
async fn gate(server: &FakeServer, hold: Value) -> (Gate, People) {
    approvals::holding_with(server, hold, |it| {
        it["limits"] = json!({"keep_alive": "1s"});
        it["servers"]["up"]["listen_sse"] = json!(true);
    })
    .await
}

/// Calls that reached the server.
fn sent(server: &FakeServer) -> usize {
    server.heard_of("tools/call").len()
}

/// Time in which a call that must not be made would have been.
const GRACE: Duration = Duration::from_millis(700);
