//! The orderly end of a server (design.md section 4, "Stopping"): it says so, closes its door, sends its clients away,
//! and leaves the backplane.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::core::{Core, HEARTBEAT};
use crate::close::CloseReason;
use crate::phase::Phase;

/// How much time lies between two batches of clients that are sent away: they will all come back to the other nodes.
const PACE: Duration = Duration::from_millis(50);
/// How long a request that has not come whole may hold up the end. Clients finish theirs in one go.
pub(super) const UNFINISHED_TIMEOUT: Duration = Duration::from_secs(1);

impl Core {
    /// Stops, once: whoever calls it again waits for the same end. Dropped half-way it can be called again.
    pub(super) async fn stop(&self, deadline: Instant) {
        self.stopped.get_or_init(|| self.drain(deadline)).await;
    }

    async fn drain(&self, deadline: Instant) {
        self.phase.advance(Phase::Draining);
        tracing::info!(clients = self.transports.connections(), "stopping");
        sleep_until((Instant::now() + self.drain_delay).min(deadline)).await;

        self.phase.advance(Phase::Closing);
        let gone = async {
            self.send_away(deadline).await;
            for hub in &self.hubs {
                hub.host.tasks.close();
                hub.host.tasks.wait().await;
            }
        };
        if timeout_at(deadline, gone).await.is_err() {
            tracing::warn!(clients = self.transports.connections(), "clients did not end within shutdown_timeout");
        }
        if timeout_at(deadline, self.backplane.close()).await.is_err() {
            tracing::warn!("the backplane did not close within shutdown_timeout");
        }
        self.background.abort();
    }

    /// Ends every client's connection, in batches, and waits for their farewells.
    async fn send_away(&self, deadline: Instant) {
        self.transports.drain();
        // A hundred batches at most, so that however many there are, asking them takes 5 s at most.
        let batch = (self.transports.connections() / 100).max(100);
        let left = deadline.saturating_duration_since(Instant::now());
        self.transports.close_all(CloseReason::Draining, batch, PACE.min(left / 200)).await;
        let closed = self.transports.closed();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                () = &mut closed => return,
                // Some were being let in when the door closed, and were not asked.
                () = sleep(HEARTBEAT) => self.transports.close_now(&CloseReason::Draining),
            }
        }
    }
}
