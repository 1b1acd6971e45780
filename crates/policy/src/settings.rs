//! What the operator may set about judging; every value has a safe default.

use std::time::Duration;

/// Bounds on loading and judging.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Engines built ahead of use, one per thread that judges. A thread beyond that number builds its own on first use.
    pub workers: usize,
    /// Wall-clock limit of one try at a decision; beyond the second try the call is refused with `policy_timeout`.
    pub decision_limit: Duration,
    /// Wall-clock limit of filtering one page of a list; beyond it nothing is shown.
    pub list_limit: Duration,
    /// Wall-clock limit of reading and checking all policy files, after which a load is given up.
    pub load_limit: Duration,
    /// Largest policy file, in bytes.
    pub max_file_bytes: u64,
    /// Largest data file (`data.json`, `data.yaml`), in bytes.
    pub max_data_bytes: u64,
    /// Most files read from all directories together.
    pub max_files: usize,
    /// Whether sets are taken apart so that rules which cannot hold are not evaluated. Answers are the same without;
    /// it is here for the tests that show so.
    #[doc(hidden)]
    pub split: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            decision_limit: Duration::from_millis(50),
            list_limit: Duration::from_millis(250),
            load_limit: Duration::from_secs(10),
            max_file_bytes: 512 * 1024,
            max_data_bytes: 32 * 1024 * 1024,
            max_files: 2_000,
            split: true,
        }
    }
}
