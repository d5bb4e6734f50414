//! Layer 0: client-side TLS with the system's root certificates, for connections to Redis and for fetching key sets.

use std::sync::Arc;

use rustls_native_certs::CertificateResult;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, SupportedProtocolVersion};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// No trusted root certificate was found.
    #[error("no root certificate of this system could be read: {0}")]
    NoRoots(String),
    /// The TLS versions are not supported.
    #[error("{0}")]
    Versions(#[from] rustls::Error),
}

/// Makes a configuration that trusts the root certificates of this system. They are read on every call, since they may
/// change while the process runs.
pub(crate) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let CertificateResult { certs, errors, .. } = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(certs);
    if roots.is_empty() {
        let reason = errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(reason));
    }
    // An explicit provider: the process-wide default belongs to the host.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
