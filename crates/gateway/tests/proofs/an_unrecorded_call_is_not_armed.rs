use keepgate_gateway::{
    gate::Gate,
    layers::{approval::Permitted, credential::Attach},
};

async fn skip_the_intent(attach: &Attach, permitted: Permitted) {
    let _ = attach.pass(permitted).await;
}

fn main() {}
