//! The gate that records calls takes those whose obligations are seen to; what was permitted is not enough.

use keepgate_gateway::{
    gate::Gate,
    layers::{approval::Permitted, audit::Intent},
};

async fn skip_the_obligations(intent: &Intent, permitted: Permitted) {
    let _ = intent.pass(permitted).await;
}

fn main() {}
