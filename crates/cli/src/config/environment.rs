//! `KEEPGATE_*` variables laid over the file: each sets one key, and wins.
//!
//! The name is the key's path in capitals, levels parted by two underscores: `KEEPGATE_ADMIN__LISTEN` is
//! `admin.listen`, `KEEPGATE_SERVERS__CRM__URL` is `servers.crm.url`. A `-` in a server's name is written `_`. A value
//! that begins with `[` or `{` is read as YAML, any other stands for itself. Below `env` of a server the last level is
//! taken as it is: `KEEPGATE_SERVERS__FILES__ENV__TOKEN` sets `TOKEN`.

use std::ffi::{OsStr, OsString};

use super::document::{self, Entry, Node, Scalar, Value, join};
use super::fault::{Fault, Faults, Origin};

/// What our variables begin with.
const PREFIX: &str = "KEEPGATE_";
/// Most levels a name may have; no key lies deeper.
const MAX_LEVELS: usize = 8;
/// Variables that are flags of the command line, not keys.
const FLAGS: [&str; 5] = [
    "CONFIG",
    "OUTPUT",
    "ADMIN_URL",
    "ADMIN_TOKEN",
    "LANDLOCK_ABI",
];

/// Lays the variables over the tree, in the order of their names so that errors come in one order.
pub(crate) fn overlay(
    root: &mut Node,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    faults: &mut Faults,
) {
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(is_key))
        .collect();
    ours.sort();
    for (name, value) in ours {
        let path: Vec<&str> = name
            .strip_prefix(PREFIX)
            .unwrap_or_default()
            .split("__")
            .collect();
        let origin = Origin::Variable(name.clone());
        if path.len() > MAX_LEVELS {
            faults.push(Fault::new(origin, "", "no key lies that deep"));
            continue;
        }
        if let Some(node) = read(&value, &origin, faults) {
            put(root, &path, node, "", &origin, faults);
        }
    }
}

/// Whether the rest of a variable's name stands for a key.
fn is_key(rest: &str) -> bool {
    !FLAGS.contains(&rest) && !is_service_link(rest)
}

/// Kubernetes gives every container variables about services of its namespace (`NAME_SERVICE_HOST`, `NAME_PORT`,
/// `NAME_PORT_80_TCP_ADDR`, ..). With a service named `keepgate` they look like ours, and must not stop the start.
fn is_service_link(rest: &str) -> bool {
    let port = rest.strip_prefix("PORT").is_some_and(|tail| {
        let number = tail
            .strip_prefix('_')
            .and_then(|tail| tail.split('_').next());
        tail.is_empty() || number.is_some_and(|number| number.parse::<u16>().is_ok())
    });
    port || rest == "SERVICE_HOST" || rest == "SERVICE_PORT" || rest.starts_with("SERVICE_PORT_")
}

/// The variable's value as a tree whose every part comes from the variable.
fn read(value: &OsStr, origin: &Origin, faults: &mut Faults) -> Option<Node> {
    let Some(text) = value.to_str() else {
        faults.push(Fault::new(origin.clone(), "", "value is not UTF-8"));
        return None;
    };
    if !text.starts_with(['[', '{']) {
        let value = Value::Scalar(Scalar {
            text: text.to_owned(),
            plain: true,
        });
        return Some(Node {
            origin: origin.clone(),
            value,
        });
    }
    let mut inner = Faults::default();
    let node = document::parse(text, &mut inner);
    if !inner.is_empty() {
        let hint = "a value that begins with [ or { is read as YAML";
        faults.push(Fault::new(origin.clone(), "", "value is not a YAML list or map").hint(hint));
        return None;
    }
    node.map(|node| moved(node, origin))
}

/// The tree with every place in it replaced by the variable.
fn moved(node: Node, origin: &Origin) -> Node {
    let value = match node.value {
        Value::List(items) => {
            Value::List(items.into_iter().map(|item| moved(item, origin)).collect())
        }
        Value::Map(entries) => {
            let entry = |entry: Entry| Entry {
                origin: origin.clone(),
                node: moved(entry.node, origin),
                ..entry
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
        flat @ (Value::Null | Value::Scalar(_)) => flat,
    };
    Node {
        origin: origin.clone(),
        value,
    }
}

/// Puts `new` at `path` below `node`, making the maps on the way.
fn put(node: &mut Node, path: &[&str], new: Node, at: &str, origin: &Origin, faults: &mut Faults) {
    let Some((segment, rest)) = path.split_first() else {
        *node = new;
        return;
    };
    if node.value == Value::Null {
        *node = Node {
            origin: origin.clone(),
            value: Value::Map(Vec::new()),
        };
    }
    let Value::Map(entries) = &mut node.value else {
        let message = format!(
            "`{at}` is {} in the file, it has no keys to set",
            node.value.describe()
        );
        faults.push(Fault::new(origin.clone(), at, message));
        return;
    };
    // Names of environment variables are taken as they are, all others are lower case in the file.
    let exact = at.ends_with(".env");
    let found = entries.iter().position(|entry| {
        if exact {
            entry.key == *segment
        } else {
            spelled(&entry.key) == *segment
        }
    });
    let index = found.unwrap_or(entries.len());
    if found.is_none() {
        let empty = Node {
            origin: origin.clone(),
            value: Value::Null,
        };
        entries.push(Entry {
            key: if exact {
                (*segment).to_owned()
            } else {
                segment.to_ascii_lowercase()
            },
            origin: origin.clone(),
            node: empty,
        });
    }
    if let Some(entry) = entries.get_mut(index) {
        let at = join(at, &entry.key);
        put(&mut entry.node, rest, new, &at, origin, faults);
    }
}

/// How a key is spelled in a variable's name.
fn spelled(key: &str) -> String {
    key.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::is_service_link;

    #[test]
    fn only_service_links_are_passed_over() {
        for name in [
            "PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_ADDR",
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in [
            "PORTS",
            "PORT_",
            "PORT_X",
            "SERVICE",
            "SERVICE_NAME",
            "LISTEN",
            "PUBLIC_URL",
        ] {
            assert!(!is_service_link(name), "{name}");
        }
    }
}
