use keepgate_gateway::layers::{policy::Judged, session::Bound};
use keepgate_policy::Decision;

fn forge(bound: Bound, decision: Decision) -> Judged {
    Judged { bound, tool: None, decision }
}

fn main() {}
