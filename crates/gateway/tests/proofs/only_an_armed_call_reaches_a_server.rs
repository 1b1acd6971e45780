use keepgate_gateway::{layers::audit::Recorded, upstream::Router};
use tower::Service;

fn skip_the_credential(router: &mut Router, recorded: Recorded) {
    let _ = router.call(recorded);
}

fn main() {}
