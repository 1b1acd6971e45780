//! `state.dir` of a file that is not valid as a whole: the kill switch must work when the configuration does not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::document::{self, Node, Value};
use super::fault::Faults;

/// The variable that sets the key.
const VARIABLE: &str = "KEEPGATE_STATE__DIR";

/// The state directory that the file at `path` or the variables name, whatever else is wrong with them.
pub(crate) fn state_directory(path: &Path, variables: &[(OsString, OsString)]) -> Option<PathBuf> {
    let mut set = variables.iter();
    let set = set.find(|(name, value)| name == VARIABLE && !value.is_empty());
    let named = match set {
        Some((_, value)) => PathBuf::from(value),
        None => PathBuf::from(key(&super::read_lossy(path)?)?),
    };
    let directory = std::path::absolute(path).ok()?;
    Some(directory.parent()?.join(named))
}

/// The key of the whole document, or, if that is no YAML, of the lines that hold it.
fn key(text: &str) -> Option<String> {
    let mut faults = Faults::default();
    let whole = document::parse(text, &mut faults).and_then(|root| dir(&root));
    whole.or_else(|| {
        let mut lines = text.lines().skip_while(|line| !line.starts_with("state:"));
        let mut block = lines.next()?.to_owned();
        for line in lines.take_while(|line| line.starts_with([' ', '#']) || line.is_empty()) {
            block.push('\n');
            block.push_str(line);
            // The first line that is no YAML may be within the block.
            let root = document::parse(&block, &mut faults);
            if let Some(dir) = root.and_then(|root| dir(&root)) {
                return Some(dir);
            }
        }
        dir(&document::parse(&block, &mut faults)?)
    })
}

fn dir(root: &Node) -> Option<String> {
    let member = |node: &Node, name: &str| match &node.value {
        Value::Map(entries) => {
            let mut entries = entries.iter();
            let found = entries.find(|entry| entry.key == name);
            found.map(|entry| entry.node.clone())
        }
        Value::Null | Value::Scalar(_) | Value::List(_) => None,
    };
    match member(&member(root, "state")?, "dir")?.value {
        Value::Scalar(scalar) if !scalar.text.is_empty() => Some(scalar.text),
        Value::Scalar(_) | Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_key_of_broken_files() {
        let table = [
            ("state:\n  dir: ./s\nbogus: 1\n", Some("./s")),
            ("servers: {\nstate:\n  dir: /s\npolicies: [", Some("/s")),
            ("state: {dir: '/s'}\n\tx: [", Some("/s")),
            ("state:\n  # where\n\n  dir: /s\n  store: [\n", Some("/s")),
            ("a: *b\nstate:\n  dir: /s\n", Some("/s")),
            ("x:\n  state:\n    dir: /s\n", None),
            ("state: [\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(key(text).as_deref(), expected, "{text}");
        }
    }
}
