//! What an author is told: a folder of policies, each with something wrong, and the text for it.
//!
//! `UPDATE=1` writes the texts anew; read the difference.

#[cfg(test)]
mod problems {
    use std::fs;
    use std::path::{Path, PathBuf};

    use keepgate_policy::{Policy, Settings, lint};

    fn told(folder: &Path) -> String {
        let settings = Settings {
            workers: 1,
            ..Settings::default()
        };
        let folders = [folder.to_owned()];
        let place = format!("{}/", folder.display());
        let text = match Policy::load(&folders, &settings) {
            Err(errors) => errors
                .problems
                .iter()
                .map(|problem| format!("{problem:#}\n\n"))
                .collect(),
            Ok(_) => match lint::warnings(&folders) {
                Ok(warnings) => warnings
                    .iter()
                    .map(|warning| format!("warning: {warning:#}\n\n"))
                    .collect(),
                Err(errors) => panic!("loads, and yet {errors}"),
            },
        };
        let text: String = text;
        format!("{}\n", text.replace(&place, "").trim_end())
    }

    fn folders() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems");
        let mut found: Vec<PathBuf> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        found
    }

    #[test]
    fn every_problem_is_told_as_reviewed() {
        let update = std::env::var_os("UPDATE").is_some();
        let mut wrong = String::new();
        let folders = folders();
        assert!(folders.len() >= 30);
        for folder in folders {
            let told = told(&folder);
            let golden = folder.join("expected.txt");
            assert!(
                told.contains("hint: "),
                "{}: no hint\n{told}",
                folder.display()
            );
            if update {
                fs::write(&golden, &told).unwrap();
            } else if fs::read_to_string(&golden).unwrap_or_default() != told {
                wrong.push_str(&format!("{}\n{told}\n", golden.display()));
            }
        }
        assert!(
            wrong.is_empty(),
            "not as reviewed, accept with UPDATE=1:\n{wrong}"
        );
    }
}
