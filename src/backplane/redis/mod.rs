//! A backplane over Redis that is wire-compatible with ASP.NET Core's Redis backplane
//! (docs/builders/redis-backplane.md; docs/design.md#7).
//!
//! | file | contents |
//! | --- | --- |
//! | [`channels`] | names of channels |
//! | [`envelope_codec`], `envelope_msgpack` | encoding and decoding of envelopes; the MessagePack reader for them |
//! | [`redis_options`], `connection_string`, `connection_url` | connection options; parsers for their two notations |
//! | `resp`, `socket` | Redis's own protocol; opening a connection and logging in |
//! | `subscriptions` | which channels are wanted and which are confirmed |
//! | `publish_queue` | commands to send, callers that wait for the answers, echoes that are due |
//! | `shared` | the state of the two above, behind one lock |
//! | `connector`, `connection_pair`, `link` | opening the two connections; reading and writing on them; reconnecting |
//! | `link_keep_alive` | detects a Redis that no longer answers |

pub(crate) mod channels;
pub(crate) mod envelope_codec;
pub(crate) mod redis_options;

mod connection_pair;
mod connection_string;
mod connection_url;
mod connector;
mod envelope_msgpack;
mod link;
mod link_keep_alive;
mod publish_queue;
mod resp;
mod shared;
mod socket;
mod subscriptions;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub(crate) use redis_options::{RedisOptions, check_connection};

use super::{
    Backplane, BackplaneError, BackplaneStartError, Envelope, InboundEnvelope, InboundReceiver, LinkState, Topic,
};
use crate::ids::{HubName, NodeId};
use crate::metrics::BackplaneMetrics;
use crate::protocol::Protocol;
use connector::Connector;
use shared::Shared;

/// How many envelopes may wait for this node's delivery. When the queue is full the reader waits, and Redis buffers.
const INBOUND_CAPACITY: usize = 4096;

/// How long closing may wait for answers from Redis.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The link of this process to Redis: one pair of connections, shared by all hubs.
///
/// Publishing an [`Envelope::Message`] on a topic to which this node itself has subscribed completes when Redis has
/// answered and the node's own echo has arrived, so that success also shows that the subscription connection works. The
/// task that drains the inbound envelopes must therefore not wait for such a publish.
#[derive(Debug)]
pub(crate) struct RedisBackplane {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl RedisBackplane {
    /// Like [`RedisBackplane::connect_with_metrics`], but without metrics.
    #[cfg(test)]
    pub(crate) async fn connect(
        options: RedisOptions,
        node: NodeId,
        hubs: Vec<(HubName, Vec<Protocol>)>,
    ) -> Result<(Arc<dyn Backplane>, InboundReceiver), BackplaneStartError> {
        Self::connect_with_metrics(options, node, hubs, BackplaneMetrics::default()).await
    }

    /// Joins the farm as `node`. `hubs` lists every hub with the protocols that its clients may use; each message is
    /// published in all of them. `metrics` counts the envelopes that arrive.
    ///
    /// Returns immediately, in the state [`LinkState::Connecting`], unless `abort_connect` is set: then it returns once
    /// Redis has been reached.
    ///
    /// # Errors
    ///
    /// Fails if TLS cannot be set up, or, with `abort_connect`, if Redis cannot be reached in `connect_retry` attempts.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime, which is needed to run the link.
    pub(crate) async fn connect_with_metrics(
        options: RedisOptions,
        node: NodeId,
        hubs: Vec<(HubName, Vec<Protocol>)>,
        metrics: BackplaneMetrics,
    ) -> Result<(Arc<dyn Backplane>, InboundReceiver), BackplaneStartError> {
        let shared = Shared::new(options, node, hubs, metrics);
        let connector =
            Connector::new(shared.clone()).map_err(|link_error| BackplaneStartError::Tls(link_error.reason))?;
        let mut first = None;
        if shared.options.abort_connect {
            let mut attempts = shared.options.connect_retry;
            loop {
                attempts = attempts.saturating_sub(1);
                match connector.connect().await {
                    Ok(pair) => break first = Some(pair),
                    Err(link_error) if attempts == 0 => {
                        return Err(BackplaneStartError::Unreachable(link_error.reason));
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
        }
        let (inbound, receiver) = mpsc::channel::<InboundEnvelope>(INBOUND_CAPACITY);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(link::maintain(connector, first, inbound, stopped));
        Ok((Arc::new(Self { shared, stop, task: Mutex::new(Some(task)) }), receiver))
    }

    fn take_task(&self) -> Option<JoinHandle<()>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Backplane for RedisBackplane {
    fn echoes(&self) -> bool {
        true
    }

    fn publish(&self, topic: Topic, envelope: Envelope) -> BoxFuture<'static, Result<u64, BackplaneError>> {
        match self.shared.publish(&topic, envelope) {
            Ok(answer) => answer
                .map(|answer| answer.unwrap_or_else(|_| Err(BackplaneError::Lost("the link has ended".to_owned()))))
                .boxed(),
            Err(error) => future::ready(Err(error)).boxed(),
        }
    }

    fn subscribe(&self, topics: Vec<Topic>) -> BoxFuture<'static, ()> {
        // Each channel that is not confirmed yet holds one of its tokens.
        let confirmed = TaskTracker::new();
        self.shared.subscribe(&topics, &confirmed);
        confirmed.close();
        async move { confirmed.wait().await }.boxed()
    }

    fn unsubscribe(&self, topics: Vec<Topic>) {
        self.shared.unsubscribe(&topics);
    }

    fn link(&self) -> watch::Receiver<LinkState> {
        self.shared.link.subscribe()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let task = self.take_task();
        let shared = self.shared.clone();
        let stop = self.stop.clone();
        async move {
            let Some(task) = task else { return };
            let was_up = {
                let mut state = shared.lock();
                let was_up = state.down.is_none();
                state.down = Some("this node is stopping".to_owned());
                was_up
            };
            if was_up {
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, finish_and_unsubscribe(&shared)).await;
            }
            stop.send_replace(true);
            let _ = task.await;
        }
        .boxed()
    }
}

/// Waits until every publish has completed, then unsubscribes from all channels.
async fn finish_and_unsubscribe(shared: &Shared) {
    shared.until(|state| state.publish_queue.is_idle()).await;
    shared.lock().subscriptions.remove_all();
    shared.subscriptions_ready.notify_one();
    shared.until(|state| state.subscriptions.is_idle()).await;
}

impl Drop for RedisBackplane {
    fn drop(&mut self) {
        if let Some(task) = self.take_task() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
