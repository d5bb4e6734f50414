//! [`HubHost`]: a hub on this node, with everything that its connections need.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::backplane::Backplane;
use crate::close::{CloseReason, CloseSignal};
use crate::config::HubOptions;
use crate::delivery::Delivery;
use crate::hub::{Hub, HubRoute, RequestInfo};
use crate::ids::{HubName, NodeId, UserId};
use crate::keep_alive::KeepAliveAction;
use crate::metrics::HubMetrics;
use crate::outbox::Outbox;
use crate::outgoing::{self, Encoding, Framing, OutgoingMessage};
use crate::protocol::{HubMessage, Protocol};
use crate::registry::Member;

/// A hub on this node, with everything that its connections need.
#[derive(Clone)]
pub(crate) struct HubHost {
    /// The application's hub.
    pub hub: Arc<dyn Hub>,
    /// Its name in metrics and logs.
    pub name: String,
    /// Sends to its clients, on this node and on others.
    pub delivery: Arc<Delivery>,
    /// Its options.
    pub options: HubOptions,
    /// Determines the user of a connection, once, after the handshake.
    pub user_id: UserIdProvider,
    /// Its metrics.
    pub metrics: HubMetrics,
    /// Work that outlives its connection: calls that still run, and the hub's `disconnected`. A stopping server waits
    /// for it.
    pub tasks: TaskTracker,
}

/// Determines the user id of a connection from its HTTP request.
pub(crate) type UserIdProvider = Arc<dyn Fn(&RequestInfo) -> Option<UserId> + Send + Sync>;

impl HubHost {
    /// The hub of `route` on this node, served with `options`.
    pub(crate) fn new(
        route: &HubRoute,
        options: HubOptions,
        user_id: UserIdProvider,
        node: NodeId,
        backplane: Arc<dyn Backplane>,
        metrics: HubMetrics,
    ) -> Self {
        let name = HubName::from(route.hub_backplane_name());
        Self {
            hub: route.hub.clone(),
            name: route.hub_name().to_owned(),
            delivery: Arc::new(
                Delivery::new(name, node, options.protocols.clone(), backplane, metrics.clone())
                    .with_max_groups(options.maximum_groups_per_client),
            ),
            options,
            user_id,
            metrics,
            tasks: TaskTracker::new(),
        }
    }

    /// Creates an empty outbox with the hub's bounds for a client whose transport uses `framing`; overflowing it closes
    /// the connection through `close`. A transport that answers by itself (pongs) keeps a clone.
    pub(crate) fn outbox(&self, framing: Framing, close: &CloseSignal) -> Arc<Outbox> {
        let encoding = Encoding { protocol: Protocol::Json, framing };
        let HubOptions { outgoing_buffer_size, outgoing_buffer_messages, .. } = self.options;
        Arc::new(Outbox::new(encoding, outgoing_buffer_size, outgoing_buffer_messages, close.clone()))
    }

    /// Must be called once a second. Pings the clients that are due, sends due Acks (stateful reconnect), and closes
    /// connections that have been silent or without a socket for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        let (keep_alive, timeout) = (self.options.keep_alive_interval, self.options.client_timeout_interval);
        for member in self.delivery.registry().all().iter() {
            self.acknowledge(member, now);
            match member.keep_alive.check(now, keep_alive, timeout) {
                KeepAliveAction::Nothing => {}
                KeepAliveAction::Ping => {
                    self.delivery.push(member, &outgoing::ping());
                }
                KeepAliveAction::ClientTimeout => member.close.close(CloseReason::ClientTimeout),
            }
        }
    }
}

impl HubHost {
    /// Sends a due Ack, or closes a connection that has been without a socket for too long. Does nothing for a
    /// connection without stateful reconnect.
    fn acknowledge(&self, member: &Member, now: Instant) {
        let Some(receive_tracker) = &member.receive_tracker else { return };
        match member.outbox.detached_since() {
            Some(since) if now.saturating_duration_since(since) >= self.options.disconnect_timeout => {
                member.close.close(CloseReason::Abandoned);
            }
            Some(_) => {}
            None => {
                if let Some(sequence_id) = receive_tracker.take_due_ack() {
                    member.push(&OutgoingMessage::new(HubMessage::Ack { sequence_id }));
                }
            }
        }
    }
}

impl fmt::Debug for HubHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubHost").field("name", &self.name).finish_non_exhaustive()
    }
}
