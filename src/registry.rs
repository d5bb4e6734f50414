//! Floor 4: who is connected to this node, in which groups and as which user; one registry a hub.
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
use crate::session::received::Received;

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
    pub received: Option<Received>,
}

/// Receivers at one moment.
pub(crate) type Snapshot = Arc<[Arc<Member>]>;

/// How a push to a member went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is queued, or the connection is ending and wants nothing more.
    Yes,
    /// The member was too slow and is being closed; told once.
    TooSlow,
    /// The message has no form in the member's protocol; the text says why.
    NoForm(String),
}

impl Member {
    /// Queues a message; a member whose queue is full is closed, alone. What a full queue could not take may be followed
    /// by a smaller message that would fit: that does not arrive without the one before it, since the outbox of a member
    /// that is being closed takes nothing.
    pub(crate) fn push(&self, message: &OutgoingMessage) -> Pushed {
        match self.outbox.push(message) {
            Ok(()) | Err(PushError::Finished) => Pushed::Yes,
            Err(PushError::Full) if self.close.try_close(CloseReason::SlowClient) => Pushed::TooSlow,
            Err(PushError::Full) => Pushed::Yes,
            Err(PushError::Value(error)) => Pushed::NoForm(error.to_string()),
        }
    }
}

/// The connections of one hub on this node.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<ConnectionId, Entry>,
    /// None after a change, until somebody asks.
    everybody: Option<Snapshot>,
    groups: HashMap<GroupName, Circle>,
    users: HashMap<UserId, Circle>,
}

#[derive(Debug)]
struct Entry {
    member: Arc<Member>,
    groups: HashSet<GroupName>,
}

/// Connections that share a group or a user; never kept empty.
#[derive(Debug, Default)]
struct Circle {
    members: HashMap<ConnectionId, Arc<Member>>,
    snapshot: Option<Snapshot>,
}

// === coming and going ===

impl Registry {
    /// Makes a connection known: from now on broadcasts reach it.
    pub(crate) fn add(&self, member: Arc<Member>) {
        let mut state = self.lock();
        state.everybody = None;
        if let Some(user) = &member.user {
            state.users.entry(user.clone()).or_default().add(&member);
        }
        state.connections.insert(member.id.clone(), Entry { member, groups: HashSet::new() });
    }

    /// Forgets a connection and tells which groups it was in. None: it was not known.
    pub(crate) fn remove(&self, id: &ConnectionId) -> Option<(Arc<Member>, Vec<GroupName>)> {
        let mut state = self.lock();
        let Entry { member, groups } = state.connections.remove(id)?;
        state.everybody = None;
        for group in &groups {
            leave(&mut state.groups, group, id);
        }
        if let Some(user) = &member.user {
            leave(&mut state.users, user, id);
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
        leave(&mut state.groups, group, id);
        Some(true)
    }
}

// === who is here ===

impl Registry {
    /// Everybody.
    pub(crate) fn everybody(&self) -> Snapshot {
        let mut state = self.lock();
        if let Some(snapshot) = &state.everybody {
            return snapshot.clone();
        }
        let snapshot: Snapshot = state.connections.values().map(|entry| entry.member.clone()).collect();
        state.everybody = Some(snapshot.clone());
        snapshot
    }

    /// The members of a group; None where it has none here.
    pub(crate) fn group(&self, name: &GroupName) -> Option<Snapshot> {
        self.lock().groups.get_mut(name).map(Circle::snapshot)
    }

    /// The connections of a user; None where it has none here.
    pub(crate) fn user(&self, id: &UserId) -> Option<Snapshot> {
        self.lock().users.get_mut(id).map(Circle::snapshot)
    }

    /// One connection.
    pub(crate) fn connection(&self, id: &ConnectionId) -> Option<Arc<Member>> {
        self.lock().connections.get(id).map(|entry| entry.member.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock but an allocation failure; the tables are whole either way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Circle {
    fn add(&mut self, member: &Arc<Member>) {
        self.members.insert(member.id.clone(), member.clone());
        self.snapshot = None;
    }

    fn snapshot(&mut self) -> Snapshot {
        self.snapshot.get_or_insert_with(|| self.members.values().cloned().collect()).clone()
    }
}

fn leave<K: Eq + Hash + Clone>(circles: &mut HashMap<K, Circle>, key: &K, id: &ConnectionId) {
    if let Some(circle) = circles.get_mut(key) {
        circle.members.remove(id);
        circle.snapshot = None;
        if circle.members.is_empty() {
            circles.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
