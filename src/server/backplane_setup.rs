//! Connects to the backplane that the configuration selects.

use std::sync::Arc;

use crate::backplane::{Backplane, BackplaneStartError, InboundReceiver, memory};
use crate::config::BackplaneConfig;
use crate::ids::{HubName, NodeId};
use crate::metrics::BackplaneMetrics;
use crate::protocol::Protocol;

/// The backplane of the configuration. Fails if the connection string is invalid, if Redis is unavailable and the
/// string contains `abortConnect=true`, or if this build does not include Redis.
pub(super) async fn connect(
    config: &BackplaneConfig,
    node: NodeId,
    hubs: Vec<(HubName, Vec<Protocol>)>,
    metrics: BackplaneMetrics,
) -> Result<(Arc<dyn Backplane>, InboundReceiver), BackplaneStartError> {
    match config {
        BackplaneConfig::Memory => Ok(memory::standalone()),
        #[cfg(feature = "redis")]
        BackplaneConfig::Redis { connection, channel_prefix } => {
            super::redis_setup::connect(connection, channel_prefix.as_ref(), node, hubs, metrics).await
        }
        #[cfg(not(feature = "redis"))]
        BackplaneConfig::Redis { .. } => {
            let _ = (node, hubs, metrics);
            Err(BackplaneStartError::FeatureMissing)
        }
    }
}
