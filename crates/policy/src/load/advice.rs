//! What to do about what the parser and the evaluator say, which give no hints of their own.

use crate::problem::Problem;

/// What the parser says of a file without a package.
const PACKAGE: &str = "Missing package declaration";
/// Names that are always there, and what is written in their place.
const MEANT: [(&str, &str); 6] = [
    ("True", "true"),
    ("False", "false"),
    ("None", "null"),
    ("nil", "null"),
    ("inputs", "input"),
    ("Input", "input"),
];

/// Adds a hint to a problem that has none, and says it in an author's words; `line` is the line it is on.
pub(crate) fn advise(problem: Problem, line: &str) -> Problem {
    if problem.hint.is_some() {
        return problem;
    }
    let at = usize::try_from(problem.column.saturating_sub(1)).unwrap_or(0);
    let hint = hint(&problem.message, line, at);
    let message = match unbound_name(&problem.message) {
        Some(name) => format!("nothing gives `{name}` a value"),
        None if problem.message.contains(PACKAGE) => "no package is named".to_owned(),
        None => problem.message.clone(),
    };
    let problem = Problem { message, ..problem };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// The name a message says nothing gives a value.
fn unbound_name(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("use of undefined variable `")?;
    rest.split('`').next()
}

/// The hint for a message about the character `at` of a line, counted from 0.
fn hint(message: &str, line: &str, at: usize) -> Option<String> {
    let rest: String = line.chars().skip(at).collect();
    let last: String = line.chars().take(at).collect();
    if let Some(name) = unbound_name(message) {
        return Some(unbound(name, &rest));
    }
    if message.contains("`if` keyword is required") {
        return Some(old(line));
    }
    let text = if message.contains("assignment operator :=") {
        "`:=` gives a new name a value; compare with `==`"
    } else if message.contains(PACKAGE) {
        "a file of rules begins with `package mcp.authz`"
    } else if message == "data must be an object" {
        "give the list a name: `{\"names\": [..]}`"
    } else if message.starts_with("conflicts with another data file") {
        "two files give one name different values: keep one of them"
    } else if message.starts_with("data may not lie under") {
        "the folder names say where data lies; choose others"
    } else if message.contains("expecting `}`") {
        "a `{` above is still open"
    } else if message == "invalid character" && rest.starts_with('\'') {
        "texts stand in double quotes"
    } else if message == "invalid character" && rest.starts_with('$') {
        "for a text with values in it write `sprintf(\"..%s..\", [value])`"
    } else if message.contains("expecting expression")
        && last.ends_with('&') | rest.starts_with('&')
    {
        "conditions hold together: write one a line, or `;` between them"
    } else if message.contains("expecting expression") && last.ends_with('|') {
        "for `or` write the rule twice, or `x in {\"a\", \"b\"}`"
    } else if message.contains("expecting expression") && rest.starts_with('=') {
        "compare with `==`"
    } else {
        return None;
    };
    Some(text.to_owned())
}

/// A name that nothing gives a value; `rest` begins with it.
fn unbound(name: &str, rest: &str) -> String {
    if let Some((_, meant)) = MEANT.iter().find(|(written, _)| *written == name) {
        return format!("did you mean `{meant}`?");
    }
    let after = rest.strip_prefix(name).unwrap_or("").trim_start();
    if after.starts_with('.') || after.starts_with('[') {
        return format!("`{name}` is not imported: write `import data.{name}`, or name it in full");
    }
    if after.starts_with("in ") {
        return format!("to go through a list write `some {name} in ..`");
    }
    if after.starts_with('=') {
        return format!("to give it a value write `{name} := ..`");
    }
    "a rule of this package, an import, `:=` or `some .. in ..` must give it a value".to_owned()
}

/// A body without `if`: the language as it was before version 1, or a word forgotten.
fn old(line: &str) -> String {
    let head = line.split('{').next().unwrap_or(line).trim();
    if head.contains(" contains ") || head.contains(":=") {
        return "write `if` before the `{`".to_owned();
    }
    match head.split_once('[') {
        Some((name, key)) => format!(
            "this is Rego v0; write `{} contains {} if {{ .. }}`",
            name.trim(),
            key.trim_end().trim_end_matches(']')
        ),
        None => format!("this is Rego v0; write `{head} contains \"why\" if {{ .. }}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn names_without_a_value_are_explained_by_what_follows() {
        let said = |line: &str| hint("use of undefined variable `x` is unsafe", line, 0).unwrap();
        for (line, part) in [
            ("x.y == 1", "import data.x"),
            ("x in y", "some x in"),
            ("x == 1", "x := .."),
            ("f(x)", "must give it a value"),
        ] {
            assert!(said(line).contains(part), "{line}: {}", said(line));
        }
    }
}
