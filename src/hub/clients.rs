//! SignalR's send surface: `Clients` and `Groups` (reference/signalr-protocol.md 4.12).

use std::sync::Arc;

use super::values::IntoArguments;
use crate::delivery::{Delivery, SendError};
use crate::ids::{ConnectionId, GroupName, UserId};
use crate::target::{Scope, Target};

/// Whom messages can be sent to, from a hub method or from outside.
#[derive(Clone, Debug)]
pub struct Clients {
    delivery: Arc<Delivery>,
    caller: Option<ConnectionId>,
}

/// Some receivers, chosen; [`Audience::send`] sends.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Audience {
    delivery: Arc<Delivery>,
    target: Target,
}

/// Who is in which group.
#[derive(Clone, Debug)]
pub struct Groups {
    delivery: Arc<Delivery>,
}

impl Clients {
    pub(crate) fn of(delivery: Arc<Delivery>, caller: Option<ConnectionId>) -> Self {
        Self { delivery, caller }
    }

    /// Any target.
    pub fn target(&self, target: Target) -> Audience {
        Audience { delivery: self.delivery.clone(), target }
    }

    /// Everybody.
    pub fn all(&self) -> Audience {
        self.target(Target::all())
    }

    /// Everybody but these.
    pub fn all_except(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Audience {
        self.target(Target::all().except(ids.into_iter().map(Into::into)))
    }

    /// The connection that calls. Outside of a call there is none, and nothing is sent.
    pub fn caller(&self) -> Audience {
        self.target(Scope::Connections(self.caller.iter().cloned().collect()).into())
    }

    /// Everybody but the caller.
    pub fn others(&self) -> Audience {
        self.all_except(self.caller.clone())
    }

    /// One connection.
    pub fn client(&self, id: impl Into<ConnectionId>) -> Audience {
        self.target(Target::connection(id))
    }

    /// Several connections.
    pub fn clients(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Audience {
        self.target(Scope::Connections(ids.into_iter().map(Into::into).collect()).into())
    }

    /// The members of a group.
    pub fn group(&self, name: impl Into<GroupName>) -> Audience {
        self.target(Target::group(name))
    }

    /// The members of several groups; a member of two gets two copies.
    pub fn groups(&self, names: impl IntoIterator<Item = impl Into<GroupName>>) -> Audience {
        self.target(Scope::Groups(names.into_iter().map(Into::into).collect()).into())
    }

    /// The members of a group but these.
    pub fn group_except(
        &self,
        name: impl Into<GroupName>,
        ids: impl IntoIterator<Item = impl Into<ConnectionId>>,
    ) -> Audience {
        self.target(Target::group(name).except(ids.into_iter().map(Into::into)))
    }

    /// The members of a group but the caller.
    pub fn others_in_group(&self, name: impl Into<GroupName>) -> Audience {
        self.group_except(name, self.caller.clone())
    }

    /// All connections of a user.
    pub fn user(&self, id: impl Into<UserId>) -> Audience {
        self.target(Target::user(id))
    }

    /// All connections of several users.
    pub fn users(&self, ids: impl IntoIterator<Item = impl Into<UserId>>) -> Audience {
        self.target(Scope::Users(ids.into_iter().map(Into::into).collect()).into())
    }
}

impl Audience {
    /// Calls `method` at each receiver and waits for no answer. The arguments are a tuple of serializable values,
    /// `()` for none, or a `Vec<RawValue>`.
    ///
    /// Returns when every local receiver has it queued and the backplane has taken it. A slow receiver is never
    /// waited for. Fails when a value has no form in one of the hub's protocols, or the backplane is needed and away.
    pub async fn send(&self, method: &str, arguments: impl IntoArguments) -> Result<(), SendError> {
        let arguments = arguments.into_arguments().map_err(SendError::Value)?;
        self.delivery.send(&self.target, method, arguments).await
    }
}

impl Groups {
    pub(crate) fn of(delivery: Arc<Delivery>) -> Self {
        Self { delivery }
    }

    /// Puts a connection into a group, on whichever node it is. Done when what is sent to the group afterwards
    /// reaches it. A connection of another node that does not answer within 30 s is an error.
    pub async fn add(&self, connection: &ConnectionId, group: impl Into<GroupName>) -> Result<(), SendError> {
        self.delivery.join(connection, &group.into()).await
    }

    /// Takes a connection out of a group; no error where it was not in it.
    pub async fn remove(&self, connection: &ConnectionId, group: impl Into<GroupName>) -> Result<(), SendError> {
        self.delivery.leave(connection, &group.into()).await
    }
}
