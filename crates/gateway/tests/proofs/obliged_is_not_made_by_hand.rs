use keepgate_gateway::layers::{obligation::Obliged, session::Bound};
use keepgate_policy::Decision;

fn forge(bound: Bound, decision: Decision) -> Obliged {
    Obliged {
        bound,
        decision,
        credential: None,
    }
}

fn main() {}
