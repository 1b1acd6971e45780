//! Names that imports give, over all files of a package.
//!
//! The evaluator keeps them by package and not by file: where two files give one name to two things, both mean what one of
//! them says, and a denial can fall silent. So one name means one thing in a package, or nothing is loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regorus::unstable::Module;

use super::survey::{self, Site};
use crate::problem::Problem;

/// A name an import gives, and where.
struct Import {
    file: PathBuf,
    line: u32,
    column: u32,
    path: Vec<String>,
}

/// What is wrong with the imports of these modules, whose rules are `sites`.
pub(crate) fn problems<'a>(
    modules: impl Iterator<Item = &'a Module>,
    sites: &[Site],
) -> Vec<Problem> {
    let mut names: BTreeMap<(Vec<String>, String), Vec<Import>> = BTreeMap::new();
    for module in modules {
        let package = survey::package(module);
        for import in &module.imports {
            let Some((alias, path)) = survey::alias(import) else {
                continue;
            };
            names
                .entry((package.clone(), alias))
                .or_default()
                .push(Import {
                    file: PathBuf::from(import.span.source.get_path()),
                    line: import.span.line,
                    column: import.span.col,
                    path,
                });
        }
    }
    let mut problems = Vec::new();
    for ((package, alias), imports) in &names {
        let declared = |file: &Path| {
            sites.iter().any(|site| {
                site.package == *package
                    && site.file != file
                    && site.name.first().is_some_and(|name| name == alias)
            })
        };
        let first = imports.first();
        for import in imports {
            let differs = first.is_some_and(|first| first.path != import.path);
            let said = match (differs, first) {
                (true, Some(first)) => format!(
                    "`{alias}` is `{}` here and `{}` in `{}`",
                    import.path.join("."),
                    first.path.join("."),
                    first.file.display()
                ),
                (_, _) if declared(&import.file) => {
                    format!("`{alias}` is an import here and a rule in another file of the package")
                }
                (_, _) => continue,
            };
            problems.push(
                Problem::at(&import.file, import.line, import.column, said).hint(
                    "the evaluator keeps imports by package: give one of the two another name with `as`",
                ),
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;
    use crate::policy::tests::{folder, settings};

    fn said(one: &str, other: &str) -> String {
        let head = "package mcp.authz\n";
        let folder = folder(&[
            ("a.rego", &format!("{head}{one}\n")),
            ("b.rego", &format!("{head}{other}\n")),
            (
                "data.json",
                r#"{"a": {"users": ["x"]}, "b": {"users": ["y"]}}"#,
            ),
        ]);
        match Policy::load(&[folder.path().to_owned()], &settings()) {
            Ok(_) => "loads".to_owned(),
            Err(errors) => errors.to_string(),
        }
    }

    #[test]
    fn one_name_is_one_thing_in_a_package() {
        let of = |from: &str| {
            format!(
                "import data.{from}.users\ndeny contains \"{from}\" if input.caller.sub in users"
            )
        };
        assert!(
            said(&of("a"), &of("b")).contains("`users` is `data.b.users` here and `data.a.users`")
        );
        assert_eq!(said(&of("a"), &of("a")), "loads");
        let other =
            "import data.b.users as others\ndeny contains \"b\" if input.caller.sub in others";
        assert_eq!(said(&of("a"), other), "loads");
        let rule =
            "users contains \"x\" if input.tool\ndeny contains \"b\" if input.caller.sub in users";
        assert!(said(&of("a"), rule).contains("a rule in another file"));
        // Without a name of its own an import takes the last of its path.
        let named = "import input.caller as users\ndeny contains \"b\" if users.sub == \"x\"";
        assert!(said(named, &of("b")).contains("`users` is"));
    }
}
