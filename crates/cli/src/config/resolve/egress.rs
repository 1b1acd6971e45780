//! `egress`: whether connections to other machines go through a proxy, and what the proxy gets.

use std::sync::Arc;

use keepgate_credential::{Place, proxy_login, proxy_login_of_variable};
use keepgate_gateway::settings::travels_clear;
use keepgate_net::{Egress, Exempt, Proxy, ProxyError, ProxyLogin, Route};

use super::Resolver;
use crate::config::decode::At;
use crate::config::egress::{Ambiguous, ProxyVariables};
use crate::config::raw::Plaintext;
use crate::config::raw::egress as raw;

const CREDENTIAL: &str =
    "write `credential: { ref: file:/run/secrets/proxy, user: keepgate }` next to it";

impl Resolver<'_> {
    /// Settles the way to other machines for all that has none of its own.
    pub(super) fn set_egress(&mut self, raw: Option<&At<raw::Egress>>, proxies: ProxyVariables) {
        self.proxies = Arc::new(proxies);
        self.egress = raw.map_or(Egress::Direct, |raw| self.egress(raw));
    }

    /// The way to other machines.
    pub(super) fn egress(&mut self, raw: &At<raw::Egress>) -> Egress {
        let Some(text) = &raw.value.proxy else {
            return Egress::Direct;
        };
        match text.value.as_str() {
            "none" => {
                if !raw.value.no_proxy.is_empty() || raw.value.credential.is_some() {
                    let message = "`no_proxy` and `credential` go with a proxy";
                    self.faults.push(text.fault(message));
                }
                Egress::Direct
            }
            "env" => self.egress_of_variables(text, &raw.value),
            _ => {
                let proxy = Proxy::parse(&text.value);
                let proxy = proxy.map_err(|error| self.no_proxy_address(text, error));
                let exempt = self.exempt(&raw.value.no_proxy);
                let login = raw.value.credential.as_ref();
                let login = login.map(|written| self.proxy_login(&written.value));
                let (Ok(proxy), Some(exempt)) = (proxy, exempt) else {
                    return Egress::Direct;
                };
                let proxy = self.logged_in(text, proxy, login.flatten(), raw.value.plaintext);
                Egress::Proxied(Arc::new(Route {
                    proxy,
                    https_only: false,
                    exempt,
                }))
            }
        }
    }

    /// The proxy that variables name. They are for https alone: `HTTP_PROXY` can be set by a request where a gateway runs as CGI,
    /// and what travels in clear stays within the network as a rule.
    fn egress_of_variables(&mut self, text: &At<String>, raw: &raw::Egress) -> Egress {
        let own = self.exempt(&raw.no_proxy);
        let login = raw.credential.as_ref();
        let login = login.map(|written| self.proxy_login(&written.value));
        let variables = Arc::clone(&self.proxies);
        let (address, list) = match (variables.address(), variables.no_proxy()) {
            (Ok(address), Ok(list)) => (address, list),
            (Err(Ambiguous(name)), _) | (_, Err(Ambiguous(name))) => {
                let lower = name.to_ascii_lowercase();
                let message = format!("{name} and {lower} name different things");
                let hint = "programs do not agree on which one counts: unset one";
                self.faults.push(text.fault(message).hint(hint));
                return Egress::Direct;
            }
        };
        let Some((name, value)) = address else {
            self.warnings.push(format!(
                "{} is env, and neither HTTPS_PROXY nor ALL_PROXY is set: connections are direct",
                text.path
            ));
            return Egress::Direct;
        };
        let (bare, has_user) = without_user(value);
        let proxy = match Proxy::parse(&bare) {
            Ok(proxy) => proxy,
            Err(error) => {
                let message = format!("{name}: {error}");
                let hint = "write it like http://proxy.example:3128";
                self.faults.push(text.fault(message).hint(hint));
                return Egress::Direct;
            }
        };
        let login = match (login.flatten(), has_user) {
            (Some(_), true) => {
                let message = format!("{name} holds a user as well as `credential`");
                self.faults.push(text.fault(message).hint("remove one"));
                return Egress::Direct;
            }
            (None, true) => Some(proxy_login_of_variable(name)),
            (login, false) => login,
        };
        let exempt = self.exempt_of_variable(list).with(own.unwrap_or_default());
        let proxy = self.logged_in(text, proxy, login, raw.plaintext);
        Egress::Proxied(Arc::new(Route {
            proxy,
            https_only: true,
            exempt,
        }))
    }

    /// The proxy with its login, if it may be sent there.
    fn logged_in(
        &mut self,
        text: &At<String>,
        proxy: Proxy,
        login: Option<ProxyLogin>,
        plaintext: Option<Plaintext>,
    ) -> Proxy {
        let Some(login) = login else {
            return proxy;
        };
        let section = text.path.strip_suffix(".proxy").unwrap_or(&text.path);
        match plaintext {
            _ if !travels_clear(proxy.uri()) => {}
            Some(Plaintext::Allowed) => self.allow(section),
            None => {
                let message = "the credential of the proxy would travel in clear to it";
                let hint = format!(
                    "write `{section}.plaintext: allowed` where nobody else is on the network between"
                );
                self.faults.push(text.fault(message).hint(hint));
            }
        }
        proxy.with_login(login)
    }

    fn proxy_login(&mut self, raw: &raw::ProxyCredential) -> Option<ProxyLogin> {
        let (text, user) = (raw.reference.as_ref()?, raw.user.as_ref()?);
        let reference = self.reference(text)?;
        if matches!(reference.place(), Place::Vault { .. }) {
            let message = "the vault may be behind the proxy";
            self.faults
                .push(text.fault(message).hint("write a file: or env: reference"));
            return None;
        }
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b':';
        if user.value.is_empty() || !user.value.bytes().all(plain) {
            let message = "not a user: visible ASCII without a colon";
            self.faults.push(user.fault(message));
            return None;
        }
        Some(proxy_login(&user.value, reference))
    }

    fn no_proxy_address(&mut self, text: &At<String>, error: ProxyError) {
        let hint = match error {
            ProxyError::User => {
                // Not repeated in the report: what stands before the @ is a secret.
                self.faults.hide(&text.origin);
                CREDENTIAL
            }
            ProxyError::Scheme => {
                "write the address it takes CONNECT at, like http://proxy.example:3128"
            }
            ProxyError::Address => {
                "write its address, like http://proxy.example:3128, or `env` or `none`"
            }
        };
        self.faults.push(text.fault(error.to_string()).hint(hint));
    }

    fn exempt(&mut self, written: &[At<String>]) -> Option<Exempt> {
        let mut all = Exempt::default();
        let mut is_good = true;
        for text in written {
            match Exempt::parse(&text.value) {
                Ok(exempt) => all = all.with(exempt),
                Err(_) => {
                    let hint = "write a name (with all below it), .name, an address or a network like 10.0.0.0/8";
                    let message = format!("not a host: `{}`", text.value);
                    self.faults.push(text.fault(message).hint(hint));
                    is_good = false;
                }
            }
        }
        is_good.then_some(all)
    }

    /// `NO_PROXY` is for all programs of the machine: an entry that means nothing here is ignored, and its hosts go through the
    /// proxy.
    fn exempt_of_variable(&mut self, list: &str) -> Exempt {
        let mut all = Exempt::default();
        for entry in list.split(',') {
            match Exempt::parse(entry) {
                Ok(exempt) => all = all.with(exempt),
                Err(entry) => self
                    .warnings
                    .push(format!("NO_PROXY has an entry that is ignored: `{entry}`")),
            }
        }
        all
    }
}

/// The address of a proxy without its user, and whether it had one. Variables may leave out the scheme.
fn without_user(value: &str) -> (String, bool) {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (!user.is_empty(), host),
        None => (false, authority),
    };
    (format!("{scheme}://{host}{path}"), user)
}
