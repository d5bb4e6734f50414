//! Joins the process to the other nodes, as the configuration says.

use std::sync::Arc;

use super::serve_error::ServeError;
use crate::backplane::{Backplane, InboundReceiver, memory};
use crate::config::BackplaneConfig;
use crate::ids::{HubName, NodeId};
use crate::metrics::BackplaneMetrics;
use crate::protocol::Protocol;

/// The backplane of the configuration. Fails where it must not begin: a connection string that cannot be used,
/// `abortConnect=true` and no Redis, or Redis in a build without it.
pub(super) async fn connect(
    config: &BackplaneConfig,
    node: NodeId,
    hubs: Vec<(HubName, Vec<Protocol>)>,
    metrics: BackplaneMetrics,
) -> Result<(Arc<dyn Backplane>, InboundReceiver), ServeError> {
    match config {
        BackplaneConfig::Memory => Ok(memory::standalone()),
        #[cfg(feature = "redis")]
        BackplaneConfig::Redis { connection, channel_prefix } => {
            super::redis_setup::connect(connection, channel_prefix.as_ref(), node, hubs, metrics).await
        }
        #[cfg(not(feature = "redis"))]
        BackplaneConfig::Redis { .. } => {
            let _ = (node, hubs, metrics);
            Err(ServeError::Backplane("Redis is configured, but this build is without the feature `redis`".to_owned()))
        }
    }
}
