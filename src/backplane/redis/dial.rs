//! Making the two connections to Redis: which endpoint, with or without TLS, and why it did not work.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

use super::shared::Shared;
use super::socket::{self, Socket, Trouble};

/// Makes connections.
pub(super) struct Dialer {
    shared: Arc<Shared>,
    tls: Option<Arc<ClientConfig>>,
}

/// Two connections to one endpoint.
pub(super) struct Pair {
    pub(super) endpoint: String,
    pub(super) commands: Socket,
    pub(super) subscriptions: Socket,
}

impl Dialer {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, Trouble> {
        let tls = shared.options.tls.as_ref().map(socket::tls_config).transpose()?;
        Ok(Self { shared, tls })
    }

    /// What the link's tasks share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tries the endpoints in turn.
    pub(super) async fn dial(&self) -> Result<Pair, Trouble> {
        let options = &self.shared.options;
        let mut troubles = Vec::new();
        let mut refused = false;
        for endpoint in &options.endpoints {
            let connect = || socket::connect(options, self.tls.as_ref(), endpoint);
            match tokio::try_join!(connect(), connect()) {
                Ok((commands, subscriptions)) => {
                    return Ok(Pair { endpoint: endpoint.to_string(), commands, subscriptions });
                }
                Err(trouble) => {
                    troubles.push(format!("{endpoint}: {trouble}"));
                    refused |= trouble.refused;
                }
            }
        }
        Err(Trouble { reason: troubles.join("; "), refused })
    }
}
