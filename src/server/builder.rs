//! Puts a server together from its configuration and what a Rust host adds.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use http::{HeaderMap, Uri};
use tokio::sync::OnceCell;

use super::Server;
use super::bearer::Bearer;
use super::core::{Background, Core, NamedHub, Parts};
use super::cors::Cors;
use super::error::ServeError;
use super::link;
use super::paths::Paths;
use super::site::{HeaderHook, Site};
use crate::api::{Api, Readiness};
use crate::auth::{Authenticate, Keyring, Tokens};
use crate::config::{Authorize, Config, HubOptions};
use crate::connection::{HubHost, UserIdProvider};
use crate::delivery::Delivery;
use crate::hub::declared::Declared;
use crate::hub::{Hub, RequestInfo};
use crate::ids::{HubName, NodeId, UserId};
use crate::metrics::Metrics;
use crate::phase::PhaseWatch;
use crate::transport::{DuplicatePath, RawConnection, Transports};

/// A server that is being put together.
pub struct Builder {
    config: Config,
    hubs: Vec<Added>,
    raw: Vec<(String, Arc<dyn RawConnection>)>,
    user_id: UserIdProvider,
    authenticator: Option<Arc<dyn Authenticate>>,
    rules: Vec<(String, Arc<Authorize>)>,
    routes: Router,
    headers: Option<HeaderHook>,
    any_origin: bool,
}

struct Added {
    path: String,
    name: String,
    backplane_name: String,
    hub: Arc<dyn Hub>,
    options: HubOptions,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("listen", &self.config.listen).finish_non_exhaustive()
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
        }
    }

    /// Adds a hub. `backplane_name` is its name among the nodes, in metrics and logs; to share a farm with
    /// ASP.NET Core it is the hub type's full name. `options` are all of its options: `[hub_defaults]` of a
    /// configuration file is for the hubs declared there. Those are there anyway.
    #[must_use]
    pub fn hub(self, path: &str, backplane_name: &str, hub: impl Hub, options: HubOptions) -> Self {
        self.shared_hub(path, backplane_name, Arc::new(hub), options)
    }

    /// As [`Builder::hub`], for a hub that is shared already.
    #[must_use]
    pub fn shared_hub(mut self, path: &str, backplane_name: &str, hub: Arc<dyn Hub>, options: HubOptions) -> Self {
        let (path, name) = (path.to_owned(), backplane_name.to_owned());
        self.hubs.push(Added { path, backplane_name: name.clone(), name, hub, options });
        self
    }

    /// Says who the user of a connection is, from its HTTP request; asked once, at the handshake. Default: the user
    /// of [`RequestInfo::principal`].
    #[must_use]
    pub fn user_id(mut self, provider: impl Fn(&RequestInfo) -> Option<UserId> + Send + Sync + 'static) -> Self {
        self.user_id = Arc::new(provider);
        self
    }

    /// Knows users in the host's own way (a session, a cookie), in place of the tokens of `[auth]`.
    ///
    /// Browsers let any page open a WebSocket, whatever `cors_origins` says, and send cookies along: an authenticator
    /// that goes by cookies must look at the header `Origin` too.
    #[must_use]
    pub fn authenticate(mut self, authenticator: impl Authenticate) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Lets only those come to a hub or raw connection who fulfil a rule; others get 401, or 403 where they are
    /// known. `path` is that of a hub or raw connection of this server, added before or after; the last rule given
    /// for it counts, also in place of the configuration's.
    #[must_use]
    pub fn authorize(mut self, path: &str, rule: Authorize) -> Self {
        self.rules.push((path.to_owned(), Arc::new(rule)));
        self
    }

    /// Adds routes of the host's own. Hubs, `/healthz`, `/readyz`, `/metrics` and the demo page come before them.
    /// Handlers find the peer's address as `ConnectInfo<SocketAddr>`. A body over 30 MB is answered with 413, one
    /// that takes longer than `request_timeout` with 408, whatever the handler says.
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Adds headers to answers, such as cookies: called for each answer but preflights, with the URI that was asked
    /// for and the headers so far. The last one given counts.
    #[must_use]
    pub fn headers(mut self, add: impl Fn(&Uri, &mut HeaderMap) + Send + Sync + 'static) -> Self {
        self.headers = Some(HeaderHook(Arc::new(add)));
        self
    }

    /// Serves a byte connection without a hub at a path, with the default options.
    #[must_use]
    pub fn raw(mut self, path: &str, connection: Arc<dyn RawConnection>) -> Self {
        self.raw.push((path.to_owned(), connection));
        self
    }

    /// Lets pages of every origin call, with credentials, in place of `cors_origins`. Any page a user visits can
    /// then act as that user wherever cookies decide who it is: only for hosts that check callers by other means.
    #[must_use]
    pub fn allow_any_origin_with_credentials(mut self) -> Self {
        self.any_origin = true;
        self
    }

    /// Checks all of it, and begins to connect to the backplane. Nothing is bound yet.
    ///
    /// Fails for paths and names that clash, for keys that cannot be used, for rules without a way to know users, and
    /// for a backplane that refuses to begin; a Redis that is merely away is waited for in the background, unless its
    /// connection string says `abortConnect=true`.
    pub async fn build(self) -> Result<Server, ServeError> {
        let Self { config, hubs, raw, user_id, authenticator, rules, routes, headers, any_origin } = self;
        let hubs = declared(&config).chain(hubs).collect::<Vec<_>>();
        let mut paths = Paths::default();
        let mut names = HashSet::new();
        for hub in &hubs {
            paths.claim(&hub.path, &format!("the hub {:?}", hub.name))?;
            if !names.insert(hub.backplane_name.as_str()) {
                return Err(ServeError::BackplaneName(hub.backplane_name.clone()));
            }
            hub.hub.validate().map_err(|source| ServeError::Hub { name: hub.name.clone(), source })?;
        }
        for (path, _) in &raw {
            paths.claim(path, "a raw connection")?;
        }

        let keyring =
            config.auth.jwks_url.as_ref().filter(|_| authenticator.is_none()).map(|_| Arc::<Keyring>::default());
        let authenticator = match authenticator {
            None if config.auth.checks_tokens() => {
                let tokens = Tokens::new(&config.auth, keyring.clone()).map_err(ServeError::Auth)?;
                Some(Arc::new(Bearer(tokens)) as Arc<dyn Authenticate>)
            }
            own => own,
        };
        let declared_rules = config.hubs.iter().filter_map(|hub| Some((hub.path.clone(), hub.authorize.clone()?)));
        let rules: Vec<_> = declared_rules.chain(rules).collect();
        if let (None, Some((path, _))) = (&authenticator, rules.first()) {
            return Err(ServeError::Auth(format!("{path} is guarded, but there are no keys to check tokens with")));
        }

        let metrics = Metrics::default();
        let phase = PhaseWatch::default();
        let node = NodeId::random(&host_name());
        let served = hubs.iter().map(|hub| (HubName::from(hub.backplane_name.as_str()), hub.options.protocols.clone()));
        let joined = link::join(&config.backplane, node.clone(), served.collect(), metrics.backplane());
        let (backplane, inbound) = joined.await?;
        let mut transports = Transports::new(config.max_connections);
        if let Some(authenticator) = authenticator {
            transports.authenticate(authenticator);
        }
        let mut hosts = Vec::new();
        for Added { path, name, backplane_name, hub, options } in hubs {
            let metrics = metrics.hub(&name);
            let delivery = Arc::new(Delivery::new(
                HubName::new(backplane_name),
                node.clone(),
                options.protocols.clone(),
                backplane.clone(),
                metrics.clone(),
            ));
            let (user_id, tasks) = (user_id.clone(), tokio_util::task::TaskTracker::new());
            let host = Arc::new(HubHost { hub, name, delivery, options, user_id, metrics, tasks });
            transports.add_hub(&path, host.clone()).map_err(|taken| clash(&taken))?;
            hosts.push(NamedHub { path, host });
        }
        for (path, connection) in raw {
            let options = HubOptions::default();
            transports.add_raw(&path, connection, options).map_err(|taken| clash(&taken))?;
        }

        for (path, rule) in rules {
            if !transports.authorize(&path, rule) {
                return Err(ServeError::Auth(format!("there is no hub and no raw connection at {path} to guard")));
            }
        }

        let transports = Arc::new(transports);
        let jwks = config.auth.jwks_url.clone().zip(keyring.clone());
        let parts = Parts {
            transports: &transports,
            hubs: &hosts,
            backplane: &backplane,
            inbound,
            metrics: &metrics,
            phase: &phase,
            jwks,
        };
        let background = Background::start(parts);
        let readiness = Readiness::new(phase.clone(), backplane.link()).with_keys(keyring);
        let core = Arc::new(Core {
            transports,
            hubs: hosts,
            paths,
            backplane,
            metrics: metrics.clone(),
            phase,
            readiness: readiness.clone(),
            shutdown_timeout: config.shutdown_timeout,
            drain_delay: config.drain_delay,
            stopped: OnceCell::new(),
            background,
        });
        let site = Arc::new(Site {
            cors: if any_origin { Cors::AnyoneWithCredentials } else { Cors::of(&config.cors_origins) },
            api: Api { readiness, metrics, demo: config.demo },
            core: core.clone(),
            routes,
            headers,
            body_timeout: config.request_timeout,
        });
        Ok(Server { listen: config.listen, request_timeout: config.request_timeout, site, core })
    }
}

/// The hubs of the configuration.
fn declared(config: &Config) -> impl Iterator<Item = Added> {
    config.hubs.iter().map(|hub| Added {
        path: hub.path.clone(),
        name: hub.name.clone(),
        backplane_name: hub.backplane_name.clone(),
        hub: Arc::new(Declared::new(hub)),
        options: hub.options.clone(),
    })
}

/// The transports keep paths of their own, by the same rules.
fn clash(taken: &DuplicatePath) -> ServeError {
    ServeError::Path { path: taken.0.clone(), what: "a hub or raw connection".to_owned(), why: "is taken already" }
}

/// For the node's name on the backplane, which people read; it need not be unique.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "hubplane".to_owned() } else { name.to_owned() }
}
