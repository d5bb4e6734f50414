//! Making the two connections to Redis: which endpoint, with or without TLS, and why it did not work.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

use super::shared::Shared;
use super::socket::{self, LinkError, RedisSocket};

/// Makes connections.
pub(super) struct Connector {
    shared: Arc<Shared>,
    tls: Option<Arc<ClientConfig>>,
}

/// Two connections to one endpoint.
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

    /// What the link's tasks share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tries the endpoints in turn.
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
