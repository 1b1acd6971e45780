use keepgate_gateway::{
    gate::Gate,
    layers::{approval::Await, catalog::Known},
};

async fn skip_policy(known: Known) {
    let _ = Await.pass(known).await;
}

fn main() {}
