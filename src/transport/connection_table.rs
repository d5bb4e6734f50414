//! The connections of one endpoint by connection token: their owners, transports and expiry. A client that has only
//! negotiated costs one small entry: no task, no timer, no buffer. One lock guards the table; it is only held for
//! look-ups and small updates.

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
    /// How long an entry is kept while no request is attached to it.
    disconnect_timeout: Duration,
    /// The maximum size of a connection's inbound pipe, in bytes.
    incoming_buffer_size: Option<usize>,
}

#[derive(Debug)]
struct ConnectionEntry {
    id: ConnectionId,
    /// When it expires; `None` while a request is attached.
    expires_at: Option<Instant>,
    /// The transport of its first transport request; `None` before that.
    transport: Option<TransportKind>,
    /// Counts its polls, so that the end of a replaced poll does not start the timeout while its successor waits.
    poll: u32,
    /// Whether negotiate granted stateful reconnect.
    stateful: bool,
    /// Who it belongs to; `None` if it was started or negotiated without authentication. Boxed to keep the entry small
    /// on servers without authentication.
    owner: Option<Box<ConnectionOwner>>,
    /// The state that its requests share; created by its first transport request or POST.
    connection: Option<Arc<TransportConnection>>,
}

/// The owner of a connection, according to the access token.
#[derive(Debug)]
struct ConnectionOwner {
    user: Option<UserId>,
    /// When the access token expires.
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
    pub(super) connection: Arc<TransportConnection>,
    /// The connection's permit, if this is its first transport request, which starts it. `None` for a WebSocket means
    /// that the connection resumes on this socket (stateful reconnect).
    pub(super) permit: Option<ConnectionPermit>,
    /// The number of this poll.
    pub(super) poll: u32,
}

impl ConnectionTable {
    pub(super) fn new(disconnect_timeout: Duration, incoming_buffer_size: Option<usize>) -> Self {
        Self { entries: Mutex::default(), disconnect_timeout, incoming_buffer_size }
    }

    /// Adds a client that has negotiated. It has `disconnect_timeout` to send its first transport request. `stateful`
    /// says whether it was granted stateful reconnect.
    pub(super) fn insert_negotiated(&self, token: ConnectionToken, id: ConnectionId, stateful: bool, now: Instant) {
        let expires_at = Some(now + self.disconnect_timeout);
        let entry =
            ConnectionEntry { id, expires_at, transport: None, poll: 0, stateful, owner: None, connection: None };
        self.lock().insert(token, entry);
    }

    /// Adds a client that opens a WebSocket without having negotiated.
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

    /// Sets the owner of a connection that has just been added.
    pub(super) fn set_owner(&self, token: &ConnectionToken, principal: Option<&Principal>) {
        if let Some(entry) = self.lock().get_mut(token) {
            entry.owner = ConnectionOwner::of(principal);
        }
    }

    /// Whether a request may use a connection: false if the connection belongs to another user. A connection that was
    /// negotiated without a user belongs to the first user that attaches to it. If `is_transport_request` is true, the
    /// connection expires with the access token of this request from now on.
    ///
    /// Returns true for an unknown connection token, which a later check rejects.
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

    /// The started connections whose owner's access token has expired.
    pub(super) fn expired_tokens(&self, now: SystemTime) -> Vec<Arc<TransportConnection>> {
        let ended = |owner: &ConnectionOwner| owner.expires.is_some_and(|expires| expires <= now);
        let started = |entry: &&ConnectionEntry| entry.transport.is_some() && entry.owner.as_deref().is_some_and(ended);
        self.lock().values().filter(started).filter_map(|entry| entry.connection.clone()).collect()
    }

    /// Attaches a transport request to its connection. The checks are made in the order of
    /// docs/builders/signalr-protocol.md#1.4. `offered` says whether the endpoint offers the transport; `admit` is
    /// called for a permit if this request starts the connection.
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
            // Allowed even while the old socket is attached: it may be dead without the server having noticed
            // (tests/probes/FINDINGS.md#1, row 4.13).
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

    /// Called when a poll has ended: unless a newer poll is attached, the client has `disconnect_timeout` to send the
    /// next one.
    pub(super) fn park(&self, token: &ConnectionToken, poll: u32, now: Instant) {
        if let Some(entry) = self.lock().get_mut(token)
            && entry.poll == poll
        {
            entry.expires_at = Some(now + self.disconnect_timeout);
        }
    }

    /// The connection that a POST is for.
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

    /// Removes the connection that a DELETE is for. Only long-polling connections may be ended this way.
    pub(super) fn delete(&self, token: &str) -> Result<Option<Arc<TransportConnection>>, Rejection> {
        let mut entries = self.lock();
        match entries.get(token).map(|entry| entry.transport) {
            None => Err(Rejection::UnknownId),
            Some(Some(TransportKind::LongPolling)) => Ok(entries.remove(token).and_then(|entry| entry.connection)),
            Some(_) => Err(Rejection::DeleteWithoutPolling),
        }
    }

    /// Removes a connection; later requests with its token are answered with 404.
    pub(super) fn remove(&self, token: &ConnectionToken) {
        self.lock().remove(token);
    }

    /// Removes the entries that have expired and returns their connections, which the caller ends.
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
        // Release the memory that a flood of negotiations has left unused.
        if entries.capacity() > 1024 && entries.len() < entries.capacity() / 8 {
            entries.shrink_to_fit();
        }
        expired
    }

    /// All connections that have been started.
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
