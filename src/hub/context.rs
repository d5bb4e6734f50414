//! The way to a hub's clients from outside of its methods: [`HubContext`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::clients::{Clients, Groups};
use crate::delivery::{Delivery, SendError};

/// Sends to a hub's clients from outside of its methods, as ASP.NET Core's `IHubContext`: from a background task, from
/// another hub, from a handler of an axum route. Cheap to clone.
///
/// One that is made with [`HubContext::new`] can be handed out before there is a server: into the state of a hub, or of
/// an axum application. [`super::HubRoute::context`] attaches it to a hub; it works when
/// [`crate::server::Builder::build`] has ended. Before that every send fails with [`SendError::NotAttached`]. Of a
/// server that is built, [`crate::server::Server::hub_context`] gives one for any of its hubs.
///
/// It does not keep the server alive. When the server has stopped, sends reach nobody or fail.
///
/// ```no_run
/// use hubplane::config::Config;
/// use hubplane::hub::{HubContext, HubRoute, Methods};
/// use hubplane::server::Server;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let context = HubContext::new();
/// let clock = context.clone();
/// tokio::spawn(async move {
///     loop {
///         tokio::time::sleep(std::time::Duration::from_secs(60)).await;
///         if let Err(error) = clock.clients().all().send("MinuteHasPassed", ()).await {
///             tracing::warn!(%error, "nobody was told of the time");
///         }
///     }
/// });
/// let route = HubRoute::new("/clock", Methods::new()).context(&context);
/// Server::builder(Config::default()).hub(route).build().await?.run_until_signal().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct HubContext(Arc<OnceLock<Arc<Delivery>>>);

impl HubContext {
    /// A context that no hub has yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whom messages can be sent to. May be kept, also from before the context was attached.
    pub fn clients(&self) -> Clients {
        Clients::of_context(self.clone())
    }

    /// Who is in which group. May be kept, also from before the context was attached.
    pub fn groups(&self) -> Groups {
        Groups::of_context(self.clone())
    }

    /// Whether it belongs to a hub that is served, so that sends can succeed.
    pub fn is_attached(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether two are clones of one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The context of a hub that is served.
    pub(crate) fn of(delivery: Arc<Delivery>) -> Self {
        Self(Arc::new(OnceLock::from(delivery)))
    }

    /// Gives it to a hub. False: it belongs to one already.
    pub(crate) fn attach(&self, delivery: Arc<Delivery>) -> bool {
        self.0.set(delivery).is_ok()
    }

    pub(super) fn delivery(&self) -> Result<&Arc<Delivery>, SendError> {
        self.0.get().ok_or(SendError::NotAttached)
    }
}

impl fmt::Debug for HubContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hub = self.0.get().map(|delivery| delivery.hub().as_str());
        f.debug_struct("HubContext").field("hub", &hub).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::HubError;
    use crate::hub::test_kit::stage;

    #[tokio::test]
    async fn what_was_taken_before_works_afterwards() {
        let context = HubContext::new();
        let (clients, groups) = (context.clients(), context.groups());
        assert_eq!(clients.all().send("M", ()).await, Err(SendError::NotAttached));
        assert_eq!(groups.add("me", "g").await, Err(SendError::NotAttached));
        assert_eq!(groups.remove("me", "g").await, Err(SendError::NotAttached));
        let asked = clients.client("me").invoke::<i32, _>("M", ()).await;
        assert_eq!(asked, Err(HubError::from(SendError::NotAttached)));
        let told = SendError::NotAttached.to_string();
        assert!(told.contains("HubRoute::context") && told.contains("build"), "{told}");

        let (caller, notes) = stage("me", None).await;
        assert!(context.attach(caller.delivery().clone()));
        assert!(!context.attach(caller.delivery().clone()), "it has a hub already");
        clients.all().send("M", ()).await.expect("it has a hub");
        groups.add("me", "g").await.expect("it has a hub");
        assert_eq!(notes.take(), [r#"send all: {"type":1,"target":"M","arguments":[]}"#, "hear group g"]);
    }
}
