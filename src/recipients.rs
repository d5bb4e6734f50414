//! Layer 1: whom a message is for. One value instead of SignalR's nine send methods; it is what hubs, the
//! configuration and the backplane speak of (docs/builders/signalr-protocol.md#4.12).

use crate::ids::{ConnectionId, GroupName, UserId};

/// The receivers of one send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients {
    /// Among whom.
    pub scope: RecipientScope,
    /// Who of them is left out. Counts for [`RecipientScope::All`] and [`RecipientScope::Groups`] only, as in the reference
    /// (docs/builders/redis-backplane.md#B.1).
    pub except: Vec<ConnectionId>,
}

/// Among whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientScope {
    /// Every connection of the hub, on all nodes.
    All,
    /// These connections; unknown ones are passed over.
    Connections(Vec<ConnectionId>),
    /// The members of these groups; a member of two gets two copies, as in the reference.
    Groups(Vec<GroupName>),
    /// All connections of these users.
    Users(Vec<UserId>),
}

impl Recipients {
    /// Everybody.
    pub fn all() -> Self {
        RecipientScope::All.into()
    }

    /// One connection.
    pub fn connection(id: impl Into<ConnectionId>) -> Self {
        RecipientScope::Connections(vec![id.into()]).into()
    }

    /// One group.
    pub fn group(name: impl Into<GroupName>) -> Self {
        RecipientScope::Groups(vec![name.into()]).into()
    }

    /// One user.
    pub fn user(id: impl Into<UserId>) -> Self {
        RecipientScope::Users(vec![id.into()]).into()
    }

    /// The same without these connections.
    pub fn except(mut self, ids: impl IntoIterator<Item = ConnectionId>) -> Self {
        self.except.extend(ids);
        self
    }
}

impl From<RecipientScope> for Recipients {
    fn from(scope: RecipientScope) -> Self {
        Self { scope, except: Vec::new() }
    }
}
