//! A gateway of one server, in this process, on a port of its own.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc};

use keepgate_authn::Authenticator;
use keepgate_call::ServerName;
use keepgate_gateway::{
    Gateway, Shared,
    settings::{
        HttpTransport, HttpWay, Limits, Server, ServerLimits, Settings, Timeouts, Trust, Upstream,
    },
};
use keepgate_policy::Policy;
use keepgate_transport::http::server::{Listener, ListenerSettings, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Allows everything there is: for tests of what stands before and behind policy.
pub const ALLOW_ALL: &str = "package mcp.authz\n\nallow contains \"all\"\n";

/// What a test gateway is made of.
#[derive(Debug)]
pub struct Builder {
    settings: Settings,
    policy: String,
    keys: bool,
    audit: Option<keepgate_audit::Settings>,
    approvals: Option<keepgate_approval::Settings>,
}

/// A running gateway. Dropping it ends it.
#[derive(Debug)]
pub struct TestGateway {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its parts, to look into.
    pub gateway: Gateway,
    /// Its state: the log, the keys, the policy.
    pub directory: TempDir,
    shutdown: CancellationToken,
    log: keepgate_audit::Log,
}

impl TestGateway {
    /// A gateway in front of `url`, as server `up`.
    pub fn http(url: &str) -> Builder {
        Self::over(HttpTransport::Streamable, url)
    }

    /// A gateway in front of a server that speaks HTTP+SSE at `url`, as server `up`.
    pub fn sse(url: &str) -> Builder {
        Self::over(HttpTransport::Sse, url)
    }

    fn over(transport: HttpTransport, url: &str) -> Builder {
        Builder::new(Upstream::Http {
            transport,
            url: url.parse().expect("a url"),
            way: HttpWay::default(),
            headers: Vec::new(),
        })
    }

    /// A gateway in front of a child process, as server `up`.
    pub fn child(program: &str, arguments: &[&str], shared: bool) -> Builder {
        Builder::new(Upstream::Child {
            program: program.to_owned(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            environment: BTreeMap::new(),
            directory: None,
            shared,
            launch: None,
        })
    }

    /// Makes an API key for `subject` with these roles and gives its secret. Only for a gateway with keys.
    pub fn key(&self, subject: &str, roles: &[&str]) -> String {
        self.key_for(keepgate_authn::KeyRequest {
            subject: subject.to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            ..keepgate_authn::KeyRequest::default()
        })
    }

    /// Makes an API key and gives its secret. Only for a gateway with keys.
    pub fn key_for(&self, request: keepgate_authn::KeyRequest) -> String {
        let keys = keepgate_authn::ApiKeys::open(self.directory.path()).expect("a key store");
        let made = keys
            .create(request, std::time::SystemTime::now())
            .expect("a key");
        self.gateway.shared().authn.reload().expect("keys");
        made.secret.to_string()
    }

    /// Its approvals. Only for a gateway that has them.
    pub fn approvals(&self) -> keepgate_approval::Approvals {
        let approvals = self.gateway.shared().approvals.clone();
        approvals.expect("approvals")
    }

    /// Closes the log: from now on nothing can be recorded.
    pub fn close_log(&self) {
        self.log.close();
    }

    /// Waits until a record is written that `is` what the test waits for, and gives it.
    pub async fn record(&self, is: impl Fn(&Value) -> bool) -> Value {
        let written = async {
            loop {
                if let Some(record) = self.read().into_iter().find(|record| is(record)) {
                    return record;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(crate::PATIENCE, written)
            .await
            .unwrap_or_else(|_| panic!("no such record: {:#?}", self.read()))
    }

    /// Ends the log in order and verifies it; gives the codes of all refusals in it, those that share a record behind its
    /// first.
    pub async fn refusals(&self) -> Vec<String> {
        let mut codes = Vec::new();
        for record in &self.records().await {
            // Of what was allowed, too, equal records are counted.
            let Some(code) = record["refusal"].as_str().filter(|code| *code != "allowed") else {
                continue;
            };
            let count = record["repeat"]["count"].as_u64().unwrap_or(1);
            let count = usize::try_from(count).expect("a count");
            codes.extend(std::iter::repeat_n(code.to_owned(), count));
        }
        codes
    }

    /// Ends the log in order and verifies it; gives its records as JSON.
    pub async fn records(&self) -> Vec<Value> {
        // What is posted without waiting, and what was only counted, is written before the log closes.
        self.gateway.shared().refusals.close();
        self.log.close();
        let report = keepgate_audit::verify(&self.log_directory(), &self.log.public_key(), &[])
            .expect("the log can be read");
        assert!(
            report.findings.is_empty(),
            "the log does not verify: {report:?}"
        );
        self.read()
    }

    fn read(&self) -> Vec<Value> {
        let mut reader =
            keepgate_audit::Reader::open(&self.log_directory(), keepgate_audit::Start::Index(0))
                .expect("the log opens");
        let mut records = Vec::new();
        while let Some(entry) = reader.next_entry().expect("a record") {
            records.push(serde_json::from_str(&entry.json).expect("a record is JSON"));
        }
        records
    }

    fn log_directory(&self) -> std::path::PathBuf {
        self.directory.path().join("audit")
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.log.close();
    }
}

impl Builder {
    fn new(upstream: Upstream) -> Self {
        let server = Server {
            upstream,
            owner: None,
            environment: None,
            trust: Trust::default(),
            instructions: Trust::default().instructions(),
            labels: Vec::new(),
            timeouts: Timeouts::default(),
            idle: None,
            credentials: Vec::new(),
            limits: ServerLimits::default(),
            definition: None,
            arguments: Default::default(),
            plaintext: false,
            validation: Default::default(),
            listen_sse: false,
        };
        let name = ServerName::parse("up").expect("a name");
        Self {
            settings: Settings {
                servers: BTreeMap::from([(name, server)]),
                hosts: Vec::new(),
                path: String::new(),
                origins: Vec::new(),
                limits: Limits::default(),
                clear_arguments: Vec::new(),
                credentials: Default::default(),
            },
            policy: ALLOW_ALL.to_owned(),
            keys: false,
            audit: None,
            approvals: None,
        }
    }

    /// With this policy instead of one that allows everything.
    #[must_use]
    pub fn policy(mut self, rego: &str) -> Self {
        rego.clone_into(&mut self.policy);
        self
    }

    /// With API keys instead of the anonymous caller.
    #[must_use]
    pub fn keys(mut self) -> Self {
        self.keys = true;
        self
    }

    /// With approvals; see [`crate::approvals`].
    #[must_use]
    pub fn approvals(mut self, settings: keepgate_approval::Settings) -> Self {
        self.approvals = Some(settings);
        self
    }

    /// With other settings.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// With other timeouts for the server.
    #[must_use]
    pub fn timeouts(self, change: impl Fn(&mut Timeouts)) -> Self {
        self.with(|settings| {
            settings
                .servers
                .values_mut()
                .for_each(|server| change(&mut server.timeouts))
        })
    }

    /// Its settings, for a gateway that is reloaded.
    pub fn settings(self) -> Settings {
        self.settings
    }

    /// Starts it.
    pub async fn start(self) -> TestGateway {
        let directory = tempfile::tempdir().expect("a directory");
        self.start_in(directory).await
    }

    /// Starts it over a state that is there already.
    pub async fn start_in(self, directory: TempDir) -> TestGateway {
        let policies = directory.path().join("policies");
        std::fs::create_dir_all(&policies).expect("a directory");
        std::fs::write(policies.join("test.rego"), &self.policy).expect("a file");
        let policy = Policy::load(&[policies], &keepgate_policy::Settings::default())
            .expect("a policy that loads");
        let audit = self
            .audit
            .unwrap_or_else(|| audit_settings(directory.path()));
        let log = keepgate_audit::Log::open(audit).expect("a log");
        let authn = if self.keys {
            Authenticator::keys(directory.path()).expect("keys")
        } else {
            Authenticator::anonymous()
        };
        let shared =
            Shared::new(log.clone(), Arc::new(policy), Arc::new(authn)).expect("randomness");
        let shared = match self.approvals {
            Some(settings) => {
                shared.with_approvals(crate::approvals::open(directory.path(), &log, settings))
            }
            None => shared,
        };
        let gateway = Gateway::new(&self.settings, Arc::new(shared)).expect("a gateway");
        let enforced = gateway.enforce();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), ListenerSettings::default())
            .await
            .expect("a port");
        let addr = listener.addr();
        let shutdown = CancellationToken::new();
        let ended = shutdown.clone();
        tokio::spawn(async move { ended.run_until_cancelled(enforced).await });
        tokio::spawn(serve(listener, gateway.clone(), shutdown.clone()));
        TestGateway {
            addr,
            gateway,
            directory,
            shutdown,
            log,
        }
    }
}

fn audit_settings(directory: &Path) -> keepgate_audit::Settings {
    keepgate_audit::Settings::new(directory.join("audit"), "keepgate.test/log", "test")
}
