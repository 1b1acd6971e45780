//! Limits: a refusal names the one it met by its key in the configuration, and every key is named by one or listed as one that
//! refuses nothing by itself.

use std::collections::BTreeSet;

use regex::Regex;

use super::{read, rust_files};

/// Limits that are no keys: of the gateway itself, or of a rule.
const FIXED: [&str; 2] = ["gzip 100:1", "policy.limit"];

/// Keys that no refusal names, each with what meeting it does.
const UNNAMED: [(&str, &str); 7] = [
    (
        "limits.connections",
        "a connection is closed, none is refused",
    ),
    ("limits.drain", "what runs is cut at the end of the process"),
    ("limits.drain_delay", "only `/readyz` changes"),
    (
        "limits.header_timeout",
        "the connection is closed, nothing was asked",
    ),
    ("limits.keep_alive", "a comment is sent"),
    ("limits.session_idle", "the session is unknown afterwards"),
    ("limits.stream_life", "the stream ends gracefully"),
];

/// Keys of limits, as the documentation of the configuration has them.
fn documented() -> BTreeSet<String> {
    let text = read("crates/cli/docs/configuration.md");
    let keys = text.lines().filter_map(|line| {
        let (key, _) = line.strip_prefix("| `")?.split_once('`')?;
        let is_limit = key.starts_with("limits.") || key.contains(".limits.");
        is_limit.then(|| key.to_owned())
    });
    keys.collect()
}

#[test]
fn refusals_name_limits_by_their_keys() {
    let known = documented();
    assert!(known.len() > 25, "{known:?}");
    let named =
        Regex::new(r#""((?:servers\.[^"]*)?limits\.[^" ]*)"|\.(?:over|limit)\(\s*"([^"]+)""#);
    let named = named.expect("a pattern");
    let (mut found, mut wrong) = (BTreeSet::new(), Vec::new());
    let files = ["crates/gateway/src", "crates/call/src"].map(rust_files);
    for file in files.concat() {
        if file.contains("tests") {
            continue;
        }
        let text = read(&file);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for captures in named.captures_iter(text) {
            let name = captures
                .get(1)
                .or_else(|| captures.get(2))
                .expect("a name")
                .as_str();
            found.insert(name.to_owned());
            if !known.contains(name) && !FIXED.contains(&name) {
                wrong.push(format!("{file}: {name}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "no keys of the configuration");
    let unnamed: BTreeSet<&str> = UNNAMED.iter().map(|(key, _)| *key).collect();
    let missing: Vec<_> = known
        .iter()
        .filter(|key| !found.contains(*key) && !unnamed.contains(key.as_str()))
        .collect();
    assert_eq!(missing, Vec::<&String>::new(), "refusals do not name them");
    let gone: Vec<_> = unnamed
        .iter()
        .filter(|key| !known.contains(**key))
        .collect();
    assert_eq!(gone, Vec::<&&str>::new(), "listed, and no keys any more");
}
