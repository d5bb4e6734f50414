//! Floor 7: one task a client: handshake, calls in flight, and everything that is written to it.

use std::sync::Arc;

use crate::close::{CloseReason, CloseSignal};
use crate::config::HubOptions;
use crate::delivery::Delivery;
use crate::frame::Framing;
use crate::hub::{Hub, RequestInfo};
use crate::ids::{ConnectionId, UserId};
use crate::metrics::HubMetrics;
use crate::outbox::Outbox;
use crate::wire::{Sink, Source};

/// A hub with everything its connections need.
pub struct HubHost {
    /// The application.
    pub hub: Arc<dyn Hub>,
    /// Its name in metrics and logs.
    pub name: String,
    /// Its sends.
    pub delivery: Arc<Delivery>,
    /// Its options.
    pub options: HubOptions,
    /// Who a connection's user is, asked once at the handshake.
    pub user_id: UserIdProvider,
    /// Its instruments.
    pub metrics: HubMetrics,
}

impl std::fmt::Debug for HubHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubHost").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Tells the user id of a connection from its HTTP request.
pub type UserIdProvider = Arc<dyn Fn(&RequestInfo) -> Option<UserId> + Send + Sync>;

/// One client as its transport knows it.
#[derive(Debug)]
pub struct Peer {
    /// Its public id.
    pub id: ConnectionId,
    /// The HTTP request it began with.
    pub request: Arc<RequestInfo>,
    /// Ends it from outside; the transport closes it on expiry, DELETE and drain.
    pub close: CloseSignal,
}

impl HubHost {
    /// An empty outbox with the hub's bounds, for a client whose transport frames like this. The transport keeps a
    /// clone where it must answer by itself (pongs).
    pub fn outbox(&self, framing: Framing) -> Arc<Outbox> {
        let encoding = crate::frame::Encoding { protocol: crate::protocol::Protocol::Json, framing };
        Arc::new(Outbox::new(encoding, self.options.outgoing_buffer_size, self.options.outgoing_buffer_messages))
    }
}

/// Serves one client from its handshake to its end. When it returns, the Close message (where one is due) has been
/// handed to `sink` and the hub has been told; what the transport has to say for farewell is the caller's.
pub async fn serve<S: Source, K: Sink>(
    _host: &HubHost,
    _peer: Peer,
    _outbox: Arc<Outbox>,
    _source: S,
    _sink: K,
) -> CloseReason {
    CloseReason::Aborted
}
