//! What a host holds of a server that runs inside its own application: [`ServerHandle`].

use std::sync::Arc;

use tokio::time::Instant;

use super::core::Core;
use crate::hub::HubContext;
use crate::metrics::Metrics;
use crate::phase::Phase;

/// A server that may be running: for stopping it in good order, for its readiness and its numbers. Cheap to clone.
///
/// The server lives as long as its router, a clone of that, or one of its handles does; so a hub must not keep a handle
/// of its own server. It keeps a [`HubContext`].
#[derive(Clone, Debug)]
pub struct ServerHandle(pub(super) Arc<Core>);

impl ServerHandle {
    /// Stops the server in good order, and returns when it has stopped:
    ///
    /// 1. `/readyz` says `draining` for `drain_delay`, while everything else goes on;
    /// 2. negotiate and new connections get 503;
    /// 3. every client gets Close with `allowReconnect`, in batches, and its transport is ended; calls that still run
    ///    are waited for;
    /// 4. the backplane is left, and the background tasks end.
    ///
    /// All of it takes `shutdown_timeout` at most. Called again, it waits for the same end. Given to
    /// `with_graceful_shutdown` of `axum::serve`, the listener closes last, as it should: health pages go on until then.
    ///
    /// ```no_run
    /// # async fn run(listener: tokio::net::TcpListener, server: hubplane::server::Server, signal: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    /// let handle = server.handle();
    /// let app = axum::Router::new().nest("/realtime", server.into_router());
    /// let stop = async move {
    ///     signal.await;
    ///     handle.shutdown().await;
    /// };
    /// axum::serve(listener, app).with_graceful_shutdown(stop).await
    /// # }
    /// ```
    pub async fn shutdown(&self) {
        self.0.stop(Instant::now() + self.0.shutdown_timeout).await;
        tracing::info!("stopped");
    }

    /// Waits until the server is ready for the first time: its hubs hear the other nodes, or the backplane is away and
    /// they will. Before that clients are served, but may miss what other nodes send.
    pub async fn ready(&self) {
        self.0.phase.reached(Phase::Ready).await;
    }

    /// Why the server is not ready now, as `/readyz` says it; empty when it is.
    pub fn not_ready(&self) -> Vec<&'static str> {
        self.0.readiness.reasons()
    }

    /// Waits until a background task of the server has broken, which is a bug in Hubplane; gives its name. The server
    /// is then half dead and should be stopped: a [`super::Bound`] that runs does so by itself.
    pub async fn failed(&self) -> &'static str {
        self.0.background.failed().await
    }

    /// How many clients are connected; those that have only negotiated are left out.
    pub fn connections(&self) -> usize {
        self.0.transports.connections()
    }

    /// The numbers that `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Sends to the clients of a hub from outside of its methods, by the hub's path. None: no hub is there.
    pub fn hub_context(&self, path: &str) -> Option<HubContext> {
        self.0.hub_context(path)
    }
}
