//! Layer 4: the registry of a hub's connections on this node, by id, by group and by user.
//!
//! One private mutex guards the tables, and no caller holds it. Recipients are returned as snapshots: shared slices
//! that are rebuilt only after a change. So a broadcast holds no lock while it fills outboxes.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::close::{CloseReason, CloseSignal};
use crate::ids::{ConnectionId, GroupName, UserId};
use crate::keep_alive::KeepAlive;
use crate::outbox::{Outbox, PushError};
use crate::outgoing::OutgoingMessage;
use crate::session::receive_tracker::ReceiveTracker;

/// A connection as the rest of the server sees it.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its public id.
    pub id: ConnectionId,
    /// Its user, if there is one.
    pub user: Option<UserId>,
    /// The queue of its messages. It accepts no further ones once `close` has been signalled.
    pub outbox: Arc<Outbox>,
    /// Ends the connection.
    pub close: CloseSignal,
    /// Its keep-alive state.
    pub keep_alive: KeepAlive,
    /// Counts the messages that were received from it, if it uses stateful reconnect.
    pub receive_tracker: Option<ReceiveTracker>,
}

/// A set of connections at one moment.
pub(crate) type MemberSnapshot = Arc<[Arc<Member>]>;

/// The outcome of a push to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// The message is queued, or was dropped because the connection is ending.
    Queued {
        /// Its length in the client's encoding; 0 if it was dropped.
        bytes: usize,
    },
    /// The client was too slow and is being closed. Returned only once per connection.
    TooSlow,
    /// The message cannot be represented in the client's protocol; the text says why.
    NotConvertible(String),
}

impl Member {
    /// Queues a message. If the outbox is full, this connection is closed, and no other is affected. A smaller message
    /// that would still fit does not arrive after one that was lost, since the outbox of a closing connection accepts
    /// nothing.
    pub(crate) fn push(&self, message: &OutgoingMessage) -> PushOutcome {
        match self.outbox.push(message) {
            Ok(bytes) => PushOutcome::Queued { bytes },
            Err(PushError::Finished) => PushOutcome::Queued { bytes: 0 },
            Err(PushError::Full) if self.close.try_close(CloseReason::SlowClient) => PushOutcome::TooSlow,
            Err(PushError::Full) => PushOutcome::Queued { bytes: 0 },
            Err(PushError::Value(error)) => PushOutcome::NotConvertible(error.to_string()),
        }
    }
}

/// The connections of one hub on this node.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<RegistryState>,
    /// Of how many groups one connection may be a member; `None` means no limit.
    max_groups: Option<usize>,
}

/// The outcome of [`Registry::join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinOutcome {
    /// The connection is a new member of the group.
    Joined,
    /// It was a member already.
    AlreadyMember,
    /// It is a member of as many groups as one connection may be.
    TooManyGroups,
    /// It is not on this node.
    NotHere,
}

/// The tables are locked for at most this many groups at a time, so that a connection with a very large number of groups
/// does not hold up the others.
const MAX_GROUPS_PER_LOCK: usize = 256;

#[derive(Debug, Default)]
struct RegistryState {
    connections: HashMap<ConnectionId, MemberEntry>,
    /// All connections; `None` after a change, until the next call of [`Registry::all`].
    all: Option<MemberSnapshot>,
    groups: HashMap<GroupName, MemberSet>,
    users: HashMap<UserId, MemberSet>,
}

#[derive(Debug)]
struct MemberEntry {
    member: Arc<Member>,
    groups: HashSet<GroupName>,
}

/// The connections of one group or one user. Empty sets are removed.
#[derive(Debug, Default)]
struct MemberSet {
    members: HashMap<ConnectionId, Arc<Member>>,
    snapshot: Option<MemberSnapshot>,
}

// === changes ===

impl Registry {
    /// Makes an empty registry. `max_groups` is of how many groups one connection may be a member.
    pub(crate) fn new(max_groups: Option<usize>) -> Self {
        Self { state: Mutex::default(), max_groups }
    }

    /// Adds a connection. From now on, broadcasts reach it.
    pub(crate) fn add(&self, member: Arc<Member>) {
        let mut state = self.lock();
        state.all = None;
        if let Some(user) = &member.user {
            state.users.entry(user.clone()).or_default().add(&member);
        }
        state.connections.insert(member.id.clone(), MemberEntry { member, groups: HashSet::new() });
    }

    /// Removes a connection, and returns it with the groups of which it was a member; `None` if it is unknown.
    pub(crate) fn remove(&self, id: &ConnectionId) -> Option<(Arc<Member>, Vec<GroupName>)> {
        let mut state = self.lock();
        let MemberEntry { member, groups } = state.connections.remove(id)?;
        state.all = None;
        if let Some(user) = &member.user {
            leave_set(&mut state.users, user, id);
        }
        drop(state);
        // Its entry is gone, so it cannot join again in between.
        let groups: Vec<GroupName> = groups.into_iter().collect();
        for chunk in groups.chunks(MAX_GROUPS_PER_LOCK) {
            let mut state = self.lock();
            for group in chunk {
                leave_set(&mut state.groups, group, id);
            }
        }
        Some((member, groups))
    }

    /// Adds a connection to a group.
    pub(crate) fn join(&self, id: &ConnectionId, group: &GroupName) -> JoinOutcome {
        let mut state = self.lock();
        let Some(entry) = state.connections.get_mut(id) else { return JoinOutcome::NotHere };
        if entry.groups.contains(group) {
            return JoinOutcome::AlreadyMember;
        }
        if self.max_groups.is_some_and(|maximum| entry.groups.len() >= maximum) {
            return JoinOutcome::TooManyGroups;
        }
        entry.groups.insert(group.clone());
        let member = entry.member.clone();
        state.groups.entry(group.clone()).or_default().add(&member);
        JoinOutcome::Joined
    }

    /// Removes a connection from a group. Returns `None` if it is not on this node, and `false` if it was not a member.
    pub(crate) fn leave(&self, id: &ConnectionId, group: &GroupName) -> Option<bool> {
        let mut state = self.lock();
        if !state.connections.get_mut(id)?.groups.remove(group) {
            return Some(false);
        }
        leave_set(&mut state.groups, group, id);
        Some(true)
    }
}

// === look-ups ===

impl Registry {
    /// All connections.
    pub(crate) fn all(&self) -> MemberSnapshot {
        let mut state = self.lock();
        if let Some(snapshot) = &state.all {
            return snapshot.clone();
        }
        let snapshot: MemberSnapshot = state.connections.values().map(|entry| entry.member.clone()).collect();
        state.all = Some(snapshot.clone());
        snapshot
    }

    /// The members of a group; `None` if there are none on this node.
    pub(crate) fn group(&self, name: &GroupName) -> Option<MemberSnapshot> {
        self.lock().groups.get_mut(name).map(MemberSet::snapshot)
    }

    /// The connections of a user; `None` if there are none on this node.
    pub(crate) fn user(&self, id: &UserId) -> Option<MemberSnapshot> {
        self.lock().users.get_mut(id).map(MemberSet::snapshot)
    }

    /// The connection with this id; `None` if it is not on this node.
    pub(crate) fn connection(&self, id: &ConnectionId) -> Option<Arc<Member>> {
        self.lock().connections.get(id).map(|entry| entry.member.clone())
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        // Nothing but an allocation failure can panic while this lock is held, and the tables are consistent even then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemberSet {
    fn add(&mut self, member: &Arc<Member>) {
        self.members.insert(member.id.clone(), member.clone());
        self.snapshot = None;
    }

    fn snapshot(&mut self) -> MemberSnapshot {
        self.snapshot.get_or_insert_with(|| self.members.values().cloned().collect()).clone()
    }
}

fn leave_set<K: Eq + Hash + Clone>(sets: &mut HashMap<K, MemberSet>, key: &K, id: &ConnectionId) {
    if let Some(set) = sets.get_mut(key) {
        set.members.remove(id);
        set.snapshot = None;
        if set.members.is_empty() {
            sets.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
