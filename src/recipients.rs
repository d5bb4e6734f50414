//! Layer 1: the recipients of a message, as one value. It covers the nine ways of sending in SignalR, and is used by
//! hubs, the configuration and delivery (docs/builders/signalr-protocol.md#4.12).

use crate::ids::{ConnectionId, GroupName, UserId};

/// The connections that a message is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipients {
    /// All recipients, before exceptions.
    pub scope: RecipientScope,
    /// Connections that do not get the message. As in ASP.NET Core, exceptions apply to [`RecipientScope::All`] and
    /// [`RecipientScope::Groups`], and are ignored otherwise (docs/builders/redis-backplane.md#B.1).
    pub except: Vec<ConnectionId>,
}

/// A set of connections, described by what they have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecipientScope {
    /// Every connection of the hub, on all nodes.
    All,
    /// These connections; unknown ids are ignored.
    Connections(Vec<ConnectionId>),
    /// The members of these groups. As in ASP.NET Core, a member of two of them gets the message twice.
    Groups(Vec<GroupName>),
    /// All connections of these users.
    Users(Vec<UserId>),
}

impl Recipients {
    /// Every connection of the hub.
    pub(crate) fn all() -> Self {
        RecipientScope::All.into()
    }

    /// One connection.
    pub(crate) fn connection(id: impl Into<ConnectionId>) -> Self {
        RecipientScope::Connections(vec![id.into()]).into()
    }

    /// The members of one group.
    pub(crate) fn group(name: impl Into<GroupName>) -> Self {
        RecipientScope::Groups(vec![name.into()]).into()
    }

    /// All connections of one user.
    pub(crate) fn user(id: impl Into<UserId>) -> Self {
        RecipientScope::Users(vec![id.into()]).into()
    }

    /// Excludes these connections, in addition to those that are excluded already.
    pub(crate) fn except(mut self, ids: impl IntoIterator<Item = ConnectionId>) -> Self {
        self.except.extend(ids);
        self
    }
}

impl From<RecipientScope> for Recipients {
    fn from(scope: RecipientScope) -> Self {
        Self { scope, except: Vec::new() }
    }
}
