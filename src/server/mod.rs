//! Layer 9: building, running and stopping a server.
//!
//! [`Server::builder`] takes a configuration and the host's hubs. The built [`Server`] runs with a listener of its own
//! ([`Server::run`]), or becomes a router of the host's axum application ([`Server::into_router`]). A [`ServerHandle`]
//! stops it and reports its state.
//!
//! # Source files
//!
//! | file | contents |
//! | --- | --- |
//! | this one | [`Server`] |
//! | `builder`, `build` | [`Builder`]: the parts of a server; the steps of `build` |
//! | `server_core`, `drain` | what router, listener and handles share, with the background tasks; the graceful stop |
//! | `handle` | [`ServerHandle`]: stops a server and reports its state |
//! | `request_handler`, `router` | handling of one request; the server as an axum router |
//! | `bound_server`, `listener` | [`BoundServer`]: a server with a listener; the listener and its HTTP connections |
//! | `backplane_setup`, `redis_setup` | connecting to the configured backplane |
//! | `token_authenticator`, `jwks` | authentication by access tokens; fetching the published keys |
//! | `limited_body`, `tracked_body` | limits for request bodies; noticing the end of a body |
//! | `cors`, `blocked_origin_log` | rules for pages of other origins; log lines about pages that were refused |
//! | `paths`, `open_files` | the paths in use; the limit of open files |
//! | `stop`, `serve_error` | [`Shutdown`] and [`Signals`]; [`ServeError`] |

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

pub use crate::backplane::BackplaneStartError;
pub use crate::hub_path::HubPathError;
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

/// A server that has been built and does not accept connections yet. Run it with a listener of its own
/// ([`Server::run`], [`Server::bind`]) or within the axum application of its host ([`Server::into_router`]).
///
/// ```no_run
/// use hubplane::config::Config;
/// use hubplane::hub::{HubRoute, Methods};
/// use hubplane::server::{ServeError, Server};
///
/// # async fn run() -> Result<(), ServeError> {
/// let hub = Methods::new().method("Add", |a: i64, b: i64| async move { Ok(a.wrapping_add(b)) });
/// let server = Server::builder(Config::default()).hub(HubRoute::new("/calculator", hub)).build().await?;
/// server.run_until_signal().await
/// # }
/// ```
///
/// Its background tasks receive messages of other nodes, send pings, check timeouts, and fetch the keys of
/// `auth.jwks_url`. They run from [`Builder::build`] on, on the runtime on which `build` was awaited.
///
/// If the server, its routers and its handles are all dropped without [`ServerHandle::shutdown`], its connections are
/// closed, and everything ends in the background within `shutdown_timeout`.
#[derive(Debug)]
pub struct Server {
    /// `listen` of the configuration.
    listen: SocketAddr,
    request_timeout: Duration,
    handler: Arc<RequestHandler>,
    core: Arc<ServerCore>,
}

impl Server {
    /// Starts to build a server from a configuration.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// A handle that can stop the server gracefully, and reports its readiness and metrics.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(self.core.clone())
    }

    /// The context of the hub at a path, which sends to the hub's clients from outside of its methods. `None` if there
    /// is no hub at that path.
    pub fn hub_context(&self, path: &str) -> Option<HubContext> {
        self.core.hub_context(path)
    }

    /// The metrics that the page `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// The hubs of the server, as pairs of path and name.
    pub fn hubs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.core.hubs.iter().map(|hub| (hub.path.as_str(), hub.host.name.as_str()))
    }
}

// === with a listener of its own ===

impl Server {
    /// Binds the address `listen` of the configuration. Clients can connect from now on, but are not served before
    /// [`BoundServer::run`] or one of its siblings.
    ///
    /// Also raises the process's soft limit of open files to the hard limit, since each client needs one.
    ///
    /// # Errors
    ///
    /// [`ServeError::Listen`] if the address cannot be bound.
    ///
    /// # Panics
    ///
    /// If called outside of a Tokio runtime.
    pub fn bind(self) -> Result<BoundServer, ServeError> {
        open_files::raise_open_files();
        let listener = listener::listen(self.listen, self.tcp_user_timeout())?;
        let address = listener.local_addr().unwrap_or(self.listen);
        Ok(BoundServer { server: self, listener, address })
    }

    /// The maximum time for which a peer may accept nothing of what is sent to it. It is not shorter than any timeout
    /// of a hub, because those close a connection with a reason.
    fn tcp_user_timeout(&self) -> Duration {
        let options = self.core.hubs.iter().map(|hub| &hub.host.options);
        let bounds = options.flat_map(|hub| [hub.client_timeout_interval, hub.transport_send_timeout]);
        bounds.max().unwrap_or_default().max(self.request_timeout)
    }

    /// Binds the configured address and runs until `shutdown` completes, then stops gracefully: [`Server::bind`], then
    /// [`BoundServer::run`].
    ///
    /// # Errors
    ///
    /// The errors of both.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.bind()?.run(shutdown).await
    }

    /// Binds the configured address and runs until a signal asks the process to stop: [`Server::bind`], then
    /// [`BoundServer::run_until_signal`].
    ///
    /// # Errors
    ///
    /// The errors of both.
    pub async fn run_until_signal(self) -> Result<(), ServeError> {
        self.bind()?.run_until_signal().await
    }
}

#[cfg(test)]
mod tests;
