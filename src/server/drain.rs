//! The graceful stop of a server (docs/design.md#4, "Stopping"): it reports draining, accepts no more clients, closes
//! the connections that it has, and leaves the backplane.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::server_core::{SWEEP_INTERVAL, ServerCore};
use crate::backplane::Backplane;
use crate::close::CloseReason;
use crate::connection::HubHost;
use crate::phase::Phase;
use crate::transport::Endpoints;

/// The pause between two batches of connections that are closed, since all of these clients reconnect to other nodes.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);
/// How long a request that has not arrived completely may delay the stop. It is short, because clients usually send a
/// request all at once.
pub(super) const UNFINISHED_TIMEOUT: Duration = Duration::from_secs(1);

impl ServerCore {
    /// Stops the server once; further calls wait for the same stop. If the future is dropped, it can be called again.
    pub(super) async fn stop(&self, deadline: Instant) {
        self.stopped.get_or_init(|| self.drain(deadline)).await;
    }

    async fn drain(&self, deadline: Instant) {
        self.phase.advance(Phase::Draining);
        tracing::info!(clients = self.endpoints.connections(), "stopping");
        sleep_until((Instant::now() + self.drain_delay).min(deadline)).await;

        self.phase.advance(Phase::Closing);
        self.served().end(deadline).await;
        self.background.abort();
    }

    pub(super) fn served(&self) -> ServerResources {
        ServerResources {
            endpoints: self.endpoints.clone(),
            hubs: self.hubs.iter().map(|hub| hub.host.clone()).collect(),
            backplane: self.backplane.clone(),
        }
    }
}

/// What has to end when a server stops.
pub(super) struct ServerResources {
    endpoints: Arc<Endpoints>,
    hubs: Vec<Arc<HubHost>>,
    backplane: Arc<dyn Backplane>,
}

impl ServerResources {
    /// Ends all connections and calls, then the backplane.
    pub(super) async fn end(self, deadline: Instant) {
        let gone = async {
            self.close_connections(deadline).await;
            for hub in &self.hubs {
                hub.tasks.close();
                hub.tasks.wait().await;
            }
        };
        if timeout_at(deadline, gone).await.is_err() {
            tracing::warn!(clients = self.endpoints.connections(), "clients did not end within shutdown_timeout");
        }
        if timeout_at(deadline, self.backplane.close()).await.is_err() {
            tracing::warn!("the backplane did not close within shutdown_timeout");
        }
    }

    /// Closes all connections, in batches, and waits until they have ended.
    async fn close_connections(&self, deadline: Instant) {
        self.endpoints.drain();
        // There are a hundred batches at most, so that closing any number of connections takes 5 s at most.
        let batch = (self.endpoints.connections() / 100).max(100);
        let left = deadline.saturating_duration_since(Instant::now());
        self.endpoints.close_all(CloseReason::Draining, batch, BATCH_INTERVAL.min(left / 200)).await;
        let closed = self.endpoints.closed();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                () = &mut closed => return,
                // Connections that were being accepted when draining began were not in any batch.
                () = sleep(SWEEP_INTERVAL) => self.endpoints.close_now(&CloseReason::Draining),
            }
        }
    }
}
