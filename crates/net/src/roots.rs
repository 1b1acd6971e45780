//! Certificate authorities a client trusts, and the TLS configuration made of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::ResolvesClientCert,
    crypto::ring,
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::{
    certificate::{Certificate, read_certificates},
    connect::{ConnectorError, ConnectorSettings},
    pinned,
};

/// Time for which the system's certificate authorities count as read.
const ROOTS_AGE: Duration = Duration::from_secs(10);

/// The system's certificate authorities, shared by the clients of all servers: reading them takes milliseconds, which thousands
/// of servers would pay each. Read again after [`ROOTS_AGE`], for a reload.
fn native_roots() -> Arc<RootCertStore> {
    static ROOTS: Mutex<Option<(Instant, Arc<RootCertStore>)>> = Mutex::new(None);
    let mut held = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, roots)) = held.as_ref()
        && read.elapsed() < ROOTS_AGE
    {
        return Arc::clone(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "could not load some of the system's certificate authorities");
    }
    let mut roots = RootCertStore::empty();
    // The system's store is not ours to correct: what cannot be used is left out.
    roots.add_parsable_certificates(native.certs);
    let roots = Arc::new(roots);
    *held = Some((Instant::now(), Arc::clone(&roots)));
    roots
}

/// The authorities of the settings.
fn roots(native: bool, extra: &[PathBuf]) -> Result<Arc<RootCertStore>, ConnectorError> {
    let mut roots = if native {
        native_roots()
    } else {
        Arc::new(RootCertStore::empty())
    };
    for path in extra {
        for certificate in read_certificates(path).map_err(ConnectorError::Roots)? {
            let own = Arc::make_mut(&mut roots);
            own.add(certificate).map_err(ConnectorError::Tls)?;
        }
    }
    Ok(roots)
}

/// The TLS configuration of a client.
pub(crate) fn client_config(settings: &ConnectorSettings) -> Result<ClientConfig, ConnectorError> {
    let mut config = match &settings.pinned {
        Some(path) => pinned::client_config(path)?,
        None => by_authorities(settings)?,
    };
    config.alpn_protocols = settings.versions.alpn();
    Ok(config)
}

fn by_authorities(settings: &ConnectorSettings) -> Result<ClientConfig, ConnectorError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ConnectorError::Tls)?
        .with_root_certificates(roots(settings.native_roots, &settings.extra_roots)?);
    Ok(match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let shown = Certificate::read(files.clone()).map_err(ConnectorError::Identity)?;
            builder.with_client_cert_resolver(resolver(&shown.certified_key()))
        }
    })
}

fn resolver(shown: &CertifiedKey) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(shown.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_authorities_are_read_once_for_all_servers() {
        let (one, two) = (native_roots(), native_roots());
        assert!(Arc::ptr_eq(&one, &two));
        let missing = ["/nonexistent/ca.pem".into()];
        assert!(matches!(
            roots(true, &missing),
            Err(ConnectorError::Roots(_))
        ));
        assert_eq!(
            native_roots().len(),
            one.len(),
            "nobody's extra ones are kept"
        );
    }
}
