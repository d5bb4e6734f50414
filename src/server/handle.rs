//! [`ServerHandle`]: stops a server and reports its state.

use std::sync::Arc;

use tokio::time::Instant;

use super::server_core::ServerCore;
use crate::hub::HubContext;
use crate::metrics::Metrics;
use crate::phase::Phase;

/// Stops a server gracefully, and reports its readiness and metrics. Cheap to clone.
///
/// The server exists as long as its router (or a clone of it) or one of its handles. Therefore a hub must not keep a
/// handle of its own server; it can keep a [`HubContext`].
#[derive(Clone, Debug)]
pub struct ServerHandle(pub(super) Arc<ServerCore>);

impl ServerHandle {
    /// Stops the server gracefully, and returns when it has stopped:
    ///
    /// 1. `/readyz` reports `draining` for `drain_delay`, while everything else continues;
    /// 2. negotiate and new connections are answered with 503;
    /// 3. every client gets a close message with `allowReconnect`, in batches, then its transport ends; calls that are
    ///    still running are waited for;
    /// 4. the server leaves the backplane, and its background tasks end.
    ///
    /// All of this takes `shutdown_timeout` at most. Further calls wait for the same stop. If it is awaited within
    /// `with_graceful_shutdown` of `axum::serve`, the listener closes last, and health pages are served until then.
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

    /// Waits until the server is ready for the first time, that is until its hubs have subscribed to the channels of
    /// the backplane. If the backplane is unavailable, the server becomes ready without it and subscribes when it is
    /// back.
    ///
    /// Clients are served earlier, but may miss messages of other nodes until then.
    pub async fn ready(&self) {
        self.0.phase.reached(Phase::Ready).await;
    }

    /// The reasons why the server is not ready now, as `/readyz` reports them; empty when it is ready.
    pub fn not_ready(&self) -> Vec<&'static str> {
        self.0.readiness.reasons()
    }

    /// Waits until a background task of the server has panicked, which is a bug in Hubplane, and returns the name of
    /// the task. The server does not work completely any longer and should be stopped. A running [`super::BoundServer`]
    /// stops by itself.
    pub async fn failed(&self) -> &'static str {
        self.0.background.failed().await
    }

    /// The number of connected clients. Clients that have only negotiated are not included.
    pub fn connections(&self) -> usize {
        self.0.endpoints.connections()
    }

    /// The metrics that `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The context of the hub at a path, which sends to the hub's clients from outside of its methods. `None` if there
    /// is no hub at that path.
    pub fn hub_context(&self, path: &str) -> Option<HubContext> {
        self.0.hub_context(path)
    }
}
