//! Layer 0: TLS as a client, towards servers whose certificates this system trusts: Redis, and who publishes keys.

use std::sync::Arc;

use rustls_native_certs::CertificateResult;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, SupportedProtocolVersion};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// There is no certificate to trust.
    #[error("no root certificate of this system could be read: {0}")]
    NoRoots(String),
    /// The versions cannot be used.
    #[error("{0}")]
    Versions(#[from] rustls::Error),
}

/// Trusts the root certificates of this system. They are read anew each time, since they change too.
pub(crate) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let CertificateResult { certs, errors, .. } = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(certs);
    if roots.is_empty() {
        let reason = errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(reason));
    }
    // Named, not the process-wide one, which belongs to the host.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
