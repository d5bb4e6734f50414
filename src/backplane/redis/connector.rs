//! Opens the two connections of the link to the first Redis endpoint that accepts them.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

use super::shared::Shared;
use super::socket::{self, LinkError, RedisSocket};

/// Opens pairs of connections.
pub(super) struct Connector {
    shared: Arc<Shared>,
    tls: Option<Arc<ClientConfig>>,
}

/// Two connections to the same endpoint, one for commands and one for subscriptions.
pub(super) struct ConnectionPair {
    pub(super) endpoint: String,
    pub(super) commands: RedisSocket,
    pub(super) subscriptions: RedisSocket,
}

impl Connector {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, LinkError> {
        let tls = shared.options.tls.as_ref().map(socket::tls_config).transpose()?;
        Ok(Self { shared, tls })
    }

    /// The state that callers and the link task share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tries the endpoints in turn. If none works, the error names each endpoint with its reason.
    pub(super) async fn connect(&self) -> Result<ConnectionPair, LinkError> {
        let options = &self.shared.options;
        let mut errors = Vec::new();
        let mut refused = false;
        for endpoint in &options.endpoints {
            let connect = || socket::connect(options, self.tls.as_ref(), endpoint);
            match tokio::try_join!(connect(), connect()) {
                Ok((commands, subscriptions)) => {
                    return Ok(ConnectionPair { endpoint: endpoint.to_string(), commands, subscriptions });
                }
                Err(link_error) => {
                    errors.push(format!("{endpoint}: {link_error}"));
                    refused |= link_error.refused;
                }
            }
        }
        Err(LinkError { reason: errors.join("; "), refused })
    }
}
