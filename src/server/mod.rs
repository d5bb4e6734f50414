//! Layer 9: a server from its configuration to its stop: build, serve, drain. Its requests come through a listener of
//! its own, or through the axum application of its host.
//!
//! | file | what is in it |
//! | --- | --- |
//! | this one | [`Server`] |
//! | `builder`, `build` | [`Builder`]: what a server consists of; the steps of `build` |
//! | `server_core`, `drain` | what router, listener and handles share, with its background tasks; the graceful stop |
//! | `handle` | [`ServerHandle`]: stops a server, and tells its state |
//! | `request_handler`, `router` | one request: who answers it, and what is put around the answer; the same as an axum router |
//! | `bound_server`, `listener` | [`BoundServer`]: a server with a listener; the listener and its HTTP connections |
//! | `backplane_setup`, `redis_setup` | the backplane of the configuration |
//! | `token_authenticator`, `jwks` | tokens by the rules of `[auth]`; the keys that somebody else publishes |
//! | `limited_body`, `tracked_body` | bounds of bodies; when one has come whole |
//! | `cors`, `paths`, `open_files` | other origins; which path is whose; open files |
//! | `blocked_origin_log` | what the log says of pages of other origins |
//! | `stop`, `serve_error` | [`Shutdown`] and [`Signals`], [`ServeError`] |

mod backplane_setup;
mod blocked_origin_log;
mod bound_server;
mod build;
mod builder;
mod cors;
mod drain;
mod handle;
mod jwks;
mod limited_body;
mod listener;
mod open_files;
mod paths;
#[cfg(feature = "redis")]
mod redis_setup;
mod request_handler;
mod router;
mod serve_error;
mod server_core;
mod stop;
mod token_authenticator;
mod tracked_body;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use bound_server::BoundServer;
pub use builder::Builder;
pub use handle::ServerHandle;
pub use serve_error::ServeError;
pub use stop::{Shutdown, Signals};

use self::request_handler::RequestHandler;
use self::server_core::ServerCore;
use crate::config::Config;
use crate::hub::HubContext;
use crate::metrics::Metrics;

/// A server that is ready to be served: by a listener of its own ([`Server::run`], [`Server::bind`]) or within the axum
/// application of its host ([`Server::into_router`]).
///
/// Its background tasks (what comes from other nodes, pings and timeouts, keys of `auth.jwks_url`) run from
/// [`Builder::build`] on, on the runtime that `build` was awaited on. When the server, its routers and its handles are
/// all dropped without [`ServerHandle::shutdown`], its connections are closed, and everything ends in the background
/// within `shutdown_timeout`.
#[derive(Debug)]
pub struct Server {
    /// `listen` and `request_timeout` of the configuration.
    listen: SocketAddr,
    request_timeout: Duration,
    handler: Arc<RequestHandler>,
    core: Arc<ServerCore>,
}

impl Server {
    /// Begins to put a server together.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// A handle that stops the server gracefully, and tells its readiness and metrics while it runs.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(self.core.clone())
    }

    /// The context of the hub at a path, which sends to its clients from outside of its methods. None: there is no hub
    /// at that path.
    pub fn hub_context(&self, path: &str) -> Option<HubContext> {
        self.core.hub_context(path)
    }

    /// The numbers it tells at `/metrics`.
    pub fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// The paths of its hubs, with their names.
    pub fn hubs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.core.hubs.iter().map(|hub| (hub.path.as_str(), hub.host.name.as_str()))
    }
}

// === with a listener of its own ===

impl Server {
    /// Binds `listen` of the configuration; fails where that cannot be listened on. Raises the soft limit of open files
    /// to the hard one.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn bind(self) -> Result<BoundServer, ServeError> {
        open_files::raise_open_files();
        let listener = listener::listen(self.listen, self.tcp_user_timeout())?;
        let address = listener.local_addr().unwrap_or(self.listen);
        Ok(BoundServer { server: self, listener, address })
    }

    /// How long a socket may take nothing of what is sent to it: no shorter than any bound of a hub's own, which tell
    /// why they close.
    fn tcp_user_timeout(&self) -> Duration {
        let options = self.core.hubs.iter().map(|hub| &hub.host.options);
        let bounds = options.flat_map(|hub| [hub.client_timeout_interval, hub.transport_send_timeout]);
        bounds.max().unwrap_or_default().max(self.request_timeout)
    }

    /// Binds and runs until `shutdown` has ended and all clients have been sent away, or `shutdown_timeout` is over.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.bind()?.run(shutdown).await
    }

    /// As [`BoundServer::run_until_signal`], and binds first.
    pub async fn run_until_signal(self) -> Result<(), ServeError> {
        self.bind()?.run_until_signal().await
    }
}

#[cfg(test)]
mod tests;
