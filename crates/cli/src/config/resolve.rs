//! From what is written to what a run is told: the values are given their meaning and checked against each other.

mod admin;
mod approvals;
mod auth;
mod credentials;
mod decisions;
mod definitions;
mod egress;
mod notify;
mod plaintext;
mod policies;
pub(crate) mod request;
mod sandbox;
mod servers;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use keepgate_call::ServerName;
use keepgate_gateway::settings::{Limits, Server, Settings};
use keepgate_net::{Egress, Network};
use keepgate_telemetry::export;

use super::decode::{At, Size};
use super::definition;
use super::egress::ProxyVariables;
use super::fault::Faults;
use super::nearest::nearest;
use super::raw::{self, Raw};
use super::telemetry::{self, Places, Telemetry, Variables};
use super::{AuthMode, Configuration, Log, Tls};

/// The only version of the format.
const VERSION: u64 = 1;
/// Deepest JSON that the protocol core reads.
const MAX_DEPTH: usize = 64;
/// Largest request body, result or event that may be allowed, in bytes.
const MAX_HELD: usize = 256 << 20;
/// Smallest of these that lets any client work, in bytes.
const MIN_HELD: usize = 4 << 10;

/// Gives the values their meaning. What is wrong goes to `faults`; the result counts only if there are none.
pub(crate) fn resolve(
    raw: Raw,
    (variables, proxies): (Variables, ProxyVariables),
    (directory, file): (&Path, &Path),
    abi: u8,
    files: &mut [definition::File],
    faults: &mut Faults,
) -> Option<Configuration> {
    let anonymous = raw.auth.mode.value == AuthMode::Anonymous;
    let mut resolver = Resolver::new(directory, sandbox::Kernel { abi, anonymous }, faults);
    resolver.begin(&raw, proxies);
    let listen = resolver.listen(&raw.listen.0);
    let admin = resolver.admin(&raw.admin, &listen);
    let public_url = resolver.public_url(raw.public_url.as_ref());
    let tls = raw.tls.as_ref().and_then(|tls| resolver.tls(tls));
    let oauth = resolver.auth(&raw.auth, &listen, public_url.as_ref(), tls.is_some());
    let credentials = resolver.credentials(&raw.credentials);
    let decisions = resolver.decisions(&raw.decisions, &credentials);
    let status = resolver.status(raw.status.as_ref(), &credentials);
    let notify = resolver.notify(&raw.approvals.notify, admin.as_ref(), &credentials);
    let mut servers = resolver.servers(raw.servers, &credentials);
    resolver.definitions(files, &mut servers, &credentials);
    let telemetry = resolver.telemetry(&raw.telemetry, &variables);
    let state = resolver.path(&raw.state.dir);
    let mut policies = resolver.policies(&raw.policies, None);
    let tenants = resolver.tenants(&raw.tenants, &mut policies.bundles);
    let definitions = definition::directory(raw.definitions.as_ref(), directory);
    // Every path is known by now.
    let hidden = resolver.confine(&mut servers, &[file, &definitions]);
    let gateway = Settings {
        hosts: resolver.hosts(&raw.hosts, public_url.as_ref(), &listen),
        path: path_of(public_url.as_ref()),
        origins: resolver.origins(&raw.origins),
        limits: resolver.limits(&raw.limits),
        clear_arguments: resolver.clear_arguments(&raw.audit.arguments.clear, &servers),
        servers,
        credentials,
    };
    Some(Configuration {
        listen: listen.iter().map(|address| address.value).collect(),
        trusted_proxies: resolver.networks(&raw.trusted_proxies),
        public_url,
        tls,
        approvals: resolver.approvals(&raw.approvals, admin.as_ref()),
        notify,
        admin: admin?,
        auth: raw.auth.mode.value,
        oauth,
        state,
        policies: policies.directories,
        bundles: policies.bundles,
        tenants,
        definitions,
        shadow: raw.shadow.as_ref().map(|raw| resolver.shadow(raw)),
        decisions,
        status,
        durability: raw.audit.durability,
        header_timeout: raw.limits.header_timeout,
        connections: raw.limits.connections,
        memory: raw.limits.memory.value.0,
        drain: raw.limits.drain,
        log: resolver.log(raw.log),
        telemetry,
        gateway,
        plaintext: resolver.plaintext,
        hidden,
        warnings: resolver.warnings,
        digest: String::new(),
    })
}

/// The path of a URL without a slash at its end.
fn path_of(url: Option<&Uri>) -> String {
    let path = url.map_or("", Uri::path);
    path.trim_end_matches('/').to_owned()
}

/// Collects faults and warnings on the way.
struct Resolver<'a> {
    directory: &'a Path,
    faults: &'a mut Faults,
    warnings: Vec<String>,
    /// Keys whose secret is sent in clear, as it may be.
    plaintext: Vec<String>,
    /// URLs of servers on the network.
    urls: BTreeMap<ServerName, At<String>>,
    kernel: sandbox::Kernel,
    /// Paths child processes must not reach.
    owned: RefCell<sandbox::Owned>,
    /// Paths they are to reach by name.
    granted: Vec<(At<String>, PathBuf)>,
    /// The way to other machines.
    egress: Egress,
    /// The variables that name a proxy.
    proxies: Arc<ProxyVariables>,
}

impl<'a> Resolver<'a> {
    fn new(directory: &'a Path, kernel: sandbox::Kernel, faults: &'a mut Faults) -> Self {
        Self {
            directory,
            faults,
            warnings: Vec::new(),
            plaintext: Vec::new(),
            urls: BTreeMap::new(),
            kernel,
            owned: RefCell::default(),
            granted: Vec::new(),
            egress: Egress::Direct,
            proxies: Arc::default(),
        }
    }
}

impl Resolver<'_> {
    /// Where traces and metrics go.
    fn telemetry(&mut self, raw: &Telemetry, variables: &Variables) -> export::Settings {
        let places = Places {
            endpoint: raw.endpoint().and_then(|url| self.url(url)),
            file: raw.file().map(|path| self.path(path)),
            ca: raw.ca().and_then(|path| self.file(path)),
            egress: self.egress.clone(),
        };
        let settings = telemetry::resolve(raw, places, variables, &mut self.warnings);
        self.collectors(&settings, raw.plaintext());
        settings
    }

    /// Reads the parts that all others need: the format's version, and the way to other machines.
    fn begin(&mut self, raw: &Raw, proxies: ProxyVariables) {
        // One kind today: that it was understood is all there is to know.
        let raw::Store::Sqlite = raw.state.store;
        self.version(raw.version.as_ref());
        self.set_egress(raw.egress.as_ref(), proxies);
    }

    /// The format's version.
    fn version(&mut self, version: Option<&At<u64>>) {
        if let Some(version) = version
            && version.value != VERSION
        {
            let message = format!("version {} is not known", version.value);
            self.faults.push(
                version
                    .fault(message)
                    .hint(format!("this keepgate reads version {VERSION}")),
            );
        }
    }

    /// The data listeners.
    fn listen(&mut self, written: &[At<String>]) -> Vec<At<SocketAddr>> {
        let mut addresses: Vec<At<SocketAddr>> = Vec::new();
        for text in written {
            let Some(address) = self.address(text) else {
                continue;
            };
            if address.value.port() != 0
                && addresses.iter().any(|other| other.value == address.value)
            {
                self.faults
                    .push(address.fault(format!("address stands here twice: `{}`", address.value)));
            }
            addresses.push(address);
        }
        addresses
    }

    /// `address:port`.
    fn address(&mut self, text: &At<String>) -> Option<At<SocketAddr>> {
        if let Ok(value) = text.value.parse() {
            return Some(At {
                value,
                origin: text.origin.clone(),
                path: text.path.clone(),
            });
        }
        let port = text
            .value
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let hint = match port {
            Some(port) => format!(
                "write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for all that can reach it"
            ),
            None => "write an address and a port, like 127.0.0.1:8080 or [::1]:8080".to_owned(),
        };
        self.faults.push(
            text.fault(format!("not an address with a port: `{}`", text.value))
                .hint(hint),
        );
        None
    }

    /// The address of the gateway for clients: scheme, host and perhaps a path, behind which those of endpoints are put. A path has one
    /// spelling, since resource URIs are compared byte by byte.
    fn public_url(&mut self, text: Option<&At<String>>) -> Option<Uri> {
        let text = text?;
        let url = self.url(text)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let is_plain =
            |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
        let path = url.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_good = path.split('/').skip(1).all(is_plain) && !path.contains("/.well-known");
        if !is_good || url.query().is_some() {
            let hint = "write scheme, host and perhaps a plain path, like https://gateway.example or https://example.org/gateway";
            let message = format!("not a place clients find a gateway at: `{}`", text.value);
            self.faults.push(text.fault(message).hint(hint));
            return None;
        }
        Some(url)
    }

    /// An http or https URL that names a host and carries no secret.
    fn url(&mut self, text: &At<String>) -> Option<Uri> {
        let fault = |message: &str| text.fault(message.to_owned());
        let Ok(url) = text.value.parse::<Uri>() else {
            // Not repeated: what is no URL may have a password in it.
            self.faults.push(fault("not a URL"));
            return None;
        };
        if text.value.contains('@') {
            // Not repeated in the report: what stands before the @ is a secret.
            self.faults.hide(&text.origin);
            self.faults.push(
                fault("URL has a user or password in it")
                    .hint("a URL ends up in logs, take it out"),
            );
        } else if !matches!(url.scheme_str(), Some("http" | "https"))
            || url.host().is_none_or(str::is_empty)
        {
            let hint = "write it in full, like https://crm.example/mcp";
            self.faults
                .push(fault("not an http or https URL").hint(hint));
        } else if text.value.contains('#') {
            self.faults.push(text.fault(format!(
                "URL has a fragment (`#..`), which no server sees: `{}`",
                text.value
            )));
        } else {
            return Some(url);
        }
        None
    }

    /// Certificate and key, which have to be there.
    fn tls(&mut self, tls: &At<raw::Tls>) -> Option<Tls> {
        let certificate = tls
            .value
            .certificate
            .as_ref()
            .and_then(|path| self.file(path));
        let key = tls.value.key.as_ref().and_then(|path| self.file(path));
        Some(Tls {
            certificate: certificate?,
            key: key?,
        })
    }

    /// A path of the gateway's, taken from the file's directory.
    fn path(&self, text: &At<String>) -> PathBuf {
        let path = self.place(text);
        self.owned.borrow_mut().note(&text.path, &path);
        path
    }

    /// A path, taken from the file's directory.
    fn place(&self, text: &At<String>) -> PathBuf {
        let path = self.directory.join(&text.value);
        // `./` inside a path is noise in messages.
        path.components()
            .filter(|part| !matches!(part, std::path::Component::CurDir))
            .collect()
    }

    /// A file that is there.
    fn file(&mut self, text: &At<String>) -> Option<PathBuf> {
        let path = self.path(text);
        if path.is_file() {
            return Some(path);
        }
        self.faults
            .push(text.fault(format!("no such file: `{}`", path.display())));
        None
    }

    /// Names that a `Host` header may carry. A listener that others reach serves only these.
    fn hosts(
        &mut self,
        written: &[At<String>],
        public_url: Option<&Uri>,
        listen: &[At<SocketAddr>],
    ) -> Vec<String> {
        let mut hosts: Vec<String> = written.iter().filter_map(|host| self.host(host)).collect();
        let public = public_url.and_then(Uri::authority);
        let public = public.map(|authority| authority.as_str().to_ascii_lowercase());
        if let Some(public) = public.filter(|public| !hosts.contains(public)) {
            hosts.push(public);
        }
        let open = listen
            .iter()
            .find(|address| !address.value.ip().is_loopback());
        if let Some(address) = open
            && hosts.is_empty()
            && written.is_empty()
        {
            let message = format!(
                "every request to `{}` would be refused, `hosts` is empty",
                address.value
            );
            let hint = "name what clients call this gateway, like hosts: [gateway.example], or set public_url";
            self.faults.push(address.fault(message).hint(hint));
        }
        hosts
    }

    /// Networks of proxies in front of the gateway.
    fn networks(&mut self, written: &[At<String>]) -> Vec<Network> {
        let mut networks = Vec::new();
        for text in written {
            match text.value.parse::<Network>() {
                Ok(network) => networks.push(network),
                Err(error) => {
                    let hint = "write a network without host bits, like 10.0.0.0/8, or one address";
                    self.faults.push(text.fault(error.to_string()).hint(hint));
                }
            }
        }
        networks
    }

    /// One name, with or without a port.
    fn host(&mut self, text: &At<String>) -> Option<String> {
        let host = text.value.to_ascii_lowercase();
        let authority = host.parse::<http::uri::Authority>().ok();
        let plain = authority
            .is_some_and(|authority| authority.as_str() == host && !authority.host().is_empty());
        if plain && !host.contains(['@', '*']) {
            return Some(host);
        }
        let hint = "write a host name with or without a port, like gateway.example or gateway.example:8443";
        self.faults.push(
            text.fault(format!("not a host: `{}`", text.value))
                .hint(hint),
        );
        None
    }

    /// Origins that browsers may call from.
    fn origins(&mut self, written: &[At<String>]) -> Vec<String> {
        written
            .iter()
            .filter_map(|origin| self.origin(origin))
            .collect()
    }

    /// One origin (RFC 6454 §6.1), lower case.
    fn origin(&mut self, text: &At<String>) -> Option<String> {
        let origin = text.value.to_ascii_lowercase();
        let url = origin
            .parse::<Uri>()
            .ok()
            .filter(|url| url.scheme().is_some() && !origin.contains(['@', '*', '#']));
        let bare =
            url.and_then(|url| Some(format!("{}://{}", url.scheme_str()?, url.authority()?)));
        if bare.as_deref() == Some(origin.as_str()) {
            return Some(origin);
        }
        let hint = "write scheme, host and port as the browser sends them, like https://app.example; no `*`, no path";
        self.faults.push(
            text.fault(format!("not an origin: `{}`", text.value))
                .hint(hint),
        );
        None
    }

    /// Bounds of the edge and of sessions.
    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        for size in [&raw.body, &raw.result] {
            self.held(size);
        }
        let largest = raw.body.value.0.max(raw.result.value.0);
        if raw.memory.value.0 < largest {
            let message = format!("memory has no room for one message of {largest} bytes");
            let hint = "it has to hold the larger of limits.body and limits.result";
            self.faults.push(raw.memory.fault(message).hint(hint));
        }
        if raw.depth.value.get() > MAX_DEPTH {
            let message = format!("JSON is read to a depth of {MAX_DEPTH} at most");
            self.faults.push(raw.depth.fault(message));
        }
        if raw.sessions_per_caller.value > raw.sessions.value {
            let message = format!(
                "one caller cannot hold more sessions than there may be ({})",
                raw.sessions.value
            );
            self.faults.push(raw.sessions_per_caller.fault(message));
        }
        Limits {
            body: raw.body.value.0,
            result: raw.result.value.0,
            depth: raw.depth.value.get(),
            in_flight: raw.in_flight,
            streams: raw.streams,
            read_deadline: raw.read_deadline,
            session_idle: raw.session_idle,
            sessions: raw.sessions.value,
            sessions_per_caller: raw.sessions_per_caller.value,
            processes: raw.processes,
            keep_alive: raw.keep_alive,
            lives: raw.lives,
            rate: raw.rate.clone(),
            concurrency: raw.concurrency.clone(),
            breaker: raw.breaker,
            denial_breaker: raw.denial_breaker,
        }
    }

    /// A size of something that is held in memory.
    fn held(&mut self, size: &At<Size>) {
        if !(MIN_HELD..=MAX_HELD).contains(&size.value.0) {
            self.faults.push(size.fault(format!(
                "size of {} bytes is not between 4KiB and 256MiB",
                size.value.0
            )));
        }
    }

    /// Tools whose arguments stand in the record as they were, as `server.tool`.
    fn clear_arguments(
        &mut self,
        written: &[At<String>],
        servers: &BTreeMap<ServerName, Server>,
    ) -> Vec<(ServerName, String)> {
        let mut clear = Vec::new();
        for text in written {
            let Some((server, tool)) = text
                .value
                .split_once('.')
                .filter(|(_, tool)| !tool.is_empty())
            else {
                let hint = "write server and tool with a dot between them, like crm.search_cases";
                self.faults.push(
                    text.fault(format!("not a tool of a server: `{}`", text.value))
                        .hint(hint),
                );
                continue;
            };
            match ServerName::parse(server).filter(|name| servers.contains_key(name)) {
                Some(name) => clear.push((name, tool.to_owned())),
                None => {
                    let fault = text.fault(format!("no server has this name: `{server}`"));
                    let meant = nearest(server, servers.keys().map(ServerName::as_str));
                    self.faults.push(match meant {
                        Some(name) => fault.hint(format!("did you mean `{name}.{tool}`?")),
                        None => fault,
                    });
                }
            }
        }
        clear
    }

    /// What is written to standard error.
    fn log(&mut self, raw: raw::Log) -> Log {
        if let Err(unknown) = crate::logging::check(&raw.level.value) {
            let hint =
                "write error, warn, info, debug or trace, or with modules info,keepgate=debug";
            let message = format!("not a log level: `{}`", unknown.0);
            self.faults.push(raw.level.fault(message).hint(hint));
        }
        Log {
            format: raw.format,
            level: raw.level.value,
        }
    }
}
