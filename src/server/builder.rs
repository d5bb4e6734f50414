//! What a server consists of: its configuration and what a Rust host adds. [`Builder::build`] is in `build`.

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

/// Collects what a server consists of; [`Builder::build`] creates it.
#[must_use = "nothing is served before `build`"]
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

    /// Adds a hub, beside those that the configuration declares.
    pub fn hub(mut self, route: HubRoute) -> Self {
        self.hubs.push(route);
        self
    }

    /// Adds a raw connection: bytes without a hub.
    pub fn raw(mut self, route: RawRoute) -> Self {
        self.raw.push(route);
        self
    }

    /// Says who the user of a connection is, from its HTTP request; asked once, at the handshake. Default: the user
    /// of [`RequestInfo::principal`].
    pub fn user_id(mut self, provider: impl Fn(&RequestInfo) -> Option<UserId> + Send + Sync + 'static) -> Self {
        self.user_id = Arc::new(provider);
        self
    }

    /// Knows users in the host's own way (a session, a cookie), in place of the tokens of `[auth]`; where middleware in
    /// front knows them already, with [`crate::auth::FromExtension`].
    ///
    /// Browsers let any page open a WebSocket, and send cookies along. A host whose authenticator goes by cookies sets
    /// `cors_origins`, so that pages of other origins are refused (`websocket_origins`): while it is empty they are not.
    pub fn authenticate(mut self, authenticator: impl Authenticate) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Admits only users who fulfil a rule: others are answered with 401 if they are anonymous, else with 403. `path` is
    /// that of any hub or raw connection of this server, also of a declared hub. The last rule for a path applies, and
    /// replaces those of [`HubRoute::authorize`] and of the configuration.
    pub fn authorize(mut self, path: &str, rule: Authorize) -> Self {
        self.rules.push((path.to_owned(), Arc::new(rule)));
        self
    }

    /// Adds routes of the host, for a server with a listener of its own; they answer all requests that are not for a hub,
    /// a raw connection or a page of the server. Handlers find the address of the peer as `ConnectInfo<SocketAddr>`. A
    /// body over 30 MB is answered with 413, one that takes longer than `request_timeout` with 408, whatever the handler
    /// returns.
    ///
    /// A host that has an axum application adds [`super::Server::into_router`] to it instead.
    ///
    /// # Panics
    ///
    /// As axum's `Router::merge`: when routes of two calls overlap, or both have a fallback.
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Adds headers to answers, such as cookies: called for each answer but preflights, with the URI that was asked
    /// for and the headers so far. The last one given counts.
    pub fn headers(mut self, add: impl Fn(&Uri, &mut HeaderMap) + Send + Sync + 'static) -> Self {
        self.headers = Some(HeaderHook(Arc::new(add)));
        self
    }

    /// Whether `/healthz` and `/readyz` are served; default true. A host with pages of its own gets the readiness from
    /// [`super::ServerHandle::not_ready`].
    pub fn health_pages(mut self, served: bool) -> Self {
        self.health = served;
        self
    }

    /// Whether `/metrics` is served; default true, and always false without the feature `metrics`. A host with a page of
    /// its own gets the metrics from [`super::ServerHandle::metrics`]. (The demo page is `demo` of the configuration,
    /// default false.)
    pub fn metrics_page(mut self, served: bool) -> Self {
        self.metrics = served && cfg!(feature = "metrics");
        self
    }

    /// Lets pages of every origin call, with credentials, and open WebSockets, in place of `cors_origins`. Any page a
    /// user visits can then act as that user wherever cookies decide who it is: only for hosts that check callers by
    /// other means.
    pub fn allow_any_origin_with_credentials(mut self) -> Self {
        self.any_origin = true;
        self
    }
}
