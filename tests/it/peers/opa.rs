//! The records in `tests/opa` are what OPA answers: asked again, in process, where `OPA_ORACLE=1` wants it (CI does).
//!
//! The policy crate compares its own answers with the records, always.

use std::path::Path;

use super::process::{PATIENCE, Running, command};

#[tokio::test]
async fn records_are_what_opa_answers() {
    if std::env::var_os("OPA_ORACLE").is_none_or(|wanted| wanted != "1") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let oracle = root.join("tests/peers/opa_oracle.py");
    let words = [oracle.as_os_str(), "check".as_ref()];
    let asked = command(root.join(".peers/py/bin/python"), &words);
    let printed = Running::start("opa_oracle", asked)
        .finished(PATIENCE)
        .await
        .good();
    assert!(printed.contains(" 0 records differ"), "{printed}");
}
