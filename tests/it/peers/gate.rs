//! The program `keepgate` as an operator runs it: a folder with a configuration, policies and state, and a process.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use keepgate_tests::Client;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::process::{Finished, PATIENCE, Running, command, peer, program};

/// Allows everything there is.
const ALLOW_ALL: &str = "package mcp.authz\n\nallow contains \"all\"\n";

/// What a gateway is started from, and what it leaves behind.
#[derive(Debug)]
pub(super) struct Home {
    folder: tempfile::TempDir,
    configuration: Value,
    environment: Vec<(String, String)>,
    descriptors: Option<usize>,
    /// Whether a process reads the log through a pipe.
    piped: bool,
    /// User that runs the gateway; the test's own if `None`.
    user: Option<u32>,
}

impl Home {
    /// A gateway without servers, for anonymous callers, that allows everything.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("policies")).expect("a folder");
        let home = Self {
            configuration: json!({
                "version": 1,
                "listen": "127.0.0.1:0",
                "admin": {"listen": "127.0.0.1:0"},
                "auth": {"mode": "anonymous"},
                "state": {"dir": folder.path().join("state")},
                "policies": [folder.path().join("policies")],
                "log": {"format": "json"},
                "servers": {},
            }),
            folder,
            environment: Vec::new(),
            descriptors: None,
            piped: false,
            user: None,
        };
        home.policy(ALLOW_ALL);
        home
    }

    /// With a server over HTTP.
    pub(super) fn url(self, name: &str, url: &str) -> Self {
        self.with(|it| it["servers"][name] = json!({"url": url}))
    }

    /// With a server over HTTP+SSE.
    pub(super) fn sse(self, name: &str, url: &str) -> Self {
        self.with(|it| it["servers"][name] = json!({"sse": url}))
    }

    /// With a server that is a child process, from `tests/peers/server.sh`.
    pub(super) fn child(self, name: &str, words: &[&str]) -> Self {
        let script = peer("server.sh").display().to_string();
        let command: Vec<_> = std::iter::once(script.as_str())
            .chain(words.iter().copied())
            .collect();
        self.with(|it| it["servers"][name] = json!({"command": command}))
    }

    /// With callers that need a key.
    pub(super) fn keys(self) -> Self {
        self.with(|it| it["auth"] = json!({"mode": "keys"}))
    }

    /// With so many file descriptors at most, and 64 of them unless the gateway asks for more.
    pub(super) fn descriptors(mut self, most: usize) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// With a log that goes through a pipe, whose reader [`Gate::log_reader`] can stop.
    pub(super) fn piped(mut self) -> Self {
        self.piped = true;
        self
    }

    /// With a variable in the environment of the gateway.
    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Run by this user, who owns the folder. Only root can.
    pub(super) fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// The binary as its user finds it: the tree of this repository may be closed to others.
    fn binary(&self, user: u32) -> PathBuf {
        let copy = self.path("keepgate");
        if !copy.exists() {
            std::fs::copy(program("keepgate"), &copy).expect("a copy");
        }
        let mut open = vec![self.folder.path().to_owned()];
        while let Some(path) = open.pop() {
            std::os::unix::fs::lchown(&path, Some(user), Some(user)).expect("a new owner");
            if path.is_dir() && !path.is_symlink() {
                let entries = std::fs::read_dir(&path).expect("a folder");
                open.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
        }
        copy
    }

    /// With any other change of the configuration.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.configuration);
        self.write();
        self
    }

    /// The configuration as it is now.
    pub(super) fn configuration(&self) -> Value {
        self.configuration.clone()
    }

    /// A file of the home.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self) {
        let mut configuration = self.configuration.clone();
        // Nobody balances loads here.
        if configuration["limits"]["drain_delay"].is_null() {
            configuration["limits"]["drain_delay"] = json!("1ms");
        }
        self.replace("keepgate.yaml", &yaml(&configuration));
    }

    /// Writes a file at once, as a careful operator does: nobody reads half of it.
    pub(super) fn replace(&self, name: &str, text: &str) {
        let new = self.path(".new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, self.path(name)).expect("a file");
    }

    /// Replaces the policy.
    pub(super) fn policy(&self, rego: &str) {
        self.replace("policies/policy.rego", rego);
    }

    /// Runs a command of `keepgate` with this configuration, printing JSON.
    pub(super) async fn keepgate(&self, words: &[&str]) -> Finished {
        self.keepgate_with(words, &[]).await
    }

    /// Runs a command with variables of the environment besides.
    pub(super) async fn keepgate_with(
        &self,
        words: &[&str],
        environment: &[(&str, &str)],
    ) -> Finished {
        let mut command = command(program("keepgate"), words);
        command.envs(environment.iter().copied());
        command
            .args(["--output", "json", "--config"])
            .arg(self.path("keepgate.yaml"));
        let name = format!("keepgate {}", words.join(" "));
        Running::start(&name, command).finished(PATIENCE).await
    }

    /// Makes a key: its id and the key itself.
    pub(super) async fn key(&self, subject: &str) -> (String, String) {
        let made = self
            .keepgate(&["keys", "create", "--subject", subject])
            .await
            .json();
        let word = |name: &str| made[name].as_str().expect("a key").to_owned();
        (word("id"), word("key"))
    }

    /// Verifies the log with `keepgate audit verify`, which must accept it, and gives its report.
    pub(super) async fn verified(&self) -> Value {
        let done = self.keepgate(&["audit", "verify"]).await;
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        self.is_closed();
        done.json()
    }

    /// Checks that nothing was made in the log's directory that the next start would refuse.
    fn is_closed(&self) {
        let entries = std::fs::read_dir(self.path("state/audit"));
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let mode = metadata.permissions().mode();
            let is_public = path.to_string_lossy().contains("log.pub");
            assert!(
                is_public || metadata.is_dir() || mode & 0o007 == 0,
                "{mode:o} {}",
                path.display()
            );
        }
    }

    /// Every record of the log.
    pub(super) async fn records(&self) -> Vec<Value> {
        let printed = self
            .keepgate(&["audit", "tail", "--lines", "1000000000"])
            .await
            .good();
        let records = printed.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().expect("records are JSON")
    }

    /// Starts the gateway and waits until it is ready.
    pub(super) async fn serve(self) -> Gate {
        self.serve_with(&[]).await
    }

    /// Lines of a shell that come before the gateway.
    fn prelude(&self) -> Option<String> {
        if let Some(most) = self.descriptors {
            return Some(format!("ulimit -Sn 64 && ulimit -Hn {most} && "));
        }
        let folder = self.folder.path().display();
        // The subshell ends at once, so that the reader is no child of the gateway.
        self.piped.then(|| {
            format!(
                "mkfifo {folder}/log && (cat {folder}/log >&2 & echo $! > {folder}/reader) && exec 2> {folder}/log && "
            )
        })
    }

    /// Starts the gateway with variables of the environment besides, and waits for nothing.
    pub(super) fn start(&self, environment: &[(&str, &str)]) -> Running {
        self.write();
        let binary = self
            .user
            .map_or_else(|| program("keepgate"), |user| self.binary(user));
        let mut command = match self.prelude() {
            None => command(binary, &["serve", "--config"]),
            Some(prelude) => {
                let script = format!("{prelude}exec \"$0\" serve --config \"$@\"");
                let mut command = command("sh", &["-c", &script]);
                command.arg(binary);
                command
            }
        };
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.envs(self.environment.iter().cloned());
        command.arg(self.path("keepgate.yaml"));
        command.envs(environment.iter().copied());
        Running::start("keepgate serve", command)
    }

    /// Starts the gateway with variables of the environment besides.
    pub(super) async fn serve_with(self, environment: &[(&str, &str)]) -> Gate {
        let process = self.start(environment);
        self.ready(process).await
    }

    /// Starts the gateway with another configuration, a file of the home, and variables of the environment besides.
    pub(super) async fn serve_file(self, name: &str, environment: &[(&str, &str)]) -> Gate {
        let mut command = command(program("keepgate"), &["serve", "--config"]);
        command.arg(self.path(name));
        command.envs(environment.iter().copied());
        let process = Running::start("keepgate serve", command);
        self.ready(process).await
    }

    async fn ready(self, mut process: Running) -> Gate {
        process
            .says("`ready`", |said| line(said, "ready").map(drop))
            .await;
        let said = process.stderr();
        let address = |what: &str| -> SocketAddr {
            let line = line(&said, what).expect("an address");
            line["address"]
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address")
        };
        Gate {
            addr: address("listening for clients"),
            admin: address("listening for operators"),
            process,
            home: self,
        }
    }
}

/// JSON is YAML, but for words like `anonymous` and `10m`, which the configuration wants without quotes.
fn yaml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{name}: {}", yaml(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(yaml).collect::<Vec<_>>().join(", ")
            )
        }
        Value::String(word) if word.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            word.clone()
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// The first line of the log whose message begins like this.
fn line(log: &str, message: &str) -> Option<Value> {
    lines(log, message).into_iter().next()
}

/// The lines of the log whose message begins like this.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|said| said.starts_with(message))
    };
    lines.filter(said).collect()
}

/// A running gateway.
#[derive(Debug)]
pub(super) struct Gate {
    /// Where clients call.
    pub(super) addr: SocketAddr,
    /// Where operators call.
    pub(super) admin: SocketAddr,
    pub(super) process: Running,
    pub(super) home: Home,
}

impl Gate {
    /// The URL of a server's endpoint.
    pub(super) fn url(&self, server: &str) -> String {
        format!("http://{}/{server}/mcp", self.addr)
    }

    /// A client that sends what it is told, to a server's endpoint.
    pub(super) fn client(&self, server: &str) -> Client {
        Client::new(self.addr).path(&format!("/{server}/mcp"))
    }

    /// How often the log has said this so far.
    pub(super) fn said(&self, message: &str) -> usize {
        lines(&self.process.stderr(), message).len()
    }

    /// Waits until the log has said this so often.
    pub(super) async fn says(&mut self, message: &str, times: usize) {
        let often = |said: &str| (lines(said, message).len() >= times).then_some(());
        self.process
            .says(&format!("`{message}` for the {times}. time"), often)
            .await;
    }

    /// Signals the process that reads the log, with [`Home::piped`].
    pub(super) fn log_reader(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.home.path("reader")).expect("a pid");
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("a reader");
    }

    /// What the operators' listener answers.
    pub(super) async fn admin(&self, path: &str) -> u16 {
        Client::new(self.admin)
            .path(path)
            .send("GET", "")
            .await
            .status
    }

    /// The state of a part in `/readyz`.
    pub(super) async fn part(&self, name: &str) -> String {
        let client = Client::new(self.admin).path("/readyz");
        let answer = client.send("GET", "").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let state = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        state.map_or_else(|| format!("no part in: {text}"), str::to_owned)
    }

    /// All meters.
    pub(super) async fn metrics(&self) -> String {
        let token = self.home.path("state/admin-token");
        let token = std::fs::read_to_string(token).expect("a token");
        let client = Client::new(self.admin).path("/metrics");
        let client = client.header("authorization", &format!("Bearer {}", token.trim()));
        let answer = client.send("GET", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        String::from_utf8(answer.body.to_vec()).expect("UTF-8")
    }

    /// Ends the gateway as systemd does. It must end in order, and its log must verify with every call in it finished.
    pub(super) async fn end(mut self) -> Vec<Value> {
        self.process.signal(Signal::SIGTERM);
        let status = self.process.ended(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
        let report = self.home.verified().await;
        assert_eq!(report["unfinished"], 0, "{report}");
        assert_eq!(report["unsigned"], 0, "{report}");
        self.home.records().await
    }

    /// Ends the gateway as systemd does, and keeps what it left.
    pub(super) async fn end_keeping(mut self) -> Self {
        self.process.signal(Signal::SIGTERM);
        let status = self.process.ended(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
        self
    }

    /// Kills the gateway; what is left is its home.
    pub(super) async fn kill(mut self) -> Home {
        self.process.signal(Signal::SIGKILL);
        self.process.ended(Duration::from_secs(30)).await;
        self.home
    }
}

/// The records of one kind.
pub(super) fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records
        .iter()
        .filter(|record| record["kind"] == kind)
        .collect()
}
