//! Who may come with which token, and how a connection is used at the moment. A client that has only negotiated costs
//! one small entry: no task, no timer, no buffer. All of it changes under one lock, which is held for look-ups only.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::answers::Refusal;
use super::limits::Place;
use super::link::Link;
use crate::auth::Principal;
use crate::ids::{ConnectionId, ConnectionToken, UserId};
use crate::protocol::TransportKind;

/// The connections of one endpoint.
#[derive(Debug)]
pub(super) struct Table {
    entries: Mutex<HashMap<ConnectionToken, Entry>>,
    /// How long an entry lives without a request that is attached to it.
    disconnect_timeout: Duration,
    /// The bound of a connection's inbound pipe.
    incoming_buffer_size: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    id: ConnectionId,
    /// When it expires; None while a request is attached.
    until: Option<Instant>,
    /// The transport it began with.
    bound: Option<TransportKind>,
    /// Counts its polls, so that one that was replaced does not park the connection of its successor.
    poll: u32,
    /// Whether negotiate granted stateful reconnect.
    stateful: bool,
    /// Whose it is; None is anybody's. Beside the entry, which is small where nobody has tokens.
    owner: Option<Box<Owner>>,
    /// What there is beyond the entry, once something has been sent for it.
    link: Option<Arc<Link>>,
}

/// Who has a connection, as their token says.
#[derive(Debug)]
struct Owner {
    user: Option<UserId>,
    /// When that token ends.
    expires: Option<SystemTime>,
}

impl Owner {
    fn of(principal: Option<&Principal>) -> Option<Box<Self>> {
        let Principal { user, expires, .. } = principal?;
        Some(Box::new(Self { user: user.clone(), expires: *expires }))
    }
}

/// A request that has been attached to a connection.
#[derive(Debug)]
pub(super) struct Attached {
    /// The connection.
    pub(super) link: Arc<Link>,
    /// Its place, if this is its first transport request and it is to be started. None of a WebSocket: the connection
    /// goes on over this one (stateful reconnect).
    pub(super) first: Option<Place>,
    /// The number of this poll.
    pub(super) poll: u32,
}

impl Table {
    pub(super) fn new(disconnect_timeout: Duration, incoming_buffer_size: Option<usize>) -> Self {
        Self { entries: Mutex::default(), disconnect_timeout, incoming_buffer_size }
    }

    /// Enters a client that has negotiated. It has `disconnect_timeout` to come. `stateful`: it was granted stateful
    /// reconnect.
    pub(super) fn negotiated(&self, token: ConnectionToken, id: ConnectionId, stateful: bool, now: Instant) {
        let until = Some(now + self.disconnect_timeout);
        let entry = Entry { id, until, bound: None, poll: 0, stateful, owner: None, link: None };
        self.lock().insert(token, entry);
    }

    /// Enters a WebSocket that came without negotiating.
    pub(super) fn unasked(&self, token: ConnectionToken, id: ConnectionId) -> Arc<Link> {
        let bound = Some(TransportKind::WebSockets);
        let mut entry = Entry { id, until: None, bound, poll: 0, stateful: false, owner: None, link: None };
        let link = entry.link(&token, self.incoming_buffer_size);
        self.lock().insert(token, entry);
        link
    }

    /// Notes whose a connection is that has just been entered.
    pub(super) fn own(&self, token: &ConnectionToken, principal: Option<&Principal>) {
        if let Some(entry) = self.lock().get_mut(token) {
            entry.owner = Owner::of(principal);
        }
    }

    /// Whether a request may speak for a connection: false for another user's. One that was negotiated without a token
    /// belongs to whoever attaches first. `attaches`: the time this token ends is from now on the connection's.
    ///
    /// What the table does not know belongs to nobody; later checks find that out.
    pub(super) fn claim(&self, token: &str, principal: Option<&Principal>, attaches: bool) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(token) else { return true };
        let known = entry.owner.as_ref().and_then(|owner| owner.user.as_ref());
        let free = known.is_none() && entry.bound.is_none();
        if !free && known != principal.and_then(|principal| principal.user.as_ref()) {
            return false;
        }
        if attaches {
            entry.owner = Owner::of(principal);
        }
        true
    }

    /// Those that were started and whose owner's token has ended.
    pub(super) fn lapsed(&self, now: SystemTime) -> Vec<Arc<Link>> {
        let ended = |owner: &Owner| owner.expires.is_some_and(|expires| expires <= now);
        let started = |entry: &&Entry| entry.bound.is_some() && entry.owner.as_deref().is_some_and(ended);
        self.lock().values().filter(started).filter_map(|entry| entry.link.clone()).collect()
    }

    /// Attaches a transport request, in the order of the checks of docs/builders/signalr-protocol.md#1.4; `offered`
    /// tells whether the endpoint has the transport, `admit` is asked for a place if the connection is to be started by
    /// this.
    pub(super) fn attach(
        &self,
        token: &str,
        kind: TransportKind,
        offered: bool,
        admit: impl FnOnce() -> Result<Place, Refusal>,
    ) -> Result<Attached, Refusal> {
        let mut entries = self.lock();
        let Slot::Occupied(mut slot) = entries.entry(ConnectionToken::from(token)) else {
            return Err(Refusal::IdUnknown);
        };
        let key = slot.key().clone();
        let entry = slot.get_mut();
        if !offered {
            return Err(Refusal::NotOffered(kind));
        }
        let first = match entry.bound {
            None => Some(admit()?),
            Some(bound) if bound != kind => return Err(Refusal::OtherTransport),
            Some(TransportKind::LongPolling) => None,
            // Also while the old socket is attached: it may be dead without our knowing (tests/probes/FINDINGS.md#1,
            // row 4.13).
            Some(TransportKind::WebSockets) if entry.link.as_ref().is_some_and(|link| link.may_resume()) => None,
            Some(_) => return Err(Refusal::Active),
        };
        entry.bound = Some(kind);
        entry.until = None;
        entry.poll = entry.poll.wrapping_add(1);
        Ok(Attached { link: entry.link(&key, self.incoming_buffer_size), first, poll: entry.poll })
    }

    /// A poll has ended: unless another has come meanwhile, the client has `disconnect_timeout` to come again.
    pub(super) fn park(&self, token: &ConnectionToken, poll: u32, now: Instant) {
        if let Some(entry) = self.lock().get_mut(token)
            && entry.poll == poll
        {
            entry.until = Some(now + self.disconnect_timeout);
        }
    }

    /// The connection a POST is for.
    pub(super) fn posted_to(&self, token: &str) -> Result<Arc<Link>, Refusal> {
        let mut entries = self.lock();
        let Slot::Occupied(mut slot) = entries.entry(ConnectionToken::from(token)) else {
            return Err(Refusal::IdUnknown);
        };
        let key = slot.key().clone();
        match slot.get().bound {
            Some(TransportKind::WebSockets) => Err(Refusal::PostOnWebSocket),
            _ => Ok(slot.get_mut().link(&key, self.incoming_buffer_size)),
        }
    }

    /// Takes out the connection a DELETE is for; only one that polls may be ended so.
    pub(super) fn delete(&self, token: &str) -> Result<Option<Arc<Link>>, Refusal> {
        let mut entries = self.lock();
        match entries.get(token).map(|entry| entry.bound) {
            None => Err(Refusal::IdUnknown),
            Some(Some(TransportKind::LongPolling)) => Ok(entries.remove(token).and_then(|entry| entry.link)),
            Some(_) => Err(Refusal::DeleteOnOther),
        }
    }

    /// Forgets a connection; later requests find nothing.
    pub(super) fn remove(&self, token: &ConnectionToken) {
        self.lock().remove(token);
    }

    /// Takes out what has expired. The caller ends those that were started.
    pub(super) fn sweep(&self, now: Instant) -> Vec<Arc<Link>> {
        let mut expired = Vec::new();
        let mut entries = self.lock();
        entries.retain(|_, entry| {
            let keep = entry.until.is_none_or(|until| now < until);
            if !keep {
                expired.extend(entry.link.take());
            }
            keep
        });
        // After a flood of negotiations the map gives its memory back.
        if entries.capacity() > 1024 && entries.len() < entries.capacity() / 8 {
            entries.shrink_to_fit();
        }
        expired
    }

    /// Everybody who has been started.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let entries = self.lock();
        entries.values().filter(|entry| entry.bound.is_some()).filter_map(|entry| entry.link.clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionToken, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn link(&mut self, token: &ConnectionToken, incoming_buffer_size: Option<usize>) -> Arc<Link> {
        self.link
            .get_or_insert_with(|| {
                Arc::new(Link::new(self.id.clone(), token.clone(), incoming_buffer_size, self.stateful))
            })
            .clone()
    }
}

#[cfg(test)]
mod tests;
