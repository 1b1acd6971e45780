//! The gate that arms calls takes what the log has recorded; what policy permitted is not enough.

use keepgate_gateway::{
    around::Around,
    layers::{approval::Permitted, credential::Attach},
};

async fn arm(attach: &Attach, permitted: Permitted) {
    let sent = async |_armed| unreachable!();
    let _ = attach.run(permitted, sent).await;
}

fn main() {}
