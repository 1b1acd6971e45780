//! The servers behind the gateway: names, URLs, child processes.

use std::collections::BTreeMap;

use keepgate_call::ServerName;
use keepgate_gateway::settings::{
    HttpTransport, HttpWay, Launch, Server, ServerLimits, Timeouts, Upstream, travels_clear,
};
use keepgate_net::TlsFiles;

use super::Resolver;
use crate::config::decode::{At, Text};
use crate::config::raw::{self, Reached};

/// Server names that paths of ours need (`/t/{tenant}/..`).
const RESERVED: [&str; 1] = ["t"];

impl Resolver<'_> {
    /// The servers behind the gateway.
    pub(super) fn servers(
        &mut self,
        raw: BTreeMap<String, At<raw::Server>>,
        credentials: &keepgate_credential::Settings,
    ) -> BTreeMap<ServerName, Server> {
        let mut servers = BTreeMap::new();
        for (name, entry) in raw {
            let parsed = ServerName::parse(&name).filter(|_| !RESERVED.contains(&name.as_str()));
            if parsed.is_none() {
                let message = if RESERVED.contains(&name.as_str()) {
                    "name is reserved for paths of keepgate"
                } else {
                    "not a name for a server: it is part of URLs and policies"
                };
                let hint = "use lower-case letters, digits, - and _, at most 64, beginning with a letter or digit, no __";
                self.faults.push(entry.fault(message).hint(hint));
            }
            let url = entry.value.url().cloned();
            let server = self.server(entry.value, credentials);
            if let (Some(name), Some(url)) = (&parsed, url) {
                self.urls.insert(name.clone(), url);
            }
            if let (Some(name), Some(server)) = (parsed, server) {
                servers.insert(name, server);
            }
        }
        servers
    }

    /// One of them.
    fn server(
        &mut self,
        raw: raw::Server,
        credentials: &keepgate_credential::Settings,
    ) -> Option<Server> {
        let child = matches!(raw.reached, Some(Reached::Command { .. }));
        let upstream = match raw.reached? {
            Reached::Url {
                transport,
                url,
                tls,
                egress,
                query,
                headers,
            } => {
                let way = self.way(&tls, egress.as_deref());
                self.http(transport, &url, &tls, way, &query, &headers)
            }
            Reached::Command {
                command,
                env,
                directory,
                shared,
                sandbox,
                user,
                variables: _,
            } => {
                let launch = self.launch(&command, sandbox.as_deref(), user.as_ref());
                self.child(&command, env, directory.as_ref(), shared, launch)
            }
        };
        let armed = self.of_server(&raw.credentials, child, upstream.as_ref(), credentials);
        Some(Server {
            upstream: upstream?,
            owner: raw.owner,
            environment: raw.environment,
            trust: raw.trust,
            instructions: raw.instructions.unwrap_or_else(|| raw.trust.instructions()),
            labels: raw.labels,
            timeouts: Timeouts {
                connect: raw.timeouts.connect,
                request: raw.timeouts.request,
                idle: raw.timeouts.idle,
            },
            idle: raw.idle,
            credentials: armed,
            limits: ServerLimits {
                rate: raw.limits.rate,
                concurrency: raw.limits.concurrency,
                tools: raw
                    .limits
                    .tools
                    .into_iter()
                    .map(|(tool, rate)| (tool, rate.value))
                    .collect(),
            },
            definition: None,
            arguments: raw.arguments,
            plaintext: raw.plaintext.is_some(),
            validation: raw.validation,
            listen_sse: raw.listen_sse,
        })
    }

    /// The connections to a server on the network.
    fn way(&mut self, tls: &raw::UpstreamTls, egress: Option<&At<raw::egress::Egress>>) -> HttpWay {
        let ca = tls.ca.as_ref().and_then(|path| self.file(path));
        let identity = tls.client.as_ref().and_then(|(certificate, key)| {
            let (certificate, key) = (self.file(certificate), self.file(key));
            Some(TlsFiles {
                certificate: certificate?,
                key: key?,
            })
        });
        HttpWay {
            ca,
            identity,
            egress: match egress {
                Some(own) => self.egress(own),
                None => self.egress.clone(),
            },
        }
    }

    /// A server on the network.
    fn http(
        &mut self,
        transport: HttpTransport,
        url: &At<String>,
        tls: &raw::UpstreamTls,
        way: HttpWay,
        query: &BTreeMap<String, At<String>>,
        headers: &BTreeMap<String, At<String>>,
    ) -> Option<Upstream> {
        let headers = self.headers(headers);
        let parsed = self.url(url)?;
        let parsed = self.with_query(url, parsed, query)?;
        if parsed.scheme_str() == Some("http") {
            let client = tls.client.as_ref().map(|(certificate, _)| certificate);
            if let Some(written) = tls.ca.as_ref().or(client) {
                self.faults
                    .push(written.fault("`tls` goes with an https URL only"));
            }
            if travels_clear(&parsed) {
                self.warnings.push(format!(
                    "{} is not https: calls and results travel in clear",
                    url.path
                ));
            }
        }
        Some(Upstream::Http {
            transport,
            url: parsed,
            way,
            headers,
        })
    }

    /// A child process.
    fn child(
        &mut self,
        command: &At<Vec<Text>>,
        env: BTreeMap<String, At<Text>>,
        directory: Option<&At<String>>,
        shared: bool,
        launch: Launch,
    ) -> Option<Upstream> {
        let mut environment = BTreeMap::new();
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) || value.value.0.contains('\0') {
                self.faults.push(value.fault(
                    "not an environment variable: no `=` in the name, no NUL in name or value",
                ));
            }
            environment.insert(name, value.value.0);
        }
        let directory_path = directory.map(|text| (text, self.place(text)));
        if let Some((text, path)) = directory_path.as_ref().filter(|(_, path)| !path.is_dir()) {
            self.faults
                .push(text.fault(format!("no such directory: `{}`", path.display())));
        }
        let nul = command.value.iter().any(|Text(part)| part.contains('\0'));
        let mut parts = command.value.iter().map(|Text(part)| part.clone());
        let Some(program) = parts.next().filter(|program| !program.is_empty() && !nul) else {
            let hint = "the first item is the program, the others are its arguments: [npx, -y, some-server]";
            self.faults.push(
                command
                    .fault("names no program that can be started")
                    .hint(hint),
            );
            return None;
        };
        Some(Upstream::Child {
            program,
            arguments: parts.collect(),
            environment,
            directory: directory_path.map(|(_, path)| path),
            shared,
            launch: Some(launch),
        })
    }
}
