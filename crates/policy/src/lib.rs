//! Rego policies: loading, judging, testing. The only crate that knows regorus.
