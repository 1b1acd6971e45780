//! `auth`: what the mode means for the listeners, and which issuers are believed.

use std::net::SocketAddr;

use http::Uri;
use keepgate_authn::oauth::{IssuerUrl, ResourceServer, is_fetchable};

use super::Resolver;
use crate::config::decode::At;
use crate::config::raw;
use crate::config::{AuthMode, Issuer, OAuth};

impl Resolver<'_> {
    /// How callers prove who they are, and whether the listeners allow that.
    pub(super) fn auth(
        &mut self,
        auth: &raw::Auth,
        listen: &[At<SocketAddr>],
        public_url: Option<&Uri>,
        tls: bool,
    ) -> Option<OAuth> {
        let open = || {
            listen
                .iter()
                .filter(|address| !address.value.ip().is_loopback())
        };
        match auth.mode.value {
            AuthMode::Anonymous => {
                for address in open() {
                    let message = format!(
                        "`{}` can be reached from other machines, and auth.mode anonymous lets everybody in",
                        address.value
                    );
                    let hint = "listen on 127.0.0.1, or set `auth: { mode: keys }`";
                    self.faults.push(address.fault(message).hint(hint));
                }
                None
            }
            AuthMode::Keys | AuthMode::OAuth => {
                if !tls && let Some(address) = open().next() {
                    let what = match auth.mode.value {
                        AuthMode::OAuth => "tokens",
                        AuthMode::Keys | AuthMode::Anonymous => "keys",
                    };
                    self.warnings.push(format!(
                        "listen {} has no tls: {what} and calls travel in clear unless something in front ends TLS",
                        address.value
                    ));
                }
                match auth.mode.value {
                    AuthMode::OAuth => self.oauth(auth, listen, public_url, tls),
                    AuthMode::Keys | AuthMode::Anonymous => None,
                }
            }
        }
    }

    fn oauth(
        &mut self,
        auth: &raw::Auth,
        listen: &[At<SocketAddr>],
        public_url: Option<&Uri>,
        tls: bool,
    ) -> Option<OAuth> {
        for scope in &auth.scopes {
            if let Err(error) = ResourceServer::new("", Vec::new(), vec![scope.value.clone()]) {
                self.faults.push(scope.fault(error.to_string()));
            }
        }
        let mut issuers: Vec<Issuer> = Vec::new();
        for written in &auth.issuers {
            let Some(issuer) = self.issuer(&written.value) else {
                continue;
            };
            if issuers.iter().any(|other| other.url == issuer.url) {
                let message = format!("issuer stands here twice: `{}`", issuer.url.as_str());
                self.faults.push(written.fault(message));
            }
            issuers.push(issuer);
        }
        self.claims(&mut issuers, auth.issuers.len());
        Some(OAuth {
            base: self.base(&auth.mode, listen, public_url, tls)?,
            keys: auth.keys,
            scopes: auth
                .scopes
                .iter()
                .map(|scope| scope.value.clone())
                .collect(),
            issuers,
        })
    }

    /// Settles the claims with roles and groups. The standard claims are believed of an issuer that is the only one: with a second one,
    /// say a partner's, they would let it make its users whatever it likes, so there each is written out or gives none.
    fn claims(&mut self, issuers: &mut [Issuer], written: usize) {
        for issuer in issuers {
            for (key, claim) in [
                ("roles", &mut issuer.roles_claim),
                ("groups", &mut issuer.groups_claim),
            ] {
                if claim.is_some() {
                    continue;
                }
                if written > 1 {
                    self.warnings.push(format!(
                        "auth.issuers has several, and `{}` no {key}_claim: its tokens give no {key}",
                        issuer.url.as_str()
                    ));
                } else {
                    *claim = Some(key.to_owned());
                }
            }
        }
    }

    /// What the resource URIs of the endpoints begin with. Without `public_url` it is the one address clients can use.
    fn base(
        &mut self,
        mode: &At<AuthMode>,
        listen: &[At<SocketAddr>],
        public_url: Option<&Uri>,
        tls: bool,
    ) -> Option<String> {
        if let Some(url) = public_url {
            // Resource URIs are compared byte by byte, so the host is written in the one way all agree on.
            let (scheme, authority) = (url.scheme_str()?, url.authority()?);
            let origin = format!("{scheme}://{authority}").to_ascii_lowercase();
            return Some(format!("{origin}{}", url.path().trim_end_matches('/')));
        }
        let scheme = if tls { "https" } else { "http" };
        match listen {
            [only] if only.value.ip().is_loopback() && only.value.port() != 0 => {
                Some(format!("{scheme}://{}", only.value))
            }
            _ => {
                let hint = "tokens are made for a URL: say under which clients find this gateway, like public_url: https://gw.example";
                self.faults
                    .push(mode.fault("oauth needs `public_url`").hint(hint));
                None
            }
        }
    }

    fn issuer(&mut self, written: &raw::Issuer) -> Option<Issuer> {
        let named = written.issuer.as_ref()?;
        let url = match IssuerUrl::parse(&named.value) {
            Ok(url) => url,
            Err(_) => {
                if named.value.contains('@') {
                    self.faults.hide(&named.origin);
                }
                let hint = "write `iss` of its tokens: https, a host, no query, no fragment, no user; http on loopback only";
                self.faults
                    .push(named.fault("not the URL of an issuer").hint(hint));
                return None;
            }
        };
        let jwks_uri = written.jwks_uri.as_ref();
        if let Some(keys) = jwks_uri
            && !is_fetchable(&keys.value, named.value.starts_with("http://"))
        {
            if keys.value.contains('@') {
                self.faults.hide(&keys.origin);
            }
            let hint = "https, or http on loopback for an issuer on loopback; no user, no fragment";
            self.faults
                .push(keys.fault("not a URL keys are fetched from").hint(hint));
        }
        let tenant = written.tenant.as_ref();
        if let Some(tenant) = tenant
            && !is_tenant(&tenant.value)
        {
            let hint = "lower-case letters, digits, `-` and `_`, at most 64";
            let message = format!("not a tenant: `{}`", tenant.value);
            self.faults.push(tenant.fault(message).hint(hint));
        }
        Some(Issuer {
            url,
            audience: written.audience.clone(),
            jwks_uri: jwks_uri.map(|keys| keys.value.clone()),
            typ: written.typ,
            algorithms: written.algorithms.clone(),
            tenant: tenant.map(|tenant| tenant.value.clone()),
            roles_claim: written.roles_claim.clone(),
            groups_claim: written.groups_claim.clone(),
            ca: written.ca.as_ref().and_then(|path| self.file(path)),
            egress: self.egress.clone(),
        })
    }
}

fn is_tenant(name: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}
