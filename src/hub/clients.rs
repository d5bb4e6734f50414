//! SignalR's send surface: `Clients` and `Groups` (docs/builders/signalr-protocol.md#4.12).

use std::sync::Arc;

use super::client::Client;
use super::client_method::Callable;
use super::context::HubContext;
use super::invocation_slot::ResultPermission;
use crate::delivery::{Delivery, SendError};
use crate::ids::{ConnectionId, GroupName, UserId};
use crate::protocol::ValueError;
use crate::recipients::{RecipientScope, Recipients};

/// Whom messages can be sent to, from a hub method or from outside.
#[derive(Clone, Debug)]
pub struct Clients {
    delivery: DeliveryRef,
    caller: Option<ConnectionId>,
    permission: ResultPermission,
}

/// Some receivers, chosen; [`Audience::send`] sends.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Audience {
    delivery: DeliveryRef,
    recipients: Recipients,
}

/// Who is in which group.
#[derive(Clone, Debug)]
pub struct Groups {
    delivery: DeliveryRef,
}

/// How a send reaches the delivery of its hub: directly, or through a context that may not be attached yet.
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
    /// From outside of any call.
    pub(super) fn of_context(context: HubContext) -> Self {
        Self { delivery: DeliveryRef::Context(context), caller: None, permission: ResultPermission::Allowed }
    }

    /// Of a call, or of a hook, of this connection.
    pub(super) fn of_caller(delivery: Arc<Delivery>, caller: ConnectionId, permission: ResultPermission) -> Self {
        Self { delivery: DeliveryRef::Delivery(delivery), caller: Some(caller), permission }
    }

    /// Any target.
    pub fn recipients(&self, recipients: Recipients) -> Audience {
        Audience { delivery: self.delivery.clone(), recipients }
    }

    /// Everybody.
    pub fn all(&self) -> Audience {
        self.recipients(Recipients::all())
    }

    /// Everybody but these.
    pub fn all_except(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Audience {
        self.recipients(Recipients::all().except(ids.into_iter().map(Into::into)))
    }

    /// The connection that calls. Outside of a call there is none, and nothing is sent.
    pub fn caller(&self) -> Client {
        let audience = self.recipients(RecipientScope::Connections(self.caller.iter().cloned().collect()).into());
        Client::new(audience, self.caller.clone(), self.permission.clone())
    }

    /// Everybody but the caller.
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

    /// The members of several groups; a member of two gets two copies.
    pub fn groups(&self, names: impl IntoIterator<Item = impl Into<GroupName>>) -> Audience {
        self.recipients(RecipientScope::Groups(names.into_iter().map(Into::into).collect()).into())
    }

    /// The members of a group but these.
    pub fn group_except(
        &self,
        name: impl Into<GroupName>,
        ids: impl IntoIterator<Item = impl Into<ConnectionId>>,
    ) -> Audience {
        self.recipients(Recipients::group(name).except(ids.into_iter().map(Into::into)))
    }

    /// The members of a group but the caller.
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
    /// Calls `method` at each receiver and waits for no answer. It is a [`super::ClientMethod`], whose arguments the
    /// compiler checks, or a name with any arguments: a tuple of up to eight values, `()` for none, or a
    /// `Vec<RawValue>` ([`super::IntoArguments`]).
    ///
    /// Returns when every local receiver has it queued and the backplane has taken it. A slow receiver is never
    /// waited for. Fails when a value has no form in one of the hub's protocols, when `method` is empty (clients take
    /// such a call for a broken message and hang up), when the backplane is needed and away, or when this came from a
    /// [`HubContext`] that is not attached yet.
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

    /// Puts a connection into a group, on whichever node it is. Done when what is sent to the group afterwards
    /// reaches it. A connection of another node that does not answer within 30 s is an error.
    pub async fn add(&self, connection: impl Into<ConnectionId>, group: impl Into<GroupName>) -> Result<(), SendError> {
        self.delivery.delivery()?.join(&connection.into(), &group.into()).await
    }

    /// Takes a connection out of a group; no error where it was not in it.
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
    async fn every_choice_is_its_target() {
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
    async fn a_method_without_a_name_is_not_called() {
        let sent = caller("me", None).await.clients().all().send("", ()).await;
        assert!(matches!(sent, Err(SendError::Value(_))), "{sent:?}");
    }
}
