//! A hub with where and how it is served: [`HubRoute`].

use std::fmt;
use std::sync::Arc;

use super::context::HubContext;
use super::{Hub, HubDefinitionError};
use crate::config::{Authorize, HubOptions};

/// A hub with where and how it is served; [`crate::server::Builder::hub`] takes it.
///
/// ```
/// use hubplane::config::{Authorize, HubOptions};
/// use hubplane::hub::{HubContext, HubRoute, Methods};
///
/// let context = HubContext::new();
/// let mut options = HubOptions::default();
/// options.detailed_errors = true;
/// let route = HubRoute::new("/chat", Methods::new())
///     .backplane_name("Chat.ChatHub")
///     .options(options)
///     .authorize(Authorize::user().role("admin"))
///     .context(&context);
/// # let _ = route;
/// ```
#[must_use = "a hub is served by the server that it is added to"]
pub struct HubRoute {
    pub(crate) path: String,
    name: Option<String>,
    backplane_name: Option<String>,
    pub(crate) hub: Arc<dyn Hub>,
    pub(crate) options: Option<HubOptions>,
    pub(crate) authorize: Option<Arc<Authorize>>,
    pub(crate) contexts: Vec<HubContext>,
}

impl HubRoute {
    /// A hub at a path, which begins with `/` and has no query. Clients may write it in any case, and with a slash at
    /// the end. Whether the path and the hub are valid is checked by [`crate::server::Builder::build`].
    pub fn new(path: impl Into<String>, hub: impl Hub) -> Self {
        Self::shared(path, Arc::new(hub))
    }

    /// As [`HubRoute::new`], for a hub that the host keeps, or serves at several paths. To clients each path is a
    /// separate hub: a message to all clients of one path reaches nobody at another.
    pub fn shared(path: impl Into<String>, hub: Arc<dyn Hub>) -> Self {
        let (path, contexts) = (path.into(), Vec::new());
        Self { path, name: None, backplane_name: None, hub, options: None, authorize: None, contexts }
    }

    /// Its name in metrics, logs and errors of `build`. Default: the last segment of the path, `chat` of `/hubs/chat`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its name on the backplane, which all nodes of a farm must agree on. To join a farm of ASP.NET Core it is the full
    /// name of the hub's type there, such as `Chat.ChatHub`. Default: its name. No two hubs of a server may share one.
    pub fn backplane_name(mut self, name: impl Into<String>) -> Self {
        self.backplane_name = Some(name.into());
        self
    }

    /// All of its options. Default: `hub_defaults` of the server's configuration, that is `[hub_defaults]` of the file
    /// it was loaded from, and else [`HubOptions::default`].
    pub fn options(mut self, options: HubOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Admits only users who fulfil a rule: others are answered with 401 if they are anonymous, else with 403. The server
    /// must have a way to authenticate its users. Default: everybody may connect.
    pub fn authorize(mut self, rule: Authorize) -> Self {
        self.authorize = Some(Arc::new(rule));
        self
    }

    /// Attaches a context, which can send to this hub's clients once the server is built. A context can be attached to
    /// one hub only.
    pub fn context(mut self, context: &HubContext) -> Self {
        if !self.contexts.iter().any(|known| known.is(context)) {
            self.contexts.push(context.clone());
        }
        self
    }
}

impl HubRoute {
    /// See [`HubRoute::name`].
    pub(crate) fn hub_name(&self) -> &str {
        let last = self.path.trim_end_matches('/').rsplit('/').next().filter(|segment| !segment.is_empty());
        self.name.as_deref().or(last).unwrap_or(&self.path)
    }

    /// See [`HubRoute::backplane_name`].
    pub(crate) fn hub_backplane_name(&self) -> &str {
        self.backplane_name.as_deref().unwrap_or(self.hub_name())
    }

    /// Whether its hub is valid.
    pub(crate) fn validate(&self) -> Result<(), HubDefinitionError> {
        self.hub.validate()
    }
}

impl fmt::Debug for HubRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubRoute")
            .field("path", &self.path)
            .field("name", &self.hub_name())
            .field("backplane_name", &self.hub_backplane_name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Methods;

    #[test]
    fn hub_names_default_to_the_path() {
        for (path, name) in [("/chat", "chat"), ("/hubs/Chat/", "Chat"), ("/", "/"), ("", ""), ("chat", "chat")] {
            let route = HubRoute::new(path, Methods::new());
            assert_eq!((route.hub_name(), route.hub_backplane_name()), (name, name), "{path}");
        }
        let named = || HubRoute::new("/chat", Methods::new()).name("talk");
        assert_eq!(named().hub_backplane_name(), "talk");
        assert_eq!(named().backplane_name("Chat.ChatHub").hub_backplane_name(), "Chat.ChatHub");
        assert_eq!(named().backplane_name("Chat.ChatHub").hub_name(), "talk");
    }
}
