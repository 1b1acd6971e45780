//! The real binary as a process: starts, reloads, refuses to start, ends.

#[cfg(test)]
mod serve {
    use std::fs;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Longest that anything here may take on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// The binary with these arguments and nothing else of ours in its environment.
    fn keepgate(directory: &Path, arguments: &[&str]) -> Command {
        #[expect(
            clippy::disallowed_methods,
            reason = "the binary under test has to be a process of its own"
        )]
        let mut command = Command::new(env!("CARGO_BIN_EXE_keepgate"));
        command
            .args(arguments)
            .current_dir(directory)
            .env_remove("KEEPGATE_CONFIG");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A directory with policies that allow nothing, and a configuration on free ports.
    fn directory(more: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("policies")).unwrap();
        fs::write(
            directory.path().join("policies/none.rego"),
            "package mcp.authz\n",
        )
        .unwrap();
        configure(directory.path(), "files", more);
        directory
    }

    fn configure(directory: &Path, server: &str, more: &str) {
        let text = format!(
            "version: 1\nlisten: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\npolicies: [policies]\n\
             log: {{ format: json }}\nservers:\n  {server}: {{ command: [cat] }}\n{more}"
        );
        fs::write(directory.join("keepgate.yaml"), text).unwrap();
    }

    /// A running gateway; killed when dropped.
    struct Running {
        child: Child,
        lines: Receiver<serde_json::Value>,
        data: SocketAddr,
        admin: SocketAddr,
        state: PathBuf,
    }

    impl Drop for Running {
        fn drop(&mut self) {
            // It has usually ended by itself.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }

    impl Running {
        fn start(directory: &Path) -> Self {
            let mut child = keepgate(directory, &["serve"]).spawn().unwrap();
            let stderr = BufReader::new(child.stderr.take().unwrap());
            let (sender, lines) = channel();
            std::thread::spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let parsed = serde_json::from_str(&line);
                    drop(
                        sender.send(parsed.unwrap_or_else(|_| serde_json::json!({ "raw": line }))),
                    );
                }
            });
            let none = SocketAddr::from(([0, 0, 0, 0], 0));
            let state = directory.join("keepgate-state");
            let mut running = Self {
                child,
                lines,
                data: none,
                admin: none,
                state,
            };
            let address =
                |line: serde_json::Value| line["address"].as_str().unwrap().parse().unwrap();
            running.data = address(running.wait_for("listening for clients"));
            running.admin = address(running.wait_for("listening for operators"));
            running.wait_for("ready");
            running
        }

        /// The next log line whose message begins so.
        fn wait_for(&self, message: &str) -> serde_json::Value {
            let mut seen = Vec::new();
            let deadline = Instant::now() + PATIENCE;
            while let Ok(line) = self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                if line["message"]
                    .as_str()
                    .is_some_and(|text| text.starts_with(message))
                {
                    return line;
                }
                seen.push(line);
            }
            panic!("no line `{message}` among {seen:#?}");
        }

        fn signal(&self, signal: Signal) {
            kill(
                Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
                signal,
            )
            .unwrap();
        }

        fn ended(&mut self) -> ExitStatus {
            let deadline = Instant::now() + PATIENCE;
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                assert!(Instant::now() < deadline, "it does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
        }

        /// Status and body of an operator's page.
        fn admin(&self, path: &str) -> (u16, String) {
            let token = fs::read_to_string(self.state.join("admin-token")).unwrap();
            http(self.admin, &format!("GET {path}"), token.trim(), "")
        }

        /// Status of a call with this key.
        fn call(&self, key: &str) -> u16 {
            let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
            // The server behind is `cat`, which answers nothing of use: only whether the caller is let in counts here.
            http(self.data, "POST /nosuch/mcp", key, body).0
        }
    }

    /// One request over HTTP/1.1.
    fn http(address: SocketAddr, line: &str, token: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let authorization = if token.is_empty() {
            String::new()
        } else {
            format!("Authorization: Bearer {token}\r\n")
        };
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}Content-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Runs a command to its end.
    fn run(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = keepgate(directory, arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Waits until the condition holds.
    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn a_gateway_starts_serves_operators_and_ends_in_order() {
        let directory = directory("");
        let mut running = Running::start(directory.path());
        let (status, ready) = running.admin("/readyz");
        assert_eq!((status, ready.lines().next()), (200, Some("ready: yes")));
        let (status, metrics) = running.admin("/metrics");
        assert_eq!(status, 200);
        assert!(
            metrics.contains("keepgate_ready 1\n") && metrics.ends_with('\n'),
            "{metrics}"
        );
        assert_eq!(http(running.admin, "GET /metrics", "", "").0, 401);
        assert!(
            running
                .admin("/api/v1/servers")
                .1
                .contains("\"name\":\"files\"")
        );

        running.signal(Signal::SIGTERM);
        running.wait_for("ended");
        assert!(running.ended().success());
        let (code, verified, _) = run(directory.path(), &["audit", "verify", "--output", "json"]);
        let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
        assert_eq!((code, &verified["verdict"]), (Some(0), &"sound".into()));
        assert_eq!(verified["kinds"]["policy.activated"], 1);
        assert_eq!(verified["kinds"]["log.closed"], 1);
    }

    #[test]
    fn keys_count_as_soon_as_they_are_made_and_no_longer_than_they_are_revoked() {
        let directory = directory("");
        let running = Running::start(directory.path());
        assert_eq!(running.call(""), 401);
        let (_, created, _) = run(
            directory.path(),
            &["keys", "create", "--subject", "bot", "--output", "json"],
        );
        let created: serde_json::Value = serde_json::from_str(&created).unwrap();
        let key = created["key"].as_str().unwrap();
        eventually("the key counts", || running.call(key) != 401);
        assert_eq!(running.call(&format!("{}x", &key[..key.len() - 1])), 401);
        assert_eq!(
            run(
                directory.path(),
                &["keys", "revoke", created["id"].as_str().unwrap()]
            )
            .0,
            Some(0)
        );
        eventually("the key is dead", || running.call(key) == 401);
    }

    #[test]
    fn what_cannot_be_loaded_changes_nothing() {
        let directory = directory("");
        let running = Running::start(directory.path());
        let servers = || running.admin("/api/v1/servers").1;
        // The line in the log comes a moment before the rest is done.
        let shows = |line| eventually(line, || running.admin("/readyz").1.contains(line));
        configure(directory.path(), "renamed", "bogus: 1\n");
        let line = running.wait_for("configuration not taken");
        assert!(
            line["message"]
                .as_str()
                .unwrap()
                .contains("bogus: unknown key"),
            "{line}"
        );
        assert!(servers().contains("\"files\""));
        shows("configuration: stale");
        configure(directory.path(), "renamed", "");
        running.wait_for("configuration reloaded");
        eventually("the new servers", || servers().contains("\"renamed\""));
        shows("configuration: ok");

        fs::write(
            directory.path().join("policies/none.rego"),
            "package mcp.authz\nallow if if\n",
        )
        .unwrap();
        running.wait_for("policies not taken");
        shows("policy: stale");
        fs::write(
            directory.path().join("policies/none.rego"),
            "package mcp.authz\n# changed\n",
        )
        .unwrap();
        running.wait_for("policies reloaded");
        running.signal(Signal::SIGHUP);
        running.wait_for("reload asked for by SIGHUP");
        running.wait_for("configuration reloaded");

        configure(
            directory.path(),
            "renamed",
            "audit: { durability: synced }\n",
        );
        assert_eq!(
            running.wait_for(
                "restart required: these keys have changed and are not active until the next start"
            )["keys"],
            "audit.durability"
        );
        let tail = || run(directory.path(), &["audit", "tail"]).1;
        eventually("both policies on record", || {
            tail().contains("policy.rejected") && tail().matches("policy.activated").count() == 2
        });
    }

    #[test]
    fn a_gateway_that_cannot_start_says_why() {
        let first = directory("");
        let _running = Running::start(first.path());
        let (code, _, stderr) = run(first.path(), &["serve"]);
        assert_eq!(code, Some(10), "{stderr}");
        assert!(
            stderr.contains("another process writes this log") && stderr.contains("hint: "),
            "{stderr}"
        );

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let second = directory("");
        let file = second.path().join("keepgate.yaml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(
            &file,
            text.replacen("listen: 127.0.0.1:0", &format!("listen: {address}"), 1),
        )
        .unwrap();
        let (code, _, stderr) = run(second.path(), &["serve"]);
        assert_eq!(code, Some(6), "{stderr}");
        assert!(
            stderr.contains(&address.to_string()) && stderr.contains("in use"),
            "{stderr}"
        );
    }

    #[test]
    fn anonymous_is_said_aloud_and_wants_no_key() {
        let directory = directory("auth: { mode: anonymous }\n");
        let mut child = keepgate(directory.path(), &["serve"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .take(5)
            .any(|line| line.contains("auth.mode is anonymous"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
