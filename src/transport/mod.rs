//! Layer 8: the HTTP transports, which carry bytes between clients and hubs. A transport knows HTTP but no hub
//! protocol: it offers a [`crate::wire::Source`] and a [`crate::wire::Sink`], and opens and closes connections in its
//! own way.
//!
//! | file | contents |
//! | --- | --- |
//! | [`endpoint`] | one path with its application; which transport a request to it belongs to |
//! | `access_control`, [`origin`] | authentication and authorization of requests; which pages may open WebSockets |
//! | `rejection`, `query` | the texts of refused requests; reading query strings as ASP.NET Core does |
//! | `rejection_log` | logging of refused requests |
//! | `connection_table`, `connection_limit` | connections by token, and their expiry; the maximum number of connections |
//! | `transport_connection`, `pipe`, `poll_channel` | the state that the requests of one connection share |
//! | `connection_lifecycle` | what all transports do when a connection starts and ends |
//! | `negotiate`, [`websocket`], `sse`, `long_polling`, `post` | one file for each kind of request |
//! | [`raw_connection`] | connections without a hub protocol |
//! | `http_socket` | the TCP socket under HTTP, for connections of our own listener |

mod access_control;
mod connection_lifecycle;
mod connection_limit;
mod connection_table;
pub(crate) mod endpoint;
pub(crate) mod http_socket;
mod long_polling;
mod negotiate;
pub(crate) mod origin;
mod pipe;
mod poll_channel;
mod post;
mod query;
pub(crate) mod raw_connection;
mod rejection;
mod rejection_log;
mod sse;
mod transport_connection;
#[doc(hidden)]
pub(crate) mod websocket;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::response::Response;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(crate) use endpoint::App;
pub(crate) use origin::SocketOrigins;
pub(crate) use origin::is_own as is_own_origin;
pub use raw_connection::{RawConnection, RawRoute, RawStream};

use self::access_control::AccessControl;
use self::connection_limit::ConnectionLimit;
use self::connection_table::ConnectionTable;
use self::endpoint::Endpoint;
use self::transport_connection::TransportConnection;
use crate::auth::Authenticate;
use crate::close::CloseReason;
use crate::config::{Authorize, HubOptions};
use crate::hub_path::{HubPath, RequestPath};
use crate::logging::LogRateLimiter;

/// All paths that clients connect to, and all their connections.
#[derive(Debug)]
pub(crate) struct Endpoints {
    endpoints: HashMap<HubPath, Arc<Endpoint>>,
    connection_limit: Arc<ConnectionLimit>,
    tasks: TaskTracker,
    /// Copied into every endpoint that is added.
    access_control: AccessControl,
}

/// Two endpoints have the same path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path '{0}' is taken by another hub or raw connection")]
pub(crate) struct DuplicatePath(pub HubPath);

// === setting up ===

impl Endpoints {
    /// Creates an empty set of endpoints. `None` means that the number of connections is not limited.
    pub(crate) fn new(max_connections: Option<usize>) -> Self {
        Self {
            endpoints: HashMap::new(),
            connection_limit: Arc::new(ConnectionLimit::new(max_connections)),
            tasks: TaskTracker::new(),
            access_control: AccessControl::default(),
        }
    }

    /// Sets the authenticator for all endpoints that are added from now on. Without one, requests are not
    /// authenticated.
    pub(crate) fn authenticate(&mut self, authenticator: Arc<dyn Authenticate>) {
        self.access_control.authenticator = Some(authenticator);
    }

    /// Sets which pages may open WebSockets, for all endpoints that are added from now on. By default all may.
    pub(crate) fn socket_origins(&mut self, origins: SocketOrigins) {
        self.access_control.origins = Arc::new(origins);
    }

    /// Admits only clients that satisfy a rule to a path. Must be called before requests are served. Returns false if
    /// there is no such path.
    pub(crate) fn authorize(&mut self, path: &HubPath, rule: Arc<Authorize>) -> bool {
        let endpoint = self.endpoints.get_mut(path).and_then(Arc::get_mut);
        endpoint.map(|endpoint| endpoint.access_control.policy = Some(rule)).is_some()
    }

    /// Serves a hub at a path, with the hub's own options.
    pub(crate) fn add_hub(
        &mut self,
        path: &HubPath,
        host: Arc<crate::connection::HubHost>,
    ) -> Result<(), DuplicatePath> {
        let (name, options) = (host.name.clone(), host.options.clone());
        self.add(path, name, App::Hub(host), options)
    }

    /// Serves a raw connection at a path. Only the options about transports, timeouts and buffers have an effect.
    pub(crate) fn add_raw(
        &mut self,
        path: &HubPath,
        app: Arc<dyn RawConnection>,
        options: HubOptions,
    ) -> Result<(), DuplicatePath> {
        self.add(path, path.to_string(), App::Raw(app), options)
    }

    fn add(&mut self, path: &HubPath, name: String, app: App, options: HubOptions) -> Result<(), DuplicatePath> {
        let Entry::Vacant(slot) = self.endpoints.entry(path.clone()) else {
            return Err(DuplicatePath(path.clone()));
        };
        let table = ConnectionTable::new(options.disconnect_timeout, options.incoming_buffer_size);
        let (connection_limit, tasks, access_control) =
            (self.connection_limit.clone(), self.tasks.clone(), self.access_control.clone());
        let log = match &app {
            App::Hub(host) => host.delivery.log().clone(),
            App::Raw(_) => Arc::default(),
        };
        slot.insert(Arc::new(Endpoint { name, app, options, access_control, log, table, connection_limit, tasks }));
        Ok(())
    }
}

// === serving ===

impl Endpoints {
    /// Answers a request, or returns `None` if its path belongs to no endpoint. A WebSocket request must come from
    /// hyper with upgrades enabled. The peer's address is taken from an extension of type `ConnectInfo<SocketAddr>`.
    ///
    /// Polls, and POSTs that are held back by a full buffer, take long to be answered: do not wrap this in a timeout.
    pub(crate) async fn handle(&self, request: Request) -> Option<Response> {
        let (endpoint, negotiates) = self.endpoint(request.uri().path())?;
        Some(if negotiates { endpoint.negotiate(request).await } else { endpoint.transport(request).await })
    }

    /// The name of the endpoint at a path in log lines, and the rate limiter of those lines. `None` if the path belongs
    /// to no endpoint.
    pub(crate) fn logged_as(&self, path: &str) -> Option<(&str, &LogRateLimiter)> {
        let (endpoint, _) = self.endpoint(path)?;
        Some((&endpoint.name, &endpoint.log))
    }

    /// Whether [`Endpoints::handle`] answers requests for this path.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.endpoint(path).is_some()
    }

    /// The endpoint of a path, and whether the path is that of its negotiate requests.
    fn endpoint(&self, path: &str) -> Option<(&Arc<Endpoint>, bool)> {
        let path = RequestPath::new(path);
        if let Some(endpoint) = self.endpoints.get(path.hub()) {
            return Some((endpoint, false));
        }
        Some((self.endpoints.get(path.negotiated_hub()?)?, true))
    }

    /// Ends the connections that have expired. To be called about once a second.
    pub(crate) fn sweep(&self, now: Instant) {
        for endpoint in self.endpoints.values() {
            for connection in endpoint.table.sweep(now) {
                tracing::debug!(id = %connection.id, hub = %endpoint.name, "connection expired");
                connection.abandon(CloseReason::Abandoned);
            }
            if endpoint.options.close_on_authentication_expiration {
                for connection in endpoint.table.expired_tokens(SystemTime::now()) {
                    connection.close.close(CloseReason::AuthenticationExpired);
                }
            }
        }
    }

    /// The number of connections, without those that have only negotiated.
    pub(crate) fn connections(&self) -> usize {
        self.connection_limit.active()
    }
}

// === stopping ===

impl Endpoints {
    /// From now on, negotiate and new connections are answered with 503. Existing connections continue.
    pub(crate) fn drain(&self) {
        self.connection_limit.drain();
    }

    /// Asks every connection to end, `batch` at a time with `interval` between two batches, so that the clients do not
    /// all reconnect at once. Each gets a close message and its transport's way of closing; long-polling clients get
    /// them with their next polls.
    pub(crate) async fn close_all(&self, reason: CloseReason, batch: usize, interval: Duration) {
        let started_connections = self.started_connections();
        let mut batches = started_connections.chunks(batch.max(1)).peekable();
        while let Some(batch) = batches.next() {
            for connection in batch {
                connection.close.close(reason.clone());
            }
            if batches.peek().is_some() {
                tokio::time::sleep(interval).await;
            }
        }
    }

    /// Like [`Endpoints::close_all`], but for all connections at once.
    pub(crate) fn close_now(&self, reason: &CloseReason) {
        for connection in self.started_connections() {
            connection.close.close(reason.clone());
        }
    }

    fn started_connections(&self) -> Vec<Arc<TransportConnection>> {
        self.endpoints.values().flat_map(|endpoint| endpoint.table.started_connections()).collect()
    }

    /// Waits until every connection has ended. Call it after [`Endpoints::drain`] and [`Endpoints::close_all`], with a
    /// timeout around it.
    pub(crate) async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests;
