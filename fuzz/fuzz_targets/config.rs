//! A configuration of any text is taken or refused with a report: never a panic, never a report that writes to the
//! terminal, and never a refusal without a reason. What follows a line `%%` is the value of a variable.
#![no_main]

use std::ffi::OsString;
use std::path::Path;

use keepgate_cli::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (file, variable) = text.split_once("\n%%\n").unwrap_or((text, "{}"));
    let (name, value) = variable.split_once('=').unwrap_or(("SERVERS", variable));
    let variable = (
        OsString::from(format!("KEEPGATE_{name}")),
        OsString::from(value),
    );
    if let Err(error) = config::from_text(file, "keepgate.yaml", Path::new("/nowhere"), [variable])
    {
        let report = error.to_string();
        assert!(
            report.ends_with("in the configuration") || report.ends_with("not shown"),
            "{report}"
        );
        assert!(
            report
                .chars()
                .all(|letter| letter == '\n' || !letter.is_control()),
            "{report:?}"
        );
    }
});
