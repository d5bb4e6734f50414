//! Who may come with which token, and how a connection is used at the moment. A client that has only negotiated costs
//! one small entry: no task, no timer, no buffer. All of it changes under one lock, which is held for look-ups only.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::connection_limit::ConnectionPermit;
use super::rejection::Rejection;
use super::transport_connection::TransportConnection;
use crate::auth::Principal;
use crate::ids::{ConnectionId, ConnectionToken, UserId};
use crate::protocol::TransportKind;

/// The connections of one endpoint.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    entries: Mutex<HashMap<ConnectionToken, ConnectionEntry>>,
    /// How long an entry lives without a request that is attached to it.
    disconnect_timeout: Duration,
    /// The bound of a connection's inbound pipe.
    incoming_buffer_size: Option<usize>,
}

#[derive(Debug)]
struct ConnectionEntry {
    id: ConnectionId,
    /// When it expires; None while a request is attached.
    expires_at: Option<Instant>,
    /// The transport it began with.
    transport: Option<TransportKind>,
    /// Counts its polls, so that one that was replaced does not park the connection of its successor.
    poll: u32,
    /// Whether negotiate granted stateful reconnect.
    stateful: bool,
    /// Whose it is; None is anybody's. Beside the entry, which is small where nobody has tokens.
    owner: Option<Box<ConnectionOwner>>,
    /// What there is beyond the entry, once something has been sent for it.
    connection: Option<Arc<TransportConnection>>,
}

/// Who has a connection, as their token says.
#[derive(Debug)]
struct ConnectionOwner {
    user: Option<UserId>,
    /// When that token ends.
    expires: Option<SystemTime>,
}

impl ConnectionOwner {
    fn of(principal: Option<&Principal>) -> Option<Box<Self>> {
        let Principal { user, expires, .. } = principal?;
        Some(Box::new(Self { user: user.clone(), expires: *expires }))
    }
}

/// A request that has been attached to a connection.
#[derive(Debug)]
pub(super) struct AttachedRequest {
    /// The connection.
    pub(super) connection: Arc<TransportConnection>,
    /// Its place, if this is its first transport request and it is to be started. None of a WebSocket: the connection
    /// goes on over this one (stateful reconnect).
    pub(super) permit: Option<ConnectionPermit>,
    /// The number of this poll.
    pub(super) poll: u32,
}

impl ConnectionTable {
    pub(super) fn new(disconnect_timeout: Duration, incoming_buffer_size: Option<usize>) -> Self {
        Self { entries: Mutex::default(), disconnect_timeout, incoming_buffer_size }
    }

    /// Enters a client that has negotiated. It has `disconnect_timeout` to come. `stateful`: it was granted stateful
    /// reconnect.
    pub(super) fn insert_negotiated(&self, token: ConnectionToken, id: ConnectionId, stateful: bool, now: Instant) {
        let expires_at = Some(now + self.disconnect_timeout);
        let entry =
            ConnectionEntry { id, expires_at, transport: None, poll: 0, stateful, owner: None, connection: None };
        self.lock().insert(token, entry);
    }

    /// Enters a WebSocket that came without negotiating.
    pub(super) fn insert_direct(&self, token: ConnectionToken, id: ConnectionId) -> Arc<TransportConnection> {
        let transport = Some(TransportKind::WebSockets);
        let mut entry = ConnectionEntry {
            id,
            expires_at: None,
            transport,
            poll: 0,
            stateful: false,
            owner: None,
            connection: None,
        };
        let connection = entry.connection(&token, self.incoming_buffer_size);
        self.lock().insert(token, entry);
        connection
    }

    /// Notes whose a connection is that has just been entered.
    pub(super) fn set_owner(&self, token: &ConnectionToken, principal: Option<&Principal>) {
        if let Some(entry) = self.lock().get_mut(token) {
            entry.owner = ConnectionOwner::of(principal);
        }
    }

    /// Whether a request may speak for a connection: false for another user's. One that was negotiated without a token
    /// belongs to whoever attaches first. `is_transport_request`: the time this token ends is from now on the connection's.
    ///
    /// What the table does not know belongs to nobody; later checks find that out.
    pub(super) fn is_allowed(&self, token: &str, principal: Option<&Principal>, is_transport_request: bool) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(token) else { return true };
        let known = entry.owner.as_ref().and_then(|owner| owner.user.as_ref());
        let free = known.is_none() && entry.transport.is_none();
        if !free && known != principal.and_then(|principal| principal.user.as_ref()) {
            return false;
        }
        if is_transport_request {
            entry.owner = ConnectionOwner::of(principal);
        }
        true
    }

    /// Those that were started and whose owner's token has ended.
    pub(super) fn expired_tokens(&self, now: SystemTime) -> Vec<Arc<TransportConnection>> {
        let ended = |owner: &ConnectionOwner| owner.expires.is_some_and(|expires| expires <= now);
        let started = |entry: &&ConnectionEntry| entry.transport.is_some() && entry.owner.as_deref().is_some_and(ended);
        self.lock().values().filter(started).filter_map(|entry| entry.connection.clone()).collect()
    }

    /// Attaches a transport request, in the order of the checks of docs/builders/signalr-protocol.md#1.4; `offered`
    /// tells whether the endpoint has the transport, `admit` is asked for a place if the connection is to be started by
    /// this.
    pub(super) fn attach(
        &self,
        token: &str,
        kind: TransportKind,
        offered: bool,
        admit: impl FnOnce() -> Result<ConnectionPermit, Rejection>,
    ) -> Result<AttachedRequest, Rejection> {
        let mut entries = self.lock();
        let Slot::Occupied(mut slot) = entries.entry(ConnectionToken::from(token)) else {
            return Err(Rejection::UnknownId);
        };
        let key = slot.key().clone();
        let entry = slot.get_mut();
        if !offered {
            return Err(Rejection::TransportDisabled(kind));
        }
        let permit = match entry.transport {
            None => Some(admit()?),
            Some(transport) if transport != kind => return Err(Rejection::TransportMismatch),
            Some(TransportKind::LongPolling) => None,
            // Also while the old socket is attached: it may be dead without our knowing (tests/probes/FINDINGS.md#1,
            // row 4.13).
            Some(TransportKind::WebSockets)
                if entry.connection.as_ref().is_some_and(|connection| connection.may_resume()) =>
            {
                None
            }
            Some(_) => return Err(Rejection::AlreadyActive),
        };
        entry.transport = Some(kind);
        entry.expires_at = None;
        entry.poll = entry.poll.wrapping_add(1);
        Ok(AttachedRequest { connection: entry.connection(&key, self.incoming_buffer_size), permit, poll: entry.poll })
    }

    /// A poll has ended: unless another has come meanwhile, the client has `disconnect_timeout` to come again.
    pub(super) fn park(&self, token: &ConnectionToken, poll: u32, now: Instant) {
        if let Some(entry) = self.lock().get_mut(token)
            && entry.poll == poll
        {
            entry.expires_at = Some(now + self.disconnect_timeout);
        }
    }

    /// The connection a POST is for.
    pub(super) fn find_for_post(&self, token: &str) -> Result<Arc<TransportConnection>, Rejection> {
        let mut entries = self.lock();
        let Slot::Occupied(mut slot) = entries.entry(ConnectionToken::from(token)) else {
            return Err(Rejection::UnknownId);
        };
        let key = slot.key().clone();
        match slot.get().transport {
            Some(TransportKind::WebSockets) => Err(Rejection::PostOnWebSocket),
            _ => Ok(slot.get_mut().connection(&key, self.incoming_buffer_size)),
        }
    }

    /// Takes out the connection a DELETE is for; only one that polls may be ended so.
    pub(super) fn delete(&self, token: &str) -> Result<Option<Arc<TransportConnection>>, Rejection> {
        let mut entries = self.lock();
        match entries.get(token).map(|entry| entry.transport) {
            None => Err(Rejection::UnknownId),
            Some(Some(TransportKind::LongPolling)) => Ok(entries.remove(token).and_then(|entry| entry.connection)),
            Some(_) => Err(Rejection::DeleteWithoutPolling),
        }
    }

    /// Forgets a connection; later requests find nothing.
    pub(super) fn remove(&self, token: &ConnectionToken) {
        self.lock().remove(token);
    }

    /// Takes out what has expired. The caller ends those that were started.
    pub(super) fn sweep(&self, now: Instant) -> Vec<Arc<TransportConnection>> {
        let mut expired = Vec::new();
        let mut entries = self.lock();
        entries.retain(|_, entry| {
            let keep = entry.expires_at.is_none_or(|expires_at| now < expires_at);
            if !keep {
                expired.extend(entry.connection.take());
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
    pub(super) fn started_connections(&self) -> Vec<Arc<TransportConnection>> {
        let entries = self.lock();
        entries
            .values()
            .filter(|entry| entry.transport.is_some())
            .filter_map(|entry| entry.connection.clone())
            .collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionToken, ConnectionEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionEntry {
    fn connection(&mut self, token: &ConnectionToken, incoming_buffer_size: Option<usize>) -> Arc<TransportConnection> {
        self.connection
            .get_or_insert_with(|| {
                Arc::new(TransportConnection::new(self.id.clone(), token.clone(), incoming_buffer_size, self.stateful))
            })
            .clone()
    }
}

#[cfg(test)]
mod tests;
