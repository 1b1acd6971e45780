//! A client's file that its client writes at the same time.

use std::fs;

use super::{ReplaceError, replace};

#[test]
fn a_file_that_its_client_wrote_meanwhile_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    fs::write(&file, "of the client").unwrap();
    let error = replace(&file, "as it was read", "edited").unwrap_err();
    assert!(matches!(error, ReplaceError::Changed(_)), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "of the client");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    replace(&file, "of the client", "edited").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "edited");
    let kept = fs::read_to_string(folder.path().join("mcp.json.bak")).unwrap();
    assert_eq!(kept, "of the client");
}
