//! Processes of others: started in a group of their own, heard through files, ended whatever happens to the test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long a process may take to say or do what is expected of it. Only a hung one takes that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How often what a process wrote is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A command whose words are given one by one.
pub(super) fn command<W: AsRef<OsStr>>(program: impl AsRef<OsStr>, words: &[W]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

/// A running process. Dropped, it is killed with its group; if the test is failing, what it wrote is printed.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    pid: Pid,
    folder: tempfile::TempDir,
    ended: bool,
}

/// What a process that has ended left behind.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Finished {
    /// The standard output of a process that must have ended well.
    pub(super) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard output as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}

impl Running {
    /// Starts `command`; `name` is what it is called when it fails.
    pub(super) fn start(name: &str, mut command: Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| std::fs::File::create(folder.path().join(name)).expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        let pid = i32::try_from(child.id().expect("a pid")).expect("a pid");
        Self {
            name: name.to_owned(),
            child,
            pid: Pid::from_raw(pid),
            folder,
            ended: false,
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// What it wrote to standard output so far.
    pub(super) fn stdout(&self) -> String {
        self.file("stdout")
    }

    /// What it wrote to standard error so far.
    pub(super) fn stderr(&self) -> String {
        self.file("stderr")
    }

    fn file(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `look` finds something in what it wrote, standard output first.
    pub(super) async fn says<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        match self.says_or_ends(what, look).await {
            Ok(found) => found,
            Err(status) => panic!("{} ended ({status}) without {what}", self.name),
        }
    }

    /// Waits until `look` finds something in what it wrote, or the process has ended without.
    pub(super) async fn says_or_ends<T>(
        &mut self,
        what: &str,
        look: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ExitStatus> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let gone = self.child.try_wait().expect("a status");
            if let Some(found) = look(&self.stdout()).or_else(|| look(&self.stderr())) {
                return Ok(found);
            }
            if let Some(status) = gone {
                self.ended = true;
                return Err(status);
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{}: waited in vain for {what}",
                self.name
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends the process, not its group, a signal.
    pub(super) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self, patience: Duration) -> ExitStatus {
        let ended = tokio::time::timeout(patience, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{} does not end", self.name));
        self.ended = true;
        status.expect("a status")
    }

    /// Waits for its end and gives all it wrote.
    pub(super) async fn finished(mut self, patience: Duration) -> Finished {
        let status = self.ended(patience).await;
        Finished {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // Nothing is lost when the group is gone already.
            killpg(self.pid, Signal::SIGKILL).ok();
        }
        if std::thread::panicking() {
            let (stdout, stderr) = (self.stdout(), self.stderr());
            eprintln!("=== {}\n{}{}", self.name, tail(&stdout), tail(&stderr));
        }
    }
}

/// Waits until `holds`.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < end,
            "waited in vain for {what}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(200);
    lines[from..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The repository.
pub(super) fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("a repository").to_owned()
}

/// A file of `tests/peers`. Fails where the peers it is for are not installed.
pub(super) fn peer(name: &str) -> PathBuf {
    let stamp = repository().join(".peers/stamp");
    assert!(
        stamp.exists(),
        "the peers are not installed: run `make peers` first (`make test` does)"
    );
    repository().join("tests/peers").join(name)
}

/// A program of this workspace, beside the tests.
pub(super) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.parent().and_then(Path::parent).expect("a folder");
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is not built: run `cargo build -p keepgate-cli -p keepgate-demo` first (`make test` does)",
        program.display()
    );
    program
}

/// Runs a script of `tests/peers`, or one in an installed interpreter, to its end.
pub(super) async fn run(name: &str, words: &[&str], environment: &[(&str, &str)]) -> Finished {
    let running = begin(name, words, environment);
    running.finished(PATIENCE * 5).await
}

/// As [`run`], without waiting for anything.
pub(super) fn begin(name: &str, words: &[&str], environment: &[(&str, &str)]) -> Running {
    let installed = |path: &str| repository().join(".peers").join(path);
    let script = peer(name);
    let mut command = match script.extension().and_then(OsStr::to_str) {
        Some("mjs") => command(installed("bin/node"), &[&script]),
        Some("py") if name != "conformance-compare.py" => {
            command(installed("py/bin/python"), &[&script])
        }
        _ => Command::new(&script),
    };
    command.args(words).envs(environment.iter().copied());
    Running::start(name, command)
}

/// A server of `tests/peers/server.sh` that listens: the process and its URL.
pub(super) async fn serve(name: &str, environment: &[(&str, &str)]) -> (Running, String) {
    let mut command = command(peer("server.sh"), &[name]);
    command.env("PORT", "0").envs(environment.iter().copied());
    let mut server = Running::start(name, command);
    let listening = |said: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("listening "));
        line.map(|url| url.trim().to_owned())
    };
    let url = server.says("where it listens", listening).await;
    (server, url)
}
