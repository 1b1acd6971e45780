//! Trust in one certificate: the one in a file, whatever its names, authority and dates.
//!
//! For a listener on the same machine, reached by its address: whoever may read the file knows which certificate it shows, and
//! that is more than an authority could vouch for. Its key is still proven by the handshake.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider, ring},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{certificate::read_certificates, connect::ConnectorError};

/// Accepts one certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

/// The TLS configuration of a client that trusts the first certificate of the file at `path` and no other.
pub(crate) fn client_config(path: &Path) -> Result<ClientConfig, ConnectorError> {
    let provider = Arc::new(ring::default_provider());
    // The file has one at least, or it is not read.
    let mut chain = read_certificates(path).map_err(ConnectorError::Roots)?;
    let pinned = Pinned {
        certificate: chain.swap_remove(0),
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectorError::Tls)?;
    let verified = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned));
    Ok(verified.with_no_client_auth())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            let message = "the listener shows another certificate than the one in the file";
            Err(Error::General(message.to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
