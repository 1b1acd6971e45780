//! `docs/policy-in-ten-minutes.md`, replayed: each command is run as it stands there, and prints what stands there.

#[cfg(test)]
mod ten_minutes {
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use keepgate_machine::{free_port, installed};

    /// One command of the document and what it printed.
    struct Step {
        command: String,
        output: String,
    }

    /// The blocks of the document: `$ ` begins a command, `> ` goes on with it, the rest is what it printed.
    fn steps(document: &str) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for block in document.split("```console\n").skip(1) {
            for line in block.split("\n```").next().unwrap().lines() {
                if let Some(command) = line.strip_prefix("$ ") {
                    steps.push(Step {
                        command: command.to_owned(),
                        output: String::new(),
                    });
                    continue;
                }
                let step = steps.last_mut().unwrap();
                match line.strip_prefix('>') {
                    Some(more) => {
                        let more = more.strip_prefix(' ').unwrap_or(more);
                        write!(step.command, "\n{more}").unwrap();
                    }
                    None => writeln!(step.output, "{line}").unwrap(),
                }
            }
        }
        steps
    }

    /// A text without what differs each time: ids, digests, times.
    fn same(text: &str) -> String {
        let varies = |word: &str| {
            let digits = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
            let id = word.len() >= 12 && word.chars().all(digits);
            id || word.starts_with("20") && word.ends_with('Z')
        };
        let apart =
            |letter: char| letter.is_whitespace() || matches!(letter, '"' | '(' | ')' | '=');
        let mut told = String::new();
        for line in text.lines() {
            let mut line = line.to_owned();
            for word in line.clone().split(apart).filter(|word| varies(word)) {
                line = line.replace(word, "#");
            }
            if let Some((before, _)) = line.split_once(" in ").filter(|_| line.ends_with(" ms")) {
                line = format!("{before} in # ms");
            }
            told.push_str(line.trim_end());
            told.push('\n');
        }
        told.trim_end().to_owned()
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the commands are those of a shell"
    )]
    fn the_document_says_what_happens() {
        if installed("curl").is_none() {
            return;
        }
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy-in-ten-minutes.md");
        let steps = steps(&std::fs::read_to_string(path).unwrap());
        assert!(steps.len() >= 15, "{}", steps.len());
        let (data, admin) = (free_port().to_string(), free_port().to_string());
        let mut script = String::new();
        for step in &steps {
            let command = step.command.replace("8080", &data).replace("9080", &admin);
            // What decisions saw is written by a thread of its own, a moment later.
            if command.starts_with("keepgate policy explain") {
                script.push_str(&format!(
                    "until {command} > /dev/null 2>&1; do sleep 0.2; done\n"
                ));
            }
            script.push_str(&format!("{command}\necho '@@@'\n"));
        }
        let folder = tempfile::tempdir().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_keepgate")).parent().unwrap();
        let places = std::env::var("PATH").unwrap();
        let mut shell = Command::new("timeout")
            .args(["300", "bash", "--norc"])
            .current_dir(folder.path())
            .env("PATH", format!("{}:{places}", binary.display()))
            .env_remove("KEEPGATE_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What a command says of itself on standard error stands among its output in the document.
        let script = format!("exec 2>&1\n{script}");
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let ran = shell.wait_with_output().unwrap();
        let printed = String::from_utf8(ran.stdout).unwrap();
        let outputs: Vec<&str> = printed.split("@@@\n").collect();
        assert_eq!(outputs.len(), steps.len() + 1, "{printed}");
        for (step, output) in steps.iter().zip(outputs) {
            assert_eq!(same(output), same(&step.output), "$ {}", step.command);
        }
    }
}
