//! Programs and paths of child processes that are not on this machine: warnings of `check`, since the configuration may be for
//! another one.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keepgate_gateway::settings::{Launch, Upstream};
use keepgate_sandbox::Files;

use crate::config::Configuration;

/// Directories that are searched where there is no `PATH`, as `execvp` does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Returns a sentence for each program and path that is absent.
pub(super) fn absent(
    configuration: &Configuration,
    variables: &[(OsString, OsString)],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, server) in &configuration.gateway.servers {
        let Upstream::Child {
            program,
            arguments,
            environment,
            directory,
            launch,
            ..
        } = &server.upstream
        else {
            continue;
        };
        let given = environment.get("PATH").map(OsString::from);
        let path = given.or_else(|| inherited(launch.as_ref(), variables));
        let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
        if let Some(problem) = program_problem(program, &path, directory.as_deref()) {
            warnings.push(format!("servers.{name}.command: {problem}: `{program}`"));
        }
        let absent = arguments.iter().filter(|argument| is_absent_path(argument));
        warnings.extend(absent.map(|argument| {
            format!("servers.{name}.command: no such file or directory: `{argument}`")
        }));
        if let Some(launch) = launch {
            let absent = listed(&launch.rules.files).filter(|path| !path.exists());
            warnings.extend(absent.map(|path| {
                let path = path.display();
                format!("servers.{name}.sandbox: no such file or directory: `{path}`")
            }));
        }
    }
    warnings
}

/// The `PATH` a child inherits.
fn inherited(launch: Option<&Launch>, variables: &[(OsString, OsString)]) -> Option<OsString> {
    let of_user = launch.and_then(|launch| {
        let mut variables = launch.variables.iter();
        variables.find(|(name, _)| name == "PATH")
    });
    let ours = || variables.iter().find(|(name, _)| name == "PATH");
    of_user
        .map(|(_, value)| value)
        .or_else(|| ours().map(|(_, value)| value))
        .cloned()
}

/// Tells why the program cannot be started, looked up as its launcher does.
fn program_problem(program: &str, path: &OsStr, directory: Option<&Path>) -> Option<&'static str> {
    let from = |place: &Path| directory.map_or_else(|| place.to_owned(), |it| it.join(place));
    if program.contains('/') {
        let file = from(Path::new(program));
        return match (file.is_file(), is_executable(&file)) {
            (_, true) => None,
            (true, false) => Some("not an executable file"),
            (false, false) => Some("no such program"),
        };
    }
    let found = std::env::split_paths(path).any(|place| is_executable(&from(&place).join(program)));
    (!found).then_some("no such program in the PATH of the process")
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether an argument looks like a path of this machine that is absent: its first directory is there, it is not.
fn is_absent_path(argument: &str) -> bool {
    let path = Path::new(argument);
    let plain = !argument.contains(|letter: char| letter.is_whitespace() || "*?:".contains(letter));
    let top: PathBuf = path.components().take(2).collect();
    path.is_absolute() && plain && top.is_dir() && !path.exists()
}

/// The paths of a list.
fn listed(files: &Files) -> impl Iterator<Item = &PathBuf> {
    let (read, write) = match files {
        Files::Listed { read, write } => (read.as_slice(), write.as_slice()),
        Files::Unlisted => (&[][..], &[][..]),
    };
    read.iter().chain(write)
}
