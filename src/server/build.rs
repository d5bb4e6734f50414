//! The steps of [`Builder::build`]: all checks first, then the connection to the backplane, then the parts of the
//! server.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::backplane_setup;
use super::cors::Cors;
use super::paths::Paths;
use super::request_handler::RequestHandler;
use super::serve_error::ServeError;
use super::server_core::{Background, BackgroundInputs, NamedHub, ServerCore};
use super::token_authenticator::TokenAuthenticator;
use super::{Builder, Server};
use crate::api::{Api, Readiness};
use crate::auth::{Authenticate, JwksCache, TokenValidator, UnusableKey};
use crate::backplane::Backplane;
use crate::config::{Authorize, Config, HubOptions, WebSocketOrigins};
use crate::connection::HubHost;
use crate::hub::HubRoute;
use crate::hub::declared::DeclaredHub;
use crate::hub_path::HubPath;
use crate::ids::{HubName, NodeId};
use crate::logging::LogRateLimiter;
use crate::metrics::Metrics;
use crate::phase::PhaseWatch;
use crate::transport::{DuplicatePath, Endpoints};

impl Builder {
    /// Checks everything, starts to connect to the backplane, and starts the background tasks. No address is bound yet.
    ///
    /// # Errors
    ///
    /// A [`ServeError`] for duplicate or invalid paths and names, mistakes in a hub's definition, invalid options, a
    /// [`crate::hub::HubContext`] that is attached to two hubs, invalid keys, rules without a way to authenticate
    /// users, and a backplane that cannot be started.
    ///
    /// It is not an error if Redis is unavailable, unless the connection string contains `abortConnect=true`: the
    /// server keeps connecting in the background.
    ///
    /// # Panics
    ///
    /// If called outside of a Tokio runtime.
    pub async fn build(mut self) -> Result<Server, ServeError> {
        let hubs: Vec<HubRoute> = declared(&self.config).chain(std::mem::take(&mut self.hubs)).collect();
        let paths = self.claim_paths(&hubs)?;
        let (hub_paths, raw_paths) = paths.as_slice().split_at(hubs.len());
        check_names(&hubs)?;
        check_definitions(&hubs)?;
        self.check_options(&hubs)?;
        check_contexts(&hubs)?;
        let jwks_cache = self.jwks_cache();
        let authenticator = self.authenticator(jwks_cache.clone())?;
        let rules = self.rules(&hubs, authenticator.is_some())?;

        let node = NodeParts { id: NodeId::random(&host_name()), metrics: Metrics::default() };
        let names =
            hubs.iter().map(|hub| (HubName::from(hub.hub_backplane_name()), self.options(hub).protocols.clone()));
        let joined = backplane_setup::connect(
            &self.config.backplane,
            node.id.clone(),
            names.collect(),
            node.metrics.backplane(),
        );
        let (backplane, inbound) = joined.await?;

        let hosts = self.hosts(&hubs, hub_paths, &node, &backplane);
        let endpoints = Arc::new(self.endpoints(&hosts, raw_paths, authenticator, rules)?);
        attach_contexts(&hubs, &hosts)?;
        let phase = PhaseWatch::default();
        let background = Background::start(BackgroundInputs {
            endpoints: &endpoints,
            hubs: &hosts,
            backplane: &backplane,
            inbound,
            metrics: &node.metrics,
            phase: &phase,
            jwks: self.config.auth.jwks_url.clone().zip(jwks_cache.clone()),
        });
        let core = Arc::new(ServerCore {
            endpoints,
            hubs: hosts,
            paths,
            readiness: Readiness::new(phase.clone(), backplane.link()).with_keys(jwks_cache),
            backplane,
            metrics: node.metrics,
            phase,
            shutdown_timeout: self.config.shutdown_timeout,
            drain_delay: self.config.drain_delay,
            stopped: OnceCell::new(),
            background,
            runtime: Handle::current(),
        });
        Ok(self.server(core))
    }
}

/// The identity and the metrics of this node.
struct NodeParts {
    id: NodeId,
    metrics: Metrics,
}

// === checks ===

impl Builder {
    /// The paths of the hubs, then those of the raw connections.
    fn claim_paths(&self, hubs: &[HubRoute]) -> Result<Vec<HubPath>, ServeError> {
        let mut paths = Paths::new(Api::reserved(self.health, self.metrics));
        for hub in hubs {
            paths.insert(&hub.path, &format!("the hub {:?}", hub.hub_name()))?;
        }
        for raw in &self.raw {
            paths.insert(&raw.path, "a raw connection")?;
        }
        Ok(paths.claimed())
    }

    fn check_options(&self, hubs: &[HubRoute]) -> Result<(), ServeError> {
        let of_hubs = hubs.iter().map(|hub| (&hub.path, &hub.options));
        for (path, options) in of_hubs.chain(self.raw.iter().map(|raw| (&raw.path, &raw.options))) {
            let options = options.as_ref().unwrap_or(&self.config.hub_defaults);
            options.validate().map_err(|source| ServeError::Options { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// The cache of the keys of `auth.jwks_url`, if access tokens are verified with them.
    fn jwks_cache(&self) -> Option<Arc<JwksCache>> {
        (self.authenticator.is_none() && self.config.auth.jwks_url.is_some()).then(Arc::default)
    }

    /// The host's own authenticator, or else one for access tokens if there are keys to verify them with.
    fn authenticator(&self, jwks_cache: Option<Arc<JwksCache>>) -> Result<Option<Arc<dyn Authenticate>>, ServeError> {
        if self.authenticator.is_some() || !self.config.auth.checks_tokens() {
            return Ok(self.authenticator.clone());
        }
        let tokens = TokenValidator::new(&self.config.auth, jwks_cache)
            .map_err(|UnusableKey { index, error }| ServeError::Key { index, source: error })?;
        Ok(Some(Arc::new(TokenAuthenticator(tokens))))
    }

    /// The rules for who may connect, by path. The last rule for a path applies.
    fn rules(&self, hubs: &[HubRoute], users_are_known: bool) -> Result<Vec<(String, Arc<Authorize>)>, ServeError> {
        let of_hubs = hubs.iter().filter_map(|hub| Some((hub.path.clone(), hub.authorize.clone()?)));
        let of_raw = self.raw.iter().filter_map(|raw| Some((raw.path.clone(), raw.authorize.clone()?)));
        let rules: Vec<_> = of_hubs.chain(of_raw).chain(self.rules.iter().cloned()).collect();
        match rules.first() {
            Some((path, _)) if !users_are_known => Err(ServeError::NoAuthentication { path: path.clone() }),
            _ => Ok(rules),
        }
    }
}

fn check_names(hubs: &[HubRoute]) -> Result<(), ServeError> {
    let (mut names, mut backplane_names) = (HashSet::new(), HashSet::new());
    for hub in hubs {
        let (name, backplane_name) = (hub.hub_name(), hub.hub_backplane_name());
        if name.is_empty() || backplane_name.is_empty() {
            return Err(ServeError::EmptyName { path: hub.path.clone() });
        }
        if !backplane_names.insert(backplane_name) {
            return Err(ServeError::BackplaneName(backplane_name.to_owned()));
        }
        if !names.insert(name) {
            return Err(ServeError::Name(name.to_owned()));
        }
    }
    Ok(())
}

fn check_definitions(hubs: &[HubRoute]) -> Result<(), ServeError> {
    for hub in hubs {
        hub.validate().map_err(|source| ServeError::Hub { name: hub.hub_name().to_owned(), source })?;
    }
    Ok(())
}

/// Checks that no context is attached already, and that each is given to one hub only.
fn check_contexts(hubs: &[HubRoute]) -> Result<(), ServeError> {
    let mut seen = Vec::new();
    for hub in hubs {
        for context in &hub.contexts {
            if context.is_attached() || seen.iter().any(|other| context.is(other)) {
                return Err(ServeError::Context { name: hub.hub_name().to_owned() });
            }
            seen.push(context.clone());
        }
    }
    Ok(())
}

// === creation ===

impl Builder {
    fn options<'a>(&'a self, hub: &'a HubRoute) -> &'a HubOptions {
        hub.options.as_ref().unwrap_or(&self.config.hub_defaults)
    }

    /// The hosts of the hubs, with everything that their connections need.
    fn hosts(
        &self,
        hubs: &[HubRoute],
        paths: &[HubPath],
        node: &NodeParts,
        backplane: &Arc<dyn Backplane>,
    ) -> Vec<NamedHub> {
        let host = |route: &HubRoute| {
            let (options, metrics) = (self.options(route).clone(), node.metrics.hub(route.hub_name()));
            HubHost::new(route, options, self.user_id.clone(), node.id.clone(), backplane.clone(), metrics)
        };
        let named = |(route, path): (&HubRoute, &HubPath)| NamedHub { path: path.clone(), host: Arc::new(host(route)) };
        hubs.iter().zip(paths).map(named).collect()
    }

    fn endpoints(
        &mut self,
        hosts: &[NamedHub],
        raw_paths: &[HubPath],
        authenticator: Option<Arc<dyn Authenticate>>,
        rules: Vec<(String, Arc<Authorize>)>,
    ) -> Result<Endpoints, ServeError> {
        let mut endpoints = Endpoints::new(self.config.max_connections);
        if let Some(authenticator) = authenticator {
            endpoints.authenticate(authenticator);
        }
        if self.config.websocket_origins == WebSocketOrigins::Cors {
            endpoints.socket_origins(self.cors().socket_origins());
        }
        for hub in hosts {
            endpoints.add_hub(&hub.path, hub.host.clone()).map_err(|taken| duplicate_path(&taken))?;
        }
        for (raw, path) in std::mem::take(&mut self.raw).into_iter().zip(raw_paths) {
            let options = raw.options.unwrap_or_else(|| self.config.hub_defaults.clone());
            endpoints.add_raw(path, raw.connection, options).map_err(|taken| duplicate_path(&taken))?;
        }
        for (path, rule) in rules {
            if !HubPath::parse(&path).is_ok_and(|path| endpoints.authorize(&path, rule)) {
                return Err(ServeError::NothingToGuard { path });
            }
        }
        Ok(endpoints)
    }

    fn cors(&self) -> Cors {
        if self.any_origin { Cors::AnyOriginWithCredentials } else { Cors::of(&self.config.cors_origins) }
    }

    fn server(self, core: Arc<ServerCore>) -> Server {
        let cors = self.cors();
        let Self { config, routes, headers, health, metrics, .. } = self;
        let handler = RequestHandler {
            cors,
            api: Api {
                readiness: core.readiness.clone(),
                metrics: core.metrics.clone(),
                health_pages: health,
                metrics_page: metrics,
                demo: config.demo,
            },
            core: core.clone(),
            routes,
            headers,
            body_timeout: config.request_timeout,
            log: LogRateLimiter::default(),
        };
        Server { listen: config.listen, request_timeout: config.request_timeout, handler: Arc::new(handler), core }
    }
}

/// Routes for the hubs that the configuration declares.
fn declared(config: &Config) -> impl Iterator<Item = HubRoute> {
    config.hubs.iter().map(|hub| {
        let mut route = HubRoute::new(hub.path.as_str(), DeclaredHub::new(hub))
            .name(hub.name.clone())
            .backplane_name(hub.backplane_name.clone())
            .options(hub.options.clone());
        route.authorize.clone_from(&hub.authorize);
        route
    })
}

fn attach_contexts(hubs: &[HubRoute], hosts: &[NamedHub]) -> Result<(), ServeError> {
    for (hub, served) in hubs.iter().zip(hosts) {
        for context in &hub.contexts {
            // Another server may have attached the context since it was checked.
            if !context.attach(served.host.delivery.clone()) {
                return Err(ServeError::Context { name: hub.hub_name().to_owned() });
            }
        }
    }
    Ok(())
}

/// The error for a path that the endpoints have already. `claim_paths` checks the same rules before, so it is not
/// expected to occur.
fn duplicate_path(taken: &DuplicatePath) -> ServeError {
    ServeError::PathTaken { path: taken.0.to_string(), what: "a hub or raw connection".to_owned() }
}

/// The name of this machine. It is part of the node's id on the backplane, where it helps people; it need not be
/// unique.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "hubplane".to_owned() } else { name.to_owned() }
}
