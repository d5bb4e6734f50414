//! [`Builder`]: the configuration of a server and what a Rust host adds to it. [`Builder::build`] is in `build`.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use http::{HeaderMap, Uri};

use super::request_handler::HeaderHook;
use crate::auth::Authenticate;
use crate::config::{Authorize, Config};
use crate::connection::UserIdProvider;
use crate::hub::{HubRoute, RequestInfo};
use crate::ids::UserId;
use crate::transport::RawRoute;

/// Collects the parts of a [`Server`](super::Server), which [`Builder::build`] then creates. Made by
/// [`Server::builder`](super::Server::builder).
///
/// A host that only adds hubs needs [`Builder::hub`] and `build`; everything else has a default.
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    pub(super) config: Config,
    pub(super) hubs: Vec<HubRoute>,
    pub(super) raw: Vec<RawRoute>,
    pub(super) user_id: UserIdProvider,
    pub(super) authenticator: Option<Arc<dyn Authenticate>>,
    pub(super) rules: Vec<(String, Arc<Authorize>)>,
    pub(super) routes: Router,
    pub(super) headers: Option<HeaderHook>,
    pub(super) any_origin: bool,
    pub(super) health: bool,
    pub(super) metrics: bool,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("listen", &self.config.listen)
            .field("hubs", &self.hubs)
            .field("raw", &self.raw)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        let user_id: UserIdProvider = Arc::new(|request: &RequestInfo| request.principal.as_ref()?.user.clone());
        Self {
            config,
            hubs: Vec::new(),
            raw: Vec::new(),
            user_id,
            authenticator: None,
            rules: Vec::new(),
            routes: Router::new(),
            headers: None,
            any_origin: false,
            health: true,
            metrics: cfg!(feature = "metrics"),
        }
    }

    /// Adds a hub to those that the configuration declares.
    pub fn hub(mut self, route: HubRoute) -> Self {
        self.hubs.push(route);
        self
    }

    /// Adds a raw connection, which exchanges bytes with its clients without a hub protocol.
    pub fn raw(mut self, route: RawRoute) -> Self {
        self.raw.push(route);
        self
    }

    /// Sets how the user of a connection is found from its HTTP request. The function is called once for each
    /// connection, at the handshake. Default: the user of [`RequestInfo::principal`].
    pub fn user_id(mut self, provider: impl Fn(&RequestInfo) -> Option<UserId> + Send + Sync + 'static) -> Self {
        self.user_id = Arc::new(provider);
        self
    }

    /// Authenticates users in the host's own way, such as by a session or a cookie, instead of by the access tokens of
    /// `[auth]`. If middleware in front of the server has authenticated them already, use
    /// [`crate::auth::FromExtension`].
    ///
    /// Browsers let a page of any origin open a WebSocket, and send cookies with it. A host that authenticates by
    /// cookies should set `cors_origins`, so that WebSockets from other pages are refused (`websocket_origins`). While
    /// `cors_origins` is empty, they are accepted.
    pub fn authenticate(mut self, authenticator: impl Authenticate) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Allows only users who fulfil a rule to connect to a path. Anonymous requests are answered with 401, and users
    /// who do not fulfil the rule with 403.
    ///
    /// `path` is that of a hub, including declared hubs, or of a raw connection of this server. The last rule for a
    /// path applies, and replaces those of [`HubRoute::authorize`] and of the configuration.
    pub fn authorize(mut self, path: &str, rule: Authorize) -> Self {
        self.rules.push((path.to_owned(), Arc::new(rule)));
        self
    }

    /// Adds routes of the host, for a server with a listener of its own. They answer all requests that are not for a
    /// hub, a raw connection or a page of the server.
    ///
    /// Handlers get the address of the peer as `ConnectInfo<SocketAddr>`. A request whose body is larger than 30 MB is
    /// answered with 413, and one whose body takes longer than `request_timeout` with 408, whatever the handler
    /// returns.
    ///
    /// A host that has an axum application should instead add [`super::Server::into_router`] to it.
    ///
    /// # Panics
    ///
    /// Like axum's `Router::merge`: if routes of two calls overlap, or if both have a fallback.
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Sets a function that adds headers to responses, such as cookies. It is called for every response except for
    /// those to CORS preflights, with the URI of the request and the headers so far. A later call replaces the
    /// function.
    pub fn headers(mut self, add: impl Fn(&Uri, &mut HeaderMap) + Send + Sync + 'static) -> Self {
        self.headers = Some(HeaderHook(Arc::new(add)));
        self
    }

    /// Sets whether the pages `/healthz` and `/readyz` are served. Default: true. A host with pages of its own gets the
    /// readiness from [`super::ServerHandle::not_ready`].
    pub fn health_pages(mut self, served: bool) -> Self {
        self.health = served;
        self
    }

    /// Sets whether the page `/metrics` is served. Default: true. Without the feature `metrics` it is never served. A
    /// host with a page of its own gets the metrics from [`super::ServerHandle::metrics`].
    ///
    /// The demo page has a key in the configuration instead: `demo`, default false.
    pub fn metrics_page(mut self, served: bool) -> Self {
        self.metrics = served && cfg!(feature = "metrics");
        self
    }

    /// Allows pages of every origin to send requests with credentials and to open WebSockets, instead of those in
    /// `cors_origins`.
    ///
    /// If users are authenticated by cookies, every page that a user visits can then act as this user. Use it only if
    /// the host checks callers by other means.
    pub fn allow_any_origin_with_credentials(mut self) -> Self {
        self.any_origin = true;
        self
    }
}
