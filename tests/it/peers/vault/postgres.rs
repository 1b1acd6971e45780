//! A PostgreSQL of our own whose accounts OpenBao issues.

use std::path::PathBuf;

use keepgate_tests::{free_port, installed};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::process::Command;

use super::super::process::{PATIENCE, Running, command, until};
use super::OpenBao;

const PASSWORD: &str = "the-owner-of-the-database";
/// Statement for a new account. For its end OpenBao has statements of its own.
const CREATE: &str =
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";

/// A running PostgreSQL on the loopback interface.
pub(in super::super) struct Postgres {
    process: Running,
    psql: PathBuf,
    pub(super) port: u16,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts one; `None`, with the skip recorded, where it is not installed.
    pub(in super::super) async fn start() -> Option<Self> {
        let (initdb, server) = (installed("initdb")?, installed("postgres")?);
        let psql = installed("psql")?;
        let setpriv = installed("setpriv")?;
        // PostgreSQL refuses to run as root; its package brings a user.
        let user = nix::unistd::User::from_name("postgres").ok().flatten();
        let user = user.filter(|_| nix::unistd::geteuid().is_root());
        let folder = tempfile::tempdir().expect("a folder");
        let (data, secret) = (folder.path().join("data"), folder.path().join("password"));
        std::fs::write(&secret, PASSWORD).expect("a file");
        if let Some(user) = &user {
            for path in [folder.path(), &secret] {
                nix::unistd::chown(path, Some(user.uid), Some(user.gid)).expect("its owner");
            }
        }
        let as_user = |program: PathBuf| -> Command {
            let mut command = match &user {
                Some(_) => command(
                    &setpriv,
                    &[
                        "--reuid=postgres",
                        "--regid=postgres",
                        "--init-groups",
                        "--",
                    ],
                ),
                None => command("env", &["--"]),
            };
            command.arg(program).arg("-D").arg(&data);
            command.current_dir(folder.path());
            command
        };
        let mut initialise = as_user(initdb);
        initialise.args(["--username=postgres", "--auth=scram-sha-256", "--no-sync"]);
        initialise.arg(format!("--pwfile={}", secret.display()));
        Running::start("initdb", initialise)
            .finished(PATIENCE)
            .await
            .good();
        let port = free_port();
        let mut serve = as_user(server);
        serve.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        serve.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        let mut postgres = Self {
            process: Running::start("postgres", serve),
            psql,
            port,
            _folder: folder,
        };
        let ready = |said: &str| said.contains("ready to accept connections").then_some(());
        postgres.process.says("readiness", ready).await;
        Some(postgres)
    }

    /// URL of the database, as its owner.
    pub(in super::super) fn url(&self) -> String {
        format!(
            "postgresql://postgres:{PASSWORD}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// Answer to a query of a user; `None` if the server does not let the user in.
    pub(super) async fn query(&self, user: &str, password: &str, query: &str) -> Option<String> {
        let port = self.port.to_string();
        let words = [
            "-X",
            "-A",
            "-t",
            "-w",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            user,
        ];
        let mut psql = command(&self.psql, &words);
        psql.args(["-d", "postgres", "-c", query]);
        psql.env("PGPASSWORD", password);
        let done = Running::start("psql", psql).finished(PATIENCE).await;
        match done.code {
            Some(0) => Some(done.stdout.trim().to_owned()),
            Some(2) => None,
            other => panic!("psql ended with {other:?}: {}", done.stderr),
        }
    }

    /// A query of the database's owner.
    pub(super) async fn ask(&self, query: &str) -> String {
        let answer = self.query("postgres", PASSWORD, query).await;
        answer.expect("the owner is let in")
    }

    /// The accounts that OpenBao has issued and not taken back.
    pub(super) async fn accounts(&self) -> Vec<String> {
        let listed = self
            .ask("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'")
            .await;
        listed.lines().map(str::to_owned).collect()
    }

    /// Has the vault issue accounts of `database/creds/crm` that live so long.
    pub(super) async fn issued_by(&self, vault: &OpenBao, ttl: &str, max_ttl: &str) {
        vault
            .ask("POST", "sys/mounts/database", json!({"type": "database"}))
            .await;
        let connection = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
            "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable", self.port),
            "username": "postgres", "password": PASSWORD,
        });
        // A new mount answers errors until it has set itself up.
        until("the database engine", async || {
            let client = vault.client("").path("/v1/database/config/pg");
            client.send("POST", connection.to_string()).await.status < 300
        })
        .await;
        self.role(vault, ttl, max_ttl).await;
    }

    /// Sets how long accounts live that are issued from now on.
    pub(super) async fn role(&self, vault: &OpenBao, ttl: &str, max_ttl: &str) {
        let role = json!({"db_name": "pg", "creation_statements": [CREATE], "default_ttl": ttl, "max_ttl": max_ttl});
        vault.ask("POST", "database/roles/crm", role).await;
    }

    /// Ends it as its own tools do.
    pub(in super::super) async fn stop(mut self) {
        self.process.signal(Signal::SIGINT);
        self.process.ended(PATIENCE).await;
    }
}
