//! Connects to the Redis backplane, and counts publishes for the metrics.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::backplane::redis::{RedisBackplane, RedisOptions};
use crate::backplane::{Backplane, BackplaneError, BackplaneStartError, Envelope, InboundReceiver, LinkState, Topic};
use crate::ids::{HubName, NodeId};
use crate::metrics::BackplaneMetrics;
use crate::protocol::Protocol;

/// The Redis backplane with this connection string. Fails if the string is invalid, or if it contains
/// `abortConnect=true` and Redis is unavailable.
pub(super) async fn connect(
    connection: &str,
    channel_prefix: Option<&String>,
    node: NodeId,
    hubs: Vec<(HubName, Vec<Protocol>)>,
    metrics: BackplaneMetrics,
) -> Result<(Arc<dyn Backplane>, InboundReceiver), BackplaneStartError> {
    let mut options = RedisOptions::parse(connection)?;
    if let Some(prefix) = channel_prefix {
        options.channel_prefix.clone_from(prefix);
    }
    for note in &options.notes {
        tracing::warn!("backplane.connection: {note}");
    }
    let (inner, inbound) = RedisBackplane::connect_with_metrics(options, node, hubs, metrics.clone()).await?;
    Ok((Arc::new(MeteredBackplane { inner, metrics }), inbound))
}

/// A backplane that counts its publishes.
#[derive(Debug)]
struct MeteredBackplane {
    inner: Arc<dyn Backplane>,
    metrics: BackplaneMetrics,
}

impl Backplane for MeteredBackplane {
    fn echoes(&self) -> bool {
        self.inner.echoes()
    }

    fn publish(&self, topic: Topic, envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>> {
        // Called here and not when the future is polled, because the order of calls is the order of messages.
        let published = self.inner.publish(topic, envelope);
        let metrics = self.metrics.clone();
        published.inspect(move |result| metrics.published(result.is_ok())).boxed()
    }

    fn subscribe(&self, topics: Vec<Topic>) -> BoxFuture<'static, ()> {
        self.inner.subscribe(topics)
    }

    fn unsubscribe(&self, topics: Vec<Topic>) {
        self.inner.unsubscribe(topics);
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.inner.link()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
