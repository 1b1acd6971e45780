use keepgate_gateway::{
    gate::Gate,
    layers::{approval::Permitted, credential::Attach},
};

async fn skip_the_intent(permitted: Permitted) {
    let _ = Attach.pass(permitted).await;
}

fn main() {}
