//! 2024-11-05: what many servers on npm still answer, as child processes and over HTTP+SSE. Messages are those of 2025-03-26
//! without batches; over Streamable HTTP, which it does not have, a session in it behaves like one of 2025-03-26.

use super::{Facts, v2025_03_26};

pub(super) static FACTS: Facts = Facts {
    name: "2024-11-05",
    batches: false,
    ..v2025_03_26::FACTS
};
