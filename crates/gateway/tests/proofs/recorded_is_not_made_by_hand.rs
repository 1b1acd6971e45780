use keepgate_gateway::layers::{audit::Recorded, session::Bound};

fn forge(bound: Bound) -> Recorded {
    Recorded { bound, credential: None }
}

fn main() {}
