//! Failed TLS handshakes, in words, and the way out of each.
//!
//! The library's words are those of its code (`CaUsedAsEndEntity`). Whoever makes a certificate for a server inside does it once a
//! year, with `openssl`, and needs to read what is wrong with it.

use std::io;

use rustls::{CertificateError, Error};

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct HandshakeError {
    problem: String,
    #[source]
    source: io::Error,
}

impl HandshakeError {
    /// Puts `source` into words; `host` is the name the certificate must be for.
    pub(crate) fn new(source: io::Error, host: &str) -> Self {
        let inner = source.get_ref();
        let problem = match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(wrong)) => certificate(wrong, host),
            Some(Error::AlertReceived(alert)) => {
                format!("the server ended the TLS handshake with the alert `{alert:?}`")
            }
            Some(_) | None => "the TLS handshake failed".to_owned(),
        };
        Self { problem, source }
    }
}

/// The flaw of a server's certificate.
fn certificate(wrong: &CertificateError, host: &str) -> String {
    use CertificateError as E;
    if matches!(wrong, E::UnknownIssuer) {
        return "no authority that is trusted here has signed the server's certificate: name the file of its authority in `tls.ca`"
            .to_owned();
    }
    if matches!(wrong, E::BadSignature) {
        return "the server's certificate was not signed by the authority of that name that is trusted here: has its authority a new key, and `tls.ca` the old file?"
            .to_owned();
    }
    if matches!(wrong, E::NotValidForName | E::NotValidForNameContext { .. }) {
        return format!(
            "the server's certificate is not for `{host}`: its subjectAltName has to name that (a common name alone does not count)"
        );
    }
    if matches!(wrong, E::Expired | E::ExpiredContext { .. }) {
        return "the server's certificate has expired".to_owned();
    }
    if matches!(wrong, E::NotValidYet | E::NotValidYetContext { .. }) {
        return "the server's certificate is not valid yet: is the clock of this machine right?"
            .to_owned();
    }
    // The library keeps these to itself but for their names.
    let name = format!("{wrong:?}");
    if name.contains("CaUsedAsEndEntity") {
        let kind = if host.parse::<std::net::IpAddr>().is_ok() {
            "IP"
        } else {
            "DNS"
        };
        return format!(
            "the server shows the certificate of an authority (`CA:TRUE`), as `openssl req -x509` makes it by default: make it again with `-addext basicConstraints=critical,CA:FALSE -addext subjectAltName={kind}:{host}` and name the new one in `tls.ca`"
        );
    }
    if name.contains("UnsupportedCertVersion") {
        return "the server's certificate is of version 1, as `openssl x509 -req` makes it without extensions: make it again with `-extfile` and a subjectAltName".to_owned();
    }
    "the server's certificate cannot be trusted".to_owned()
}
