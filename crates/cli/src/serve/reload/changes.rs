//! Every key of the configuration, and whether a changed value is applied to the running gateway or needs a restart.
//!
//! A configuration that was read is merged with the one in use: keys that need a restart keep the value in use, the
//! others get the new one. The result is what the gateway runs with, as a whole; what differs from the file is named.

use std::path::PathBuf;
use std::sync::Arc;

use keepgate_credential::{Place, Use};
use keepgate_gateway::settings::{Limits, Server, Settings, Upstream};
use keepgate_sandbox::Files;

use crate::config::{self, Admin, AuthMode, Configuration, Drain, NotifyUrl, Remote};

/// A configuration to run with.
pub(super) struct Merged {
    pub(super) configuration: Configuration,
    /// Keys whose value in the file is not that of `configuration`.
    pub(super) restart: Vec<&'static str>,
    /// The reason for which it cannot be run with.
    pub(super) conflict: Option<&'static str>,
}

/// Keys that need a restart.
#[derive(Default)]
struct Restart(Vec<&'static str>);

impl Restart {
    /// The value in use; notes the key if the file has another.
    fn keep<T: Clone + PartialEq>(&mut self, key: &'static str, used: &T, new: &T) -> T {
        if used != new {
            self.note(key);
        }
        used.clone()
    }

    /// New files of a certificate are applied. Whether a listener has one is not: it speaks TLS or it does not.
    fn keep_kind(
        &mut self,
        key: &'static str,
        used: Option<&config::Tls>,
        new: Option<config::Tls>,
    ) -> Option<config::Tls> {
        if used.is_some() == new.is_some() {
            return new;
        }
        self.note(key);
        used.cloned()
    }

    fn note(&mut self, key: &'static str) {
        if !self.0.contains(&key) {
            self.0.push(key);
        }
    }
}

/// Merges what was read into what is in use. The table of keys: a key that is new does not compile before it has its
/// line here.
#[expect(clippy::too_many_lines, reason = "a table with a line for each key")]
pub(super) fn merge(used: &Configuration, new: Configuration) -> Merged {
    let Configuration {
        listen,
        trusted_proxies,
        public_url,
        tls,
        admin:
            Admin {
                listen: admin_listen,
                public_url: admin_public_url,
                tls: admin_tls,
                hosts: admin_hosts,
            },
        auth,
        oauth,
        state,
        policies,
        bundles,
        tenants,
        definitions,
        shadow,
        status,
        decisions,
        mut approvals,
        notify,
        durability,
        header_timeout,
        connections,
        memory,
        drain,
        log,
        telemetry,
        mut gateway,
        plaintext,
        hidden,
        warnings,
        digest,
    } = new;
    applied(&gateway);
    let hidden = still_hidden(used, hidden, &mut gateway);
    let mut restart = Restart::default();
    // Bundles are fetched by tasks that begin with the process. Half of the policies would be neither set.
    let is_bundled = used.bundles != bundles;
    let of_layer = |bundles: &[config::Bundle], is_tenant| {
        let layer = bundles.iter().filter(|it| it.tenant.is_some() == is_tenant);
        layer.cloned().collect::<Vec<_>>()
    };
    let differ = |is_tenant| of_layer(&used.bundles, is_tenant) != of_layer(&bundles, is_tenant);
    if is_bundled && (used.policies != policies || differ(false)) {
        restart.note("policies");
    }
    if is_bundled && (used.tenants != tenants || differ(true)) {
        restart.note("tenants");
    }
    let (policies, tenants) = if is_bundled {
        (used.policies.clone(), used.tenants.clone())
    } else {
        // A candidate was loaded with the tenants of the start.
        if used.tenants != tenants && used.shadow.is_some() {
            restart.note("shadow");
        }
        (policies, tenants)
    };
    // Servers get theirs from the new provider, what began with the process does not.
    if used.gateway.credentials != gateway.credentials && reads_vault(used) {
        restart.note("credentials");
    }
    let tls = restart.keep_kind("tls", used.tls.as_ref(), tls);
    let admin_tls = restart.keep_kind("admin.tls", used.admin.tls.as_ref(), admin_tls);
    // Links lead to where the listener in use takes them.
    approvals.console.clone_from(&used.approvals.console);
    // Policy names those that are there.
    approvals.targets.clone_from(&used.approvals.targets);
    let configuration = Configuration {
        listen: restart.keep("listen", &used.listen, &listen),
        trusted_proxies: restart.keep("trusted_proxies", &used.trusted_proxies, &trusted_proxies),
        // Used by `hosts`, `path` and `oauth` alone.
        public_url,
        tls,
        admin: Admin {
            listen: restart.keep("admin.listen", &used.admin.listen, &admin_listen),
            public_url: restart.keep(
                "admin.public_url",
                &used.admin.public_url,
                &admin_public_url,
            ),
            tls: admin_tls,
            hosts: restart.keep("admin.hosts", &used.admin.hosts, &admin_hosts),
        },
        auth,
        oauth,
        state: restart.keep("state.dir", &used.state, &state),
        policies,
        bundles: used.bundles.clone(),
        tenants,
        definitions,
        shadow: restart.keep("shadow", &used.shadow, &shadow),
        status: restart.keep("status", &used.status, &status),
        decisions: restart.keep("decisions", &used.decisions, &decisions),
        approvals,
        notify: restart.keep("approvals.notify", &used.notify, &notify),
        durability: restart.keep("audit.durability", &used.durability, &durability),
        header_timeout: restart.keep(
            "limits.header_timeout",
            &used.header_timeout,
            &header_timeout,
        ),
        connections: restart.keep("limits.connections", &used.connections, &connections),
        memory: restart.keep("limits.memory", &used.memory, &memory),
        drain: Drain {
            delay: restart.keep("limits.drain_delay", &used.drain.delay, &drain.delay),
            patience: restart.keep("limits.drain", &used.drain.patience, &drain.patience),
        },
        log,
        telemetry: restart.keep("telemetry", &used.telemetry, &telemetry),
        gateway,
        plaintext: sent_in_clear(used, plaintext),
        hidden,
        warnings,
        digest,
    };
    let conflict = conflict(used, &configuration, &restart);
    if conflict.is_some() {
        restart.note("auth");
    }
    Merged {
        configuration,
        restart: restart.0,
        conflict,
    }
}

/// The settings of the data plane, all of which are applied: a stack is built from them.
fn applied(settings: &Settings) {
    let Settings {
        servers,
        hosts: _,
        path: _,
        origins: _,
        limits,
        clear_arguments: _,
        credentials: _,
    } = settings;
    let Limits {
        body: _,
        result: _,
        depth: _,
        in_flight: _,
        streams: _,
        read_deadline: _,
        session_idle: _,
        sessions: _,
        sessions_per_caller: _,
        processes: _,
        keep_alive: _,
        rate: _,
        concurrency: _,
        lives: _,
        breaker: _,
        denial_breaker: _,
    } = limits;
    for server in servers.values() {
        let Server {
            upstream: _,
            owner: _,
            environment: _,
            trust: _,
            instructions: _,
            labels: _,
            timeouts: _,
            idle: _,
            credentials: _,
            limits: _,
            definition: _,
            arguments: _,
            validation: _,
            listen_sse: _,
            plaintext: _,
        } = server;
    }
}

/// A new value that only fits listeners which need a restart. To run with it on those in use would open them to everybody,
/// or ask for tokens of an address that nobody listens on.
fn conflict(used: &Configuration, new: &Configuration, restart: &Restart) -> Option<&'static str> {
    let is_open = new.listen.iter().any(|address| !address.ip().is_loopback());
    if new.auth == AuthMode::Anonymous && is_open {
        return Some(
            "auth.mode anonymous needs a restart with `listen`: other machines reach the listeners in use",
        );
    }
    if gives_own(used, new) {
        return Some(
            "servers need a restart: a child process is given what the running gateway stands on",
        );
    }
    let base = |configuration: &Configuration| {
        let oauth = configuration.oauth.as_ref();
        oauth.map(|oauth| oauth.base.clone())
    };
    let moved = restart.0.iter().any(|key| matches!(*key, "listen" | "tls"));
    if moved && new.oauth.is_some() && new.public_url.is_none() && base(new) != base(used) {
        return Some(
            "auth needs a restart with `listen` and `tls`: without `public_url` tokens are for the address of the listener",
        );
    }
    None
}

/// Hides from child processes what the running gateway stands on as well: the state in use stays so until the restart,
/// whatever the file names now.
fn still_hidden(used: &Configuration, new: Vec<PathBuf>, settings: &mut Settings) -> Vec<PathBuf> {
    let mut hidden = used.hidden.clone();
    hidden.extend(new.into_iter().filter(|path| !used.hidden.contains(path)));
    for server in settings.servers.values_mut() {
        if let Upstream::Child {
            launch: Some(launch),
            ..
        } = &mut server.upstream
        {
            Arc::make_mut(&mut launch.rules).hidden.clone_from(&hidden);
        }
    }
    hidden
}

/// Whether a child process is given, by name, what the running gateway stands on.
fn gives_own(used: &Configuration, new: &Configuration) -> bool {
    let own = |path: &PathBuf| used.hidden.iter().any(|hidden| path.starts_with(hidden));
    let mut servers = new.gateway.servers.values();
    servers.any(|server| match &server.upstream {
        Upstream::Child {
            launch: Some(launch),
            ..
        } => match &launch.rules.files {
            Files::Listed { read, write } => read.iter().chain(write).any(own),
            Files::Unlisted => false,
        },
        Upstream::Child { launch: None, .. } | Upstream::Http { .. } => false,
    })
}

/// The keys whose secret is sent in clear, of what is used: receivers and collectors are those of the start.
fn sent_in_clear(used: &Configuration, mut new: Vec<String>) -> Vec<String> {
    let is_fixed =
        |key: &String| matches!(key.as_str(), "status" | "decisions.upload" | "telemetry");
    new.retain(|key| !is_fixed(key));
    new.extend(used.plaintext.iter().filter(|key| is_fixed(key)).cloned());
    new
}

/// Whether anything that begins with the process has a secret in a vault.
fn reads_vault(configuration: &Configuration) -> bool {
    let bundles = configuration
        .bundles
        .iter()
        .filter_map(|bundle| match &bundle.place {
            config::Place::Http(Remote { credential, .. }) => credential.as_ref(),
            config::Place::File(_) => None,
        });
    let uploads = [&configuration.status, &configuration.decisions.upload];
    let tokens = uploads.into_iter().flatten().filter_map(|upload| {
        let Use { reference, .. } = upload.token.as_ref()?;
        Some(reference)
    });
    let targets = configuration.notify.values().flat_map(|target| {
        let url = match &target.url {
            NotifyUrl::Secret(url) => Some(url),
            NotifyUrl::Plain(_) => None,
        };
        url.into_iter()
            .chain(&target.secret)
            .map(|wanted| &wanted.reference)
    });
    let mut references = bundles.chain(tokens).chain(targets);
    references.any(|reference| matches!(reference.place(), Place::Vault { .. }))
}

#[cfg(test)]
mod tests;
