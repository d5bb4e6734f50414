//! [`HubRoute`]: a hub with its path, its options and the rule for who may connect.

use std::fmt;
use std::sync::Arc;

use super::context::HubContext;
use super::{Hub, HubDefinitionError};
use crate::config::{Authorize, HubOptions};

/// A hub with its path, its options and the rule for who may connect. Pass it to [`crate::server::Builder::hub`].
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
#[must_use = "a route does nothing until it is added to a server"]
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
    /// A hub at a path, which must begin with `/` and have no query. For clients the path is case-insensitive, and they
    /// may append a slash. [`crate::server::Builder::build`] checks whether the path and the hub are valid.
    pub fn new(path: impl Into<String>, hub: impl Hub) -> Self {
        Self::shared(path, Arc::new(hub))
    }

    /// Like [`HubRoute::new`], for a hub that the host keeps or serves at several paths. The connections of each path
    /// are separate: a message to all clients of one path does not reach those of another.
    pub fn shared(path: impl Into<String>, hub: Arc<dyn Hub>) -> Self {
        let (path, contexts) = (path.into(), Vec::new());
        Self { path, name: None, backplane_name: None, hub, options: None, authorize: None, contexts }
    }

    /// Sets the hub's name in metrics, log lines and errors of `build`. Default: the last segment of the path, such as
    /// `chat` for `/hubs/chat`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the hub's name on the backplane, which must be the same on all nodes of a farm. To join a farm of ASP.NET
    /// Core servers, use the full name of the hub's type there, such as `Chat.ChatHub`. Default: the hub's name. Two
    /// hubs of one server cannot have the same backplane name.
    pub fn backplane_name(mut self, name: impl Into<String>) -> Self {
        self.backplane_name = Some(name.into());
        self
    }

    /// Sets all of the hub's options. Default: `hub_defaults` of the server's configuration, which is `[hub_defaults]`
    /// of the configuration file, or [`HubOptions::default`] without a file.
    pub fn options(mut self, options: HubOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Allows only users who fulfil a rule to connect. Anonymous requests are answered with 401, and users who do not
    /// fulfil the rule with 403. The server must have a way to authenticate its users. Default: everybody may connect.
    pub fn authorize(mut self, rule: Authorize) -> Self {
        self.authorize = Some(Arc::new(rule));
        self
    }

    /// Attaches a context, which can send to this hub's clients as soon as the server is built. A context can be
    /// attached to one hub only; `build` fails otherwise.
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
