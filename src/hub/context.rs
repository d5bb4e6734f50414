//! [`HubContext`]: sends to a hub's clients from outside of its methods.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::clients::{Clients, Groups};
use crate::delivery::{Delivery, SendError};

/// Sends to a hub's clients from outside of its methods, like ASP.NET Core's `IHubContext`: from a background task,
/// from another hub, or from a handler of an axum route. Cheap to clone.
///
/// A context can be created before the server, with [`HubContext::new`], and cloned into the state of a hub or of an
/// axum application. [`super::HubRoute::context`] attaches it to a hub, and it can send as soon as
/// [`crate::server::Builder::build`] has returned. Before that, every send fails with [`SendError::NotAttached`]. After
/// the server has been built, [`crate::server::Server::hub_context`] returns a context of any of its hubs.
///
/// A context does not keep the server alive. After the server has stopped, sends reach nobody or fail.
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
///             tracing::warn!(%error, "the clock's clients were not notified");
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
    /// Creates a context that is not attached to a hub yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The hub's clients, to send messages to. The value may be created before the context is attached, and kept.
    ///
    /// There is no caller: `clients().caller()` reaches nobody, and `clients().others()` reaches every client.
    pub fn clients(&self) -> Clients {
        Clients::of_context(self.clone())
    }

    /// The hub's groups, to add connections to them and remove them. The value may be created before the context is
    /// attached, and kept.
    pub fn groups(&self) -> Groups {
        Groups::of_context(self.clone())
    }

    /// Whether the context is attached to a hub of a built server, so that it can send.
    pub fn is_attached(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether both are clones of the same context.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Creates a context that is attached to a hub.
    pub(crate) fn of(delivery: Arc<Delivery>) -> Self {
        Self(Arc::new(OnceLock::from(delivery)))
    }

    /// Attaches the context to a hub. Returns false if it is attached already.
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
    use crate::hub::test_kit::caller_and_backplane;

    #[tokio::test]
    async fn clients_and_groups_taken_before_attaching_work_afterwards() {
        let context = HubContext::new();
        let (clients, groups) = (context.clients(), context.groups());
        assert_eq!(clients.all().send("M", ()).await, Err(SendError::NotAttached));
        assert_eq!(groups.add("me", "g").await, Err(SendError::NotAttached));
        assert_eq!(groups.remove("me", "g").await, Err(SendError::NotAttached));
        let result = clients.client("me").invoke::<i32, _>("M", ()).await;
        assert_eq!(result, Err(HubError::from(SendError::NotAttached)));
        let text = SendError::NotAttached.to_string();
        assert!(text.contains("HubRoute::context") && text.contains("build"), "{text}");

        let (caller, notes) = caller_and_backplane("me", None).await;
        assert!(context.attach(caller.delivery().clone()));
        assert!(!context.attach(caller.delivery().clone()), "it is attached already");
        clients.all().send("M", ()).await.expect("it is attached");
        groups.add("me", "g").await.expect("it is attached");
        assert_eq!(notes.take(), [r#"send all: {"type":1,"target":"M","arguments":[]}"#, "subscribe group g"]);
    }
}
