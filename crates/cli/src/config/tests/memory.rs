//! One formula gives the memory the process takes; the shipped limits and the documentation agree with it.

use std::path::Path;

use super::{SMALL, good};

const MIB: usize = 1024 * 1024;

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The number behind `key` in a file, in MiB.
fn limit(name: &str, key: &str) -> usize {
    let text = file(name);
    let line = text.lines().find_map(|line| line.split_once(key));
    let (_, value) = line.unwrap_or_else(|| panic!("{name} has no `{key}`"));
    let value = value.trim().trim_end_matches('}').trim();
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: usize = digits.parse().unwrap();
    match value
        .strip_prefix(digits)
        .unwrap()
        .to_ascii_lowercase()
        .as_str()
    {
        "m" | "mi" => number,
        "g" | "gi" => number * 1024,
        unit => panic!("{name}: {unit}"),
    }
}

#[test]
fn what_is_shipped_has_the_memory_the_formula_asks_for() {
    let defaults = good(SMALL);
    let bound = |configuration: &crate::config::Configuration| {
        let limits = &configuration.gateway.limits;
        limits.memory_bound(configuration.memory, configuration.connections) / MIB
    };
    let needed = bound(&defaults);
    for (name, key) in [
        ("deploy/systemd/keepgate.service", "MemoryMax="),
        ("deploy/compose/compose.yaml", "mem_limit:"),
        ("deploy/kubernetes/statefulset.yaml", "limits: { memory:"),
    ] {
        let given = limit(name, key);
        assert!(
            needed <= given,
            "{name} gives {given} MiB, the formula asks for {needed}"
        );
    }
    // With child processes in the same unit there has to be more.
    let (unit, children) = (
        "deploy/systemd/keepgate.service",
        "deploy/systemd/stdio.conf",
    );
    assert!(limit(unit, "MemoryMax=") < limit(children, "MemoryMax="));
    // The shipped configurations leave the limits as they are.
    for name in [
        "deploy/compose/keepgate/keepgate.yaml",
        "deploy/kubernetes/keepgate.yaml",
    ] {
        for key in ["memory:", "connections:", "in_flight:", "streams:"] {
            assert!(!file(name).contains(key), "{name} sets {key}");
        }
    }
    assert!(
        file("docs/operations.md").contains(&format!("{needed} MiB")),
        "docs say another figure than {needed} MiB"
    );
    // Each part counts.
    let part = |limits: &str| bound(&good(&format!("{SMALL}limits: {{ {limits} }}\n")));
    assert_eq!(part("memory: 257MiB"), needed + 2);
    assert_eq!(part("connections: 4104"), needed + 1);
    assert_eq!(part("in_flight: 1032"), needed + 1);
    assert_eq!(part("streams: 4104"), needed + 1);
}
