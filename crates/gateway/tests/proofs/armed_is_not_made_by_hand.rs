use http::HeaderMap;
use keepgate_gateway::layers::{credential::Armed, session::Bound};

fn forge(bound: Bound, headers: HeaderMap) -> Armed {
    Armed { bound, headers }
}

fn main() {}
