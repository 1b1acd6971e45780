//! Data that may be absent, as annotations declare it: `schemas` of a `# METADATA` block that name paths into `data`.
//!
//! ```rego
//! # METADATA
//! # scope: package
//! # schemas:
//! #   - data.maintenance: {type: object}
//! package mcp.authz
//! ```

use regorus::Value;

/// The paths of a file's annotations, without `data`.
pub(crate) fn optional(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_end() != "# METADATA" {
            continue;
        }
        let block: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.starts_with('#'))
            .map(uncommented)
            .collect();
        let Ok(block) = Value::from_yaml_str(&block.join("\n")) else {
            continue; // OPA's to refuse; nothing is declared then
        };
        let Ok(schemas) = block["schemas"].as_array() else {
            continue;
        };
        let objects = schemas.iter().filter_map(|entry| entry.as_object().ok());
        for path in objects.flat_map(|object| object.keys()) {
            let Ok(path) = path.as_string() else { continue };
            let mut steps = path.split('.').map(str::to_owned);
            if steps.next().as_deref() == Some("data") {
                found.push(steps.collect());
            }
        }
    }
    found
}

/// The code a test is expected to fail with: `custom.expect` of the annotations right above `line`, counted from 1.
pub(crate) fn expected(text: &str, line: u32) -> Option<String> {
    let above = usize::try_from(line).ok()?.checked_sub(1)?;
    let lines: Vec<&str> = text.lines().take(above).collect();
    let comments = lines.iter().rev().take_while(|line| line.starts_with('#'));
    let block = lines.get(above - comments.count()..)?;
    let begin = block
        .iter()
        .position(|line| line.trim_end() == "# METADATA")?;
    let block: Vec<&str> = block
        .iter()
        .skip(begin + 1)
        .map(|line| uncommented(line))
        .collect();
    let block = Value::from_yaml_str(&block.join("\n")).ok()?;
    let expected = block["custom"]["expect"].as_string().ok()?;
    Some(expected.to_string())
}

fn uncommented(line: &str) -> &str {
    let line = line.strip_prefix('#').unwrap_or(line);
    line.strip_prefix(' ').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::{expected, optional};

    #[test]
    fn a_test_says_what_it_fails_with() {
        let text = "package p\n\n# Why.\n# METADATA\n# custom:\n#   expect: policy_error\ntest_a if true\ntest_b if true\n";
        assert_eq!(expected(text, 7).as_deref(), Some("policy_error"));
        assert_eq!((expected(text, 8), expected(text, 1)), (None, None));
    }

    #[test]
    fn schemas_of_annotations_declare_data() {
        let text = "# METADATA\n# scope: package\n# schemas:\n#   - data.a.b: {type: object}\n#   - input: schema.input\n#   - data.c: schema.c\npackage p\n# METADATA\n# title: x\nr := 1\n# schemas:\n#   - data.d: x\n";
        assert_eq!(optional(text), [vec!["a", "b"], vec!["c"]]);
        assert!(optional("# METADATA\n# schemas: [\npackage p\n").is_empty());
    }
}
