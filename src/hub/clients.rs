//! [`Clients`] and [`Groups`]: choosing recipients, sending to them, and changing groups
//! (docs/builders/signalr-protocol.md#4.12).

use std::sync::Arc;

use super::client::Client;
use super::client_method::Callable;
use super::context::HubContext;
use super::invocation_slot::ResultPermission;
use crate::delivery::{Delivery, SendError};
use crate::ids::{ConnectionId, GroupName, UserId};
use crate::protocol::ValueError;
use crate::recipients::{RecipientScope, Recipients};

/// The clients of a hub, to choose the recipients of a message from.
///
/// Inside a hub method, get it from [`Caller::clients`](super::Caller::clients); elsewhere, from
/// [`HubContext::clients`]. Recipients are reached on all nodes of the farm. An unknown connection, an empty group and
/// a user without connections are not errors: nothing is sent to them.
///
/// ```
/// use hubplane::hub::{Clients, HubError};
///
/// async fn announce(clients: &Clients) -> Result<(), HubError> {
///     clients.all().send("Notice", ("The server restarts at noon.",)).await?;
///     clients.group("admins").send("Restart", ("noon", 12)).await?;
///     clients.user("ann").send("Refresh", ()).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Clients {
    delivery: DeliveryRef,
    caller: Option<ConnectionId>,
    permission: ResultPermission,
}

/// The chosen recipients of a message. [`Audience::send`] sends it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Audience {
    delivery: DeliveryRef,
    recipients: Recipients,
}

/// The groups of a hub. A connection can be in any number of groups, and leaves all of them when it ends.
///
/// Groups need not be created: a group exists while it has members. Inside a hub method, get this from
/// [`Caller::groups`](super::Caller::groups); elsewhere, from [`HubContext::groups`].
#[derive(Clone, Debug)]
pub struct Groups {
    delivery: DeliveryRef,
}

/// The delivery of the hub, held directly or through a context that may not be attached yet.
#[derive(Clone, Debug)]
enum DeliveryRef {
    Delivery(Arc<Delivery>),
    Context(HubContext),
}

impl DeliveryRef {
    fn delivery(&self) -> Result<&Arc<Delivery>, SendError> {
        match self {
            Self::Delivery(delivery) => Ok(delivery),
            Self::Context(context) => context.delivery(),
        }
    }
}

impl Clients {
    /// For code outside of hub methods.
    pub(super) fn of_context(context: HubContext) -> Self {
        Self { delivery: DeliveryRef::Context(context), caller: None, permission: ResultPermission::Allowed }
    }

    /// For a method or a hook that runs for this connection.
    pub(super) fn of_caller(delivery: Arc<Delivery>, caller: ConnectionId, permission: ResultPermission) -> Self {
        Self { delivery: DeliveryRef::Delivery(delivery), caller: Some(caller), permission }
    }

    /// Any recipients.
    pub(crate) fn recipients(&self, recipients: Recipients) -> Audience {
        Audience { delivery: self.delivery.clone(), recipients }
    }

    /// All connections of the hub.
    pub fn all(&self) -> Audience {
        self.recipients(Recipients::all())
    }

    /// All connections of the hub except for these.
    pub fn all_except(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Audience {
        self.recipients(Recipients::all().except(ids.into_iter().map(Into::into)))
    }

    /// The caller. For [`Clients`] from a [`HubContext`] there is no caller: sends to it reach nobody, and
    /// [`Client::invoke`] fails.
    pub fn caller(&self) -> Client {
        let audience = self.recipients(RecipientScope::Connections(self.caller.iter().cloned().collect()).into());
        Client::new(audience, self.caller.clone(), self.permission.clone())
    }

    /// All connections of the hub except for the caller.
    pub fn others(&self) -> Audience {
        self.all_except(self.caller.clone())
    }

    /// One connection.
    pub fn client(&self, id: impl Into<ConnectionId>) -> Client {
        let id = id.into();
        Client::new(self.recipients(Recipients::connection(id.clone())), Some(id), self.permission.clone())
    }

    /// Several connections.
    pub fn clients(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Audience {
        self.recipients(RecipientScope::Connections(ids.into_iter().map(Into::into).collect()).into())
    }

    /// The members of a group.
    pub fn group(&self, name: impl Into<GroupName>) -> Audience {
        self.recipients(Recipients::group(name))
    }

    /// The members of several groups. A connection that is a member of two of them receives the message twice.
    pub fn groups(&self, names: impl IntoIterator<Item = impl Into<GroupName>>) -> Audience {
        self.recipients(RecipientScope::Groups(names.into_iter().map(Into::into).collect()).into())
    }

    /// The members of a group except for these connections.
    pub fn group_except(
        &self,
        name: impl Into<GroupName>,
        ids: impl IntoIterator<Item = impl Into<ConnectionId>>,
    ) -> Audience {
        self.recipients(Recipients::group(name).except(ids.into_iter().map(Into::into)))
    }

    /// The members of a group except for the caller.
    pub fn others_in_group(&self, name: impl Into<GroupName>) -> Audience {
        self.group_except(name, self.caller.clone())
    }

    /// All connections of a user.
    pub fn user(&self, id: impl Into<UserId>) -> Audience {
        self.recipients(Recipients::user(id))
    }

    /// All connections of several users.
    pub fn users(&self, ids: impl IntoIterator<Item = impl Into<UserId>>) -> Audience {
        self.recipients(RecipientScope::Users(ids.into_iter().map(Into::into).collect()).into())
    }
}

impl Audience {
    /// Invokes a client method on every recipient, without awaiting results.
    ///
    /// `method` is a [`super::ClientMethod`], whose arguments the compiler checks, or the method's name with any
    /// arguments: a tuple of up to eight values, `()` for none, or a `Vec<RawValue>` ([`super::IntoArguments`]).
    ///
    /// Returns when the message is in the recipients' outboxes or, if it goes over the backplane, when the backplane
    /// has accepted it. It never waits for a slow client.
    ///
    /// # Errors
    ///
    /// - [`SendError::Value`] if an argument cannot be represented in one of the hub's protocols, or if the method's
    ///   name is empty (clients treat such a message as invalid and disconnect);
    /// - [`SendError::EmptyGroup`] if one of several groups has an empty name;
    /// - [`SendError::Backplane`] if the backplane is needed and not available;
    /// - [`SendError::NotAttached`] if this came from a [`HubContext`] that is not attached yet.
    pub async fn send<A>(&self, method: impl Callable<A>, arguments: A) -> Result<(), SendError> {
        let name = method.method_name();
        if name.is_empty() {
            return Err(SendError::Value(ValueError("the method to call has an empty name".to_owned())));
        }
        let arguments = method.values(arguments).map_err(SendError::Value)?;
        self.delivery()?.send(&self.recipients, name, arguments).await
    }

    pub(super) fn delivery(&self) -> Result<&Delivery, SendError> {
        Ok(self.delivery.delivery()?)
    }
}

impl Groups {
    pub(super) fn of(delivery: Arc<Delivery>) -> Self {
        Self { delivery: DeliveryRef::Delivery(delivery) }
    }

    pub(super) fn of_context(context: HubContext) -> Self {
        Self { delivery: DeliveryRef::Context(context) }
    }

    /// Adds a connection to a group. The connection may be on any node.
    ///
    /// When this returns, the connection receives everything that is sent to the group from then on. Adding a member
    /// again has no effect.
    ///
    /// # Errors
    ///
    /// - [`SendError::AckTimeout`] if the connection is not on this node and no other node acknowledges the change
    ///   within 30 s, for example because the connection does not exist (a server without a backplane ignores unknown
    ///   connections instead);
    /// - [`SendError::Backplane`] if another node is needed and the backplane is not available;
    /// - [`SendError::NotAttached`] if this came from a [`HubContext`] that is not attached yet.
    pub async fn add(&self, connection: impl Into<ConnectionId>, group: impl Into<GroupName>) -> Result<(), SendError> {
        self.delivery.delivery()?.join(&connection.into(), &group.into()).await
    }

    /// Removes a connection from a group. It is not an error if the connection is not a member.
    ///
    /// # Errors
    ///
    /// The same errors as [`Groups::add`].
    pub async fn remove(
        &self,
        connection: impl Into<ConnectionId>,
        group: impl Into<GroupName>,
    ) -> Result<(), SendError> {
        self.delivery.delivery()?.leave(&connection.into(), &group.into()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::test_kit::caller;

    #[tokio::test]
    async fn every_method_chooses_its_recipients() {
        let clients = caller("me", None).await.clients();
        let (me, one) = (|| [ConnectionId::from("me")], ConnectionId::from("a"));
        let ids = || ["a", "b"].map(ConnectionId::from);
        let cases = [
            (clients.all(), Recipients::all()),
            (clients.all_except(["a", "b"]), Recipients::all().except(ids())),
            (clients.caller().audience, Recipients::connection("me")),
            (clients.others(), Recipients::all().except(me())),
            (clients.client(&one).audience, Recipients::connection("a")),
            (clients.clients(vec!["a".to_owned(), "b".to_owned()]), RecipientScope::Connections(ids().into()).into()),
            (clients.group("g"), Recipients::group("g")),
            (clients.groups(["g", "h"]), RecipientScope::Groups(vec!["g".into(), "h".into()]).into()),
            (clients.group_except("g", ids()), Recipients::group("g").except(ids())),
            (clients.others_in_group("g"), Recipients::group("g").except(me())),
            (clients.user("u"), Recipients::user("u")),
            (clients.users(["u", "v"]), RecipientScope::Users(vec!["u".into(), "v".into()]).into()),
        ];
        for (audience, recipients) in cases {
            assert_eq!(audience.recipients, recipients);
        }
    }

    #[tokio::test]
    async fn outside_of_a_call_there_is_no_caller() {
        let outside = HubContext::of(caller("me", None).await.delivery().clone()).clients();
        assert_eq!(outside.caller().audience.recipients, RecipientScope::Connections(vec![]).into());
        assert_eq!(outside.others().recipients, Recipients::all());
    }

    #[tokio::test]
    async fn a_send_with_an_empty_method_name_fails() {
        let sent = caller("me", None).await.clients().all().send("", ()).await;
        assert!(matches!(sent, Err(SendError::Value(_))), "{sent:?}");
    }
}
