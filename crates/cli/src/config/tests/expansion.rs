//! `${NAME}` in the values of child processes.

use super::*;

/// The command and the variable `A` of a server with these keys.
fn child(keys: &str, variables: &[(&str, &str)]) -> Result<(Vec<String>, String), String> {
    let text = format!("version: 1\npolicies: [./policies]\nservers:\n  files: {{ {keys} }}\n");
    let configuration = read(&text, variables)?;
    let server = &configuration.gateway.servers[&ServerName::parse("files").unwrap()];
    let Upstream::Child {
        program,
        arguments,
        environment,
        ..
    } = &server.upstream
    else {
        panic!("{:?}", server.upstream)
    };
    let command = std::iter::once(program).chain(arguments).cloned().collect();
    Ok((command, environment.get("A").cloned().unwrap_or_default()))
}

#[test]
fn listed_variables_are_expanded_once_and_nothing_else_is() {
    let variables = [
        ("HOME", "/home/a b"),
        ("NESTED", "${HOME} $(id) $$"),
        ("EMPTY", ""),
    ];
    let list = "variables: [HOME, NESTED, EMPTY]";
    for (written, expanded) in [
        ("${HOME}/docs", "/home/a b/docs"),
        ("--root=${HOME}:${HOME}", "--root=/home/a b:/home/a b"),
        ("${NESTED}", "${HOME} $(id) $$"),
        ("${EMPTY}", ""),
        ("$${HOME}", "${HOME}"),
        ("$$${HOME}", "$/home/a b"),
        ("a$$b", "a$b"),
        ("$HOME", "$HOME"),
        ("^x$", "^x$"),
        ("$(id)", "$(id)"),
        ("`id`", "`id`"),
        ("}${HOME}{", "}/home/a b{"),
    ] {
        let keys = format!("command: [cat, '{written}'], env: {{ A: '{written}' }}, {list}");
        let (command, value) = child(&keys, &variables).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(
            (command[1].as_str(), value.as_str()),
            (expanded, expanded),
            "{written}"
        );
    }
    for written in [
        "${OTHER}",
        "${}",
        "${HOME",
        "${ HOME}",
        "${HOME:-x}",
        "${${HOME}}",
        "${home}",
    ] {
        for keys in [
            format!("command: [cat, '{written}'], {list}"),
            format!("command: [cat], env: {{ A: '{written}' }}, {list}"),
        ] {
            assert!(child(&keys, &variables).is_err(), "{keys}");
        }
    }
    // Not listed, though it is set.
    assert!(child("command: [cat, '${HOME}']", &variables).is_err());
}

#[test]
fn what_variables_set_stands_for_itself() {
    let variables = [
        ("HOME", "/h"),
        ("KEEPGATE_SERVERS__FILES__ENV__A", "p$$w ${HOME}"),
    ];
    let (_, value) = child("command: [cat], variables: [HOME]", &variables).unwrap();
    assert_eq!(value, "p$$w ${HOME}");
}

#[test]
fn expansion_is_bounded() {
    let long = "x".repeat(100_000);
    let many = "${LONG}".repeat(50);
    let keys = format!("command: [cat, '{many}'], variables: [LONG]");
    let report = child(&keys, &[("LONG", &long)]).unwrap_err();
    assert!(report.contains("after expansion"), "{report}");
}

#[test]
fn a_secret_in_the_environment_is_a_warning() {
    let text = "version: 1\npolicies: [./policies]\nservers:\n  files: { command: [cat], env: { A: '${API_KEY}' }, variables: [API_KEY] }\n";
    let configuration = read(text, &[("API_KEY", "hunter2")]).unwrap();
    let warnings: Vec<_> = configuration
        .warnings
        .iter()
        .filter(|it| it.contains("API_KEY"))
        .collect();
    assert_eq!(warnings.len(), 1);
    assert!(!format!("{warnings:?}").contains("hunter2"));
}
