//! The operators' listener: its address, the origin of its console, and the names it is called.

use std::net::SocketAddr;

use keepgate_approval::ConsoleUrl;
use keepgate_net::is_loopback;

use super::Resolver;
use crate::config::decode::At;
use crate::config::fault::Origin;
use crate::config::{Admin, raw};

impl Resolver<'_> {
    /// The operators' listener.
    pub(super) fn admin(&mut self, admin: &raw::Admin, data: &[At<SocketAddr>]) -> Option<Admin> {
        let public_url = self.console_url(admin);
        let tls = admin.tls.as_ref().and_then(|tls| self.tls(tls));
        let hosts = admin.hosts.iter();
        let hosts = hosts.filter_map(|host| self.host(host)).collect();
        let listen = self.address(&admin.listen)?;
        if listen.value.port() != 0
            && let Some(clash) = data.iter().find(|address| address.value == listen.value)
        {
            let message = format!(
                "admin.listen and listen are the same address: `{}`",
                clash.value
            );
            // Reported at the one that is written down.
            let written = if listen.origin == Origin::Whole {
                clash
            } else {
                &listen
            };
            self.faults.push(written.fault(message));
        }
        if !listen.value.ip().is_loopback() && admin.tls.is_none() {
            self.warnings.push(format!(
                "admin.listen is {}, reachable from other machines without TLS: anybody on the way can read the admin token",
                listen.value
            ));
        }
        Some(Admin {
            listen: listen.value,
            public_url,
            tls,
            hosts,
        })
    }

    /// `admin.public_url`: an origin of its own, since cookies and passkeys are bound to it, and https, since
    /// browsers want that for both. A URL of this machine may be http: there is no way on which to listen in.
    fn console_url(&mut self, admin: &raw::Admin) -> Option<ConsoleUrl> {
        let text = admin.public_url.as_ref()?;
        let url = self.url(text)?;
        let is_origin = matches!(url.path(), "" | "/") && url.query().is_none();
        let is_here = url.host().is_some_and(is_loopback);
        let wrong = if !is_origin {
            let hint =
                "give the console a host name of its own, like https://keepgate-console.example";
            Some(("scheme, host and port only", hint))
        } else if url.scheme_str() != Some("https") && !is_here {
            let hint = "write https; http is for 127.0.0.1, [::1] and localhost";
            Some(("not an https URL", hint))
        } else if url.scheme_str() != Some("https") && admin.tls.is_some() {
            Some(("`admin.tls` makes the listener https", "write https"))
        } else {
            None
        };
        if let Some((message, hint)) = wrong {
            let message = format!("{message}: `{}`", text.value);
            self.faults.push(text.fault(message).hint(hint));
            return None;
        }
        let authority = url.authority().map(|it| it.as_str().to_ascii_lowercase())?;
        let scheme = url.scheme_str().unwrap_or_default();
        Some(ConsoleUrl::new(&format!("{scheme}://{authority}")))
    }
}
