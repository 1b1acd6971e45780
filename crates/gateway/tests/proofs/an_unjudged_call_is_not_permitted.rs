use keepgate_gateway::{
    gate::Gate,
    layers::{approval::RequireApproval, catalog::Known},
};

async fn skip_policy(gate: RequireApproval, known: Known) {
    let _ = gate.pass(known).await;
}

fn main() {}
