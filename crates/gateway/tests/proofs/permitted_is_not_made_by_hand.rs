use keepgate_gateway::layers::{approval::Permitted, session::Bound};
use keepgate_policy::Decision;

fn forge(bound: Bound, decision: Decision) -> Permitted {
    Permitted { bound, tool: None, decision }
}

fn main() {}
