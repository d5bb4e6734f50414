//! Layer 4: who is connected to this node, in which groups and as which user; one registry a hub.
//!
//! One private mutex guards the tables; no caller sees a guard. Receivers are read as snapshots, shared slices that
//! are built anew only after a change, so a broadcast holds no lock while it fills queues.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::close::{CloseReason, CloseSignal};
use crate::ids::{ConnectionId, GroupName, UserId};
use crate::keep_alive::KeepAlive;
use crate::outbox::{Outbox, PushError};
use crate::outgoing::OutgoingMessage;
use crate::session::receive_tracker::ReceiveTracker;

/// One connection as others see it.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its public id.
    pub id: ConnectionId,
    /// Whom it belongs to.
    pub user: Option<UserId>,
    /// What waits for it. It takes nothing more once `close` is given.
    pub outbox: Arc<Outbox>,
    /// Ends it.
    pub close: CloseSignal,
    /// Its clocks.
    pub keep_alive: KeepAlive,
    /// What came from it, where it acknowledges and is acknowledged (stateful reconnect).
    pub receive_tracker: Option<ReceiveTracker>,
}

/// Receivers at one moment.
pub(crate) type MemberSnapshot = Arc<[Arc<Member>]>;

/// How a push to a member went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// It is queued, or the connection is ending and wants nothing more.
    Queued,
    /// The member was too slow and is being closed; told once.
    TooSlow,
    /// The message has no form in the member's protocol; the text says why.
    NotConvertible(String),
}

impl Member {
    /// Queues a message; a member whose queue is full is closed, alone. What a full queue could not take may be followed
    /// by a smaller message that would fit: that does not arrive without the one before it, since the outbox of a member
    /// that is being closed takes nothing.
    pub(crate) fn push(&self, message: &OutgoingMessage) -> PushOutcome {
        match self.outbox.push(message) {
            Ok(()) | Err(PushError::Finished) => PushOutcome::Queued,
            Err(PushError::Full) if self.close.try_close(CloseReason::SlowClient) => PushOutcome::TooSlow,
            Err(PushError::Full) => PushOutcome::Queued,
            Err(PushError::Value(error)) => PushOutcome::NotConvertible(error.to_string()),
        }
    }
}

/// The connections of one hub on this node.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<RegistryState>,
}

#[derive(Debug, Default)]
struct RegistryState {
    connections: HashMap<ConnectionId, MemberEntry>,
    /// None after a change, until somebody asks.
    all: Option<MemberSnapshot>,
    groups: HashMap<GroupName, MemberSet>,
    users: HashMap<UserId, MemberSet>,
}

#[derive(Debug)]
struct MemberEntry {
    member: Arc<Member>,
    groups: HashSet<GroupName>,
}

/// Connections that share a group or a user; never kept empty.
#[derive(Debug, Default)]
struct MemberSet {
    members: HashMap<ConnectionId, Arc<Member>>,
    snapshot: Option<MemberSnapshot>,
}

// === coming and going ===

impl Registry {
    /// Makes a connection known: from now on broadcasts reach it.
    pub(crate) fn add(&self, member: Arc<Member>) {
        let mut state = self.lock();
        state.all = None;
        if let Some(user) = &member.user {
            state.users.entry(user.clone()).or_default().add(&member);
        }
        state.connections.insert(member.id.clone(), MemberEntry { member, groups: HashSet::new() });
    }

    /// Forgets a connection and tells which groups it was in. None: it was not known.
    pub(crate) fn remove(&self, id: &ConnectionId) -> Option<(Arc<Member>, Vec<GroupName>)> {
        let mut state = self.lock();
        let MemberEntry { member, groups } = state.connections.remove(id)?;
        state.all = None;
        for group in &groups {
            leave_set(&mut state.groups, group, id);
        }
        if let Some(user) = &member.user {
            leave_set(&mut state.users, user, id);
        }
        Some((member, groups.into_iter().collect()))
    }

    /// Puts a connection into a group. None: it is not here; false: it was in it already.
    pub(crate) fn join(&self, id: &ConnectionId, group: &GroupName) -> Option<bool> {
        let mut state = self.lock();
        let entry = state.connections.get_mut(id)?;
        if !entry.groups.insert(group.clone()) {
            return Some(false);
        }
        let member = entry.member.clone();
        state.groups.entry(group.clone()).or_default().add(&member);
        Some(true)
    }

    /// Takes a connection out of a group. None: it is not here; false: it was not in it.
    pub(crate) fn leave(&self, id: &ConnectionId, group: &GroupName) -> Option<bool> {
        let mut state = self.lock();
        if !state.connections.get_mut(id)?.groups.remove(group) {
            return Some(false);
        }
        leave_set(&mut state.groups, group, id);
        Some(true)
    }
}

// === who is here ===

impl Registry {
    /// Everybody.
    pub(crate) fn all(&self) -> MemberSnapshot {
        let mut state = self.lock();
        if let Some(snapshot) = &state.all {
            return snapshot.clone();
        }
        let snapshot: MemberSnapshot = state.connections.values().map(|entry| entry.member.clone()).collect();
        state.all = Some(snapshot.clone());
        snapshot
    }

    /// The members of a group; None where it has none here.
    pub(crate) fn group(&self, name: &GroupName) -> Option<MemberSnapshot> {
        self.lock().groups.get_mut(name).map(MemberSet::snapshot)
    }

    /// The connections of a user; None where it has none here.
    pub(crate) fn user(&self, id: &UserId) -> Option<MemberSnapshot> {
        self.lock().users.get_mut(id).map(MemberSet::snapshot)
    }

    /// One connection.
    pub(crate) fn connection(&self, id: &ConnectionId) -> Option<Arc<Member>> {
        self.lock().connections.get(id).map(|entry| entry.member.clone())
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        // Nothing panics under this lock but an allocation failure; the tables are whole either way.
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
