//! Texts before and after.

use super::rewrite;

/// The rewritten body of a module with these lines.
fn rewritten(lines: &str) -> String {
    let text = format!("package p\n{lines}\n");
    let made = rewrite("p.rego", &text.as_str().into()).unwrap();
    assert_eq!(made.lines().count(), text.lines().count());
    made.strip_prefix("package p\n")
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn what_a_negation_needs_is_bound_before_it() {
    for (written, expected) in [
        (
            "r if not f(input.a)",
            "r if { keepgate_value_0 := input.a ; not f(keepgate_value_0) }",
        ),
        (
            "r if {\n\tnot \"x\" in input.a\n}",
            "r if {\n\tkeepgate_value_0 := input.a ; not \"x\" in keepgate_value_0\n}",
        ),
        (
            "r if not input.a[\"b\"] != \"x\"",
            "r if { keepgate_value_0 := input.a[\"b\"] ; not keepgate_value_0 != \"x\" }",
        ),
        (
            "r if not f(input.a) with input.a as \"x\"",
            "r if { keepgate_value_0 := input.a with input.a as \"x\"; not f(keepgate_value_0) with input.a as \"x\" }",
        ),
        (
            "r := {x | some x in y; not f(x.a, q)}",
            "r := {x | some x in y; keepgate_value_0 := x.a ; keepgate_value_1 := q ; not f(keepgate_value_0, keepgate_value_1)}",
        ),
        (
            "r if not f(g([x | x := 1; not h(input.b)]), input.c)",
            "r if { keepgate_value_0 := g([x | x := 1; keepgate_value_3 := input.b ; not h(keepgate_value_3)]) ; keepgate_value_1 := input.c ; not f(keepgate_value_0, keepgate_value_1) }",
        ),
        (
            "r if 1 == 2\nelse if not lower(input.a) == \"b\"",
            "r if 1 == 2\nelse if { keepgate_value_0 := input.a ; not lower(keepgate_value_0) == \"b\" }",
        ),
    ] {
        assert_eq!(rewritten(written), expected);
        // And what was made is taken.
        assert_eq!(rewritten(expected), expected);
    }
}

#[test]
fn what_needs_nothing_stays() {
    for written in [
        "r if not input.a",
        "r if not input.a == 1",
        "r if not q",
        "r if not f(1)",
        "f(x) if not startswith(x, \"a\")",
        "r if { is_string(input.a); not startswith(input.a, \"x\") }",
        "r if { not startswith(input.a, \"x\"); x := input.a.b; x == 1 }",
        "r := [x | some x in input.a; not x in {1}]",
        "r if {\n\tinput.a\n\tevery x in input.b {\n\t\tnot x == input.a\n\t\tnot startswith(x, input.a)\n\t}\n}",
    ] {
        assert_eq!(rewritten(written), written);
    }
}

#[test]
fn names_of_imports_become_paths() {
    let head = "import data.a.lib\nimport input.caller as who\nimport data[\"x-y\"] as odd\n";
    for (written, expected) in [
        ("r if lib.good", "r if data.a.lib.good"),
        ("r if lib.f(who.sub)", "r if data.a.lib.f(input.caller.sub)"),
        ("r := odd.z", "r := data[\"x-y\"].z"),
        (
            "r if not lib.f(who.sub)",
            "r if { keepgate_value_0 := input.caller.sub ; not data.a.lib.f(keepgate_value_0) }",
        ),
        (
            "r if lib.q with who as 1",
            "r if data.a.lib.q with input.caller as 1",
        ),
        (
            "r if { some lib in [1]; lib == 1 }",
            "r if { some lib in [1]; lib == 1 }",
        ),
        ("r := {who | who := 1}", "r := {who | who := 1}"),
        ("f(who) := who.sub", "f(who) := who.sub"),
    ] {
        assert_eq!(
            rewritten(&format!("{head}{written}")),
            format!("{head}{expected}")
        );
    }
}
