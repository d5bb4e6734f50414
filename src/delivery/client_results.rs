//! Client results: invokes a client method and awaits its result, no matter which node the client is connected to
//! (docs/builders/signalr-protocol.md#4.8; docs/builders/redis-backplane.md#B.4).
//!
//! One table holds all pending results of a node: those that it requested itself, and those that another node requested
//! from one of its clients.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::inbound_errors::InboundError;
use super::{Delivery, SendError};
use crate::backplane::{BackplaneError, Channel, Envelope, ReplyTo};
use crate::exception::Exception;
use crate::ids::{ConnectionId, InvocationId, NodeId};
use crate::logging::reason;
use crate::outgoing::OutgoingMessage;
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, Protocol, ProtocolError, RawValue};
use crate::registry::{Member, PushOutcome};

/// How long a client may take to answer, unless the caller sets another timeout.
pub(crate) const DEFAULT_RESULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a client result could not be obtained. The texts are those of ASP.NET Core.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientResultError {
    /// No node has this connection.
    #[error("Connection '{0}' does not exist.")]
    UnknownConnection(ConnectionId),
    /// The connection ended before the client answered.
    #[error("Connection '{0}' disconnected.")]
    Disconnected(ConnectionId),
    /// The client, or its node on its behalf, answered with this error.
    #[error("{0}")]
    Client(String),
    /// The client did not answer in time.
    #[error("Invocation canceled by the server.")]
    TimedOut,
    /// The hub's `connected` requested a result from the client that is connecting. The client's messages are not read
    /// until `connected` has ended, so its answer could not arrive.
    #[error("Client results inside OnConnectedAsync Hub methods are not allowed.")]
    WhileConnecting,
    /// The invocation could not be sent.
    #[error("{0}")]
    Send(#[from] SendError),
}

/// ASP.NET Core's error for an answer without a result (tests/probes/FINDINGS.md#2).
const NO_RESULT_TEXT: &str = "Exception of type 'Microsoft.AspNetCore.SignalR.HubException' was thrown.";

/// The error that a requesting node gets if the client disconnects (B.4).
const DISCONNECTED_TEXT: &str = "Connection disconnected.";

/// How many results of one client may be pending when another node requests one more. Requests of other nodes stay
/// pending until the client answers or disconnects, since a node does not report that it has given up.
pub(super) const MAX_PENDING_PER_CONNECTION: usize = 1024;

/// The error that a requesting node gets beyond [`MAX_PENDING_PER_CONNECTION`].
const TOO_MANY_PENDING_TEXT: &str = "Too many results of this client are pending.";

#[derive(Debug, Default)]
pub(super) struct PendingResults {
    table: Mutex<ResultTable>,
}

#[derive(Debug, Default)]
struct ResultTable {
    /// The number of the last request to a client of this node; the first is 1.
    last: u64,
    waiting: HashMap<InvocationId, PendingResult>,
    /// The requests that each client of this node has yet to answer; empty sets are removed.
    by_connection: HashMap<ConnectionId, HashSet<InvocationId>>,
}

impl ResultTable {
    fn add(&mut self, id: InvocationId, pending: PendingResult) {
        drop(self.take(&id));
        if let Some(connection) = &pending.connection {
            self.by_connection.entry(connection.clone()).or_default().insert(id.clone());
        }
        self.waiting.insert(id, pending);
    }

    fn take(&mut self, id: &InvocationId) -> Option<PendingResult> {
        let pending = self.waiting.remove(id)?;
        if let Some(connection) = &pending.connection
            && let Some(by_connection) = self.by_connection.get_mut(connection)
        {
            by_connection.remove(id);
            if by_connection.is_empty() {
                self.by_connection.remove(connection);
            }
        }
        Some(pending)
    }

    /// Removes and returns all pending results of a client.
    fn take_of(&mut self, connection: &ConnectionId) -> Vec<(InvocationId, PendingResult)> {
        let ids = self.by_connection.remove(connection).unwrap_or_default();
        ids.into_iter().filter_map(|id| self.waiting.remove(&id).map(|pending| (id, pending))).collect()
    }

    fn count_of(&self, connection: &ConnectionId) -> usize {
        self.by_connection.get(connection).map_or(0, HashSet::len)
    }
}

#[derive(Debug)]
struct PendingResult {
    /// The connection that may answer; `None` for a client of another node, whose answer comes over the backplane.
    connection: Option<ConnectionId>,
    result_receiver: ResultReceiver,
}

#[derive(Debug)]
enum ResultReceiver {
    Local(oneshot::Sender<Result<RawValue, ClientResultError>>),
    Remote(NodeId, Protocol),
}

/// Removes a pending result from the table when the wait ends for any reason; an answer that comes later is ignored.
struct ResultGuard<'a> {
    pending_results: &'a PendingResults,
    id: InvocationId,
}

impl Drop for ResultGuard<'_> {
    fn drop(&mut self) {
        self.pending_results.lock().take(&self.id);
    }
}

impl PendingResults {
    /// Adds a pending result that this node requests; `connection` is the client if it is connected to this node.
    fn register(
        &self,
        connection: Option<&ConnectionId>,
    ) -> (ResultGuard<'_>, oneshot::Receiver<Result<RawValue, ClientResultError>>) {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.lock();
        let id = match connection {
            // The prefix distinguishes it from the ids that clients choose.
            Some(_) => {
                table.last += 1;
                InvocationId::new(format!("s{}", table.last))
            }
            // Must be unique among all nodes, since the client's node adds it to its own table.
            None => InvocationId::from(ConnectionId::random().as_str()),
        };
        table.add(
            id.clone(),
            PendingResult { connection: connection.cloned(), result_receiver: ResultReceiver::Local(sender) },
        );
        (ResultGuard { pending_results: self, id }, receiver)
    }

    fn lock(&self) -> MutexGuard<'_, ResultTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === requests ===

impl Delivery {
    /// Invokes a client method and awaits its result for at most `timeout`. Dropping the future abandons the request.
    pub(crate) async fn request_result(
        &self,
        connection: &ConnectionId,
        method: &str,
        arguments: Vec<RawValue>,
        timeout: Duration,
    ) -> Result<RawValue, ClientResultError> {
        super::check(&arguments, &self.protocols)?;
        let member = self.registry.connection(connection);
        let (waiting, answer) = self.pending_results.register(member.is_some().then_some(connection));
        let pending = Invocation { id: Some(waiting.id.clone()), ..Invocation::send(method, arguments) };
        let message = OutgoingMessage::new(HubMessage::Invocation(pending));
        match member {
            Some(member) => {
                // Registered before this check: if the connection is removed later, that fails the request; if it is
                // ending already, the request fails here.
                if member.close.reason().is_some()
                    || !matches!(self.push(&member, &message), PushOutcome::Queued { .. })
                {
                    return Err(ClientResultError::Disconnected(connection.clone()));
                }
            }
            None => self.request_remote_result(connection, &waiting.id, message).await?,
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(ClientResultError::TimedOut),
        }
    }

    async fn request_remote_result(
        &self,
        connection: &ConnectionId,
        id: &InvocationId,
        message: OutgoingMessage,
    ) -> Result<(), ClientResultError> {
        let reply_to = Some(ReplyTo { invocation: id.clone(), node: self.node.clone() });
        let envelope = Envelope::Message { except: Vec::new(), message, reply_to };
        let topic = self.topic(Channel::Connection(connection.clone()));
        let receivers = self.backplane.publish(topic, envelope).await.map_err(SendError::from)?;
        // Zero means that no node has the connection. A higher number proves nothing, since monitoring clients count as
        // subscribers too; the timeout covers that case (docs/builders/redis-backplane.md#S, 6).
        if receivers == 0 { Err(ClientResultError::UnknownConnection(connection.clone())) } else { Ok(()) }
    }
}

// === answers ===

impl Delivery {
    /// Handles the answer of a client of this node. Returns a future that sends the result to another node, if that
    /// node requested it. An answer to an unknown request is ignored.
    ///
    /// # Errors
    ///
    /// Fails if the request was made to another client; that request stays pending, and the answering client is closed.
    pub(crate) fn result_received(
        &self,
        connection: &ConnectionId,
        id: &InvocationId,
        outcome: Outcome,
    ) -> Result<Option<BoxFuture<'static, ()>>, ProtocolError> {
        let pending = {
            let mut table = self.pending_results.lock();
            match table.waiting.get(id) {
                None => return Ok(None),
                Some(pending) if pending.connection.as_ref() != Some(connection) => {
                    let detail = format!("Connection ID '{connection}' is not valid for invocation ID '{id}'.");
                    return Err(ProtocolError { exception: Exception::InvalidOperation.name(), detail });
                }
                Some(_) => table.take(id),
            }
        };
        Ok(pending.and_then(|pending| self.resolve(id, pending, outcome)))
    }

    /// Handles an answer that arrived over the backplane.
    pub(super) fn remote_result_received(&self, protocol: &str, message: &Bytes) {
        let report = |error, what: &str| {
            if self.reported_errors.first_report(error) {
                tracing::warn!(hub = %self.hub, "a client result from another node {what}; the call that waits for it will time out; further ones are not logged");
            }
        };
        let Some(protocol) = Protocol::from_name(protocol) else {
            return report(InboundError::UnknownProtocol, "is in a protocol that this server does not support");
        };
        match protocol.decode(&mut BytesMut::from(&message[..]), None) {
            Ok(Some(HubMessage::Completion { id, outcome, .. })) => {
                let pending = self.pending_results.lock().take(&id);
                // A request to a client of another node was made by this node, so there is nothing to forward.
                if let Some(pending) = pending {
                    let _ = self.resolve(&id, pending, outcome);
                }
            }
            Ok(_) => report(InboundError::NotACompletion, "is not a completion"),
            Err(_) => report(InboundError::Unreadable, "cannot be decoded"),
        }
    }

    /// Forwards the request of another node to a client of this node, whose answer will be sent to that node. If the
    /// client is disconnecting or has too many pending results, returns a future that sends an error to that node.
    pub(super) fn forward_request(
        &self,
        connection: &ConnectionId,
        message: &OutgoingMessage,
        reply_to: ReplyTo,
    ) -> Option<BoxFuture<'static, ()>> {
        let member = self.registry.connection(connection)?;
        let result_receiver = ResultReceiver::Remote(reply_to.node, member.outbox.encoding().protocol);
        let pending = PendingResult { connection: Some(connection.clone()), result_receiver };
        let id = reply_to.invocation;
        {
            let mut table = self.pending_results.lock();
            if table.count_of(connection) >= MAX_PENDING_PER_CONNECTION {
                drop(table);
                return self.resolve(&id, pending, Outcome::Error(TOO_MANY_PENDING_TEXT.to_owned()));
            }
            table.add(id.clone(), pending);
        }
        // Checked after the request has been added: if the client begins to disconnect later, that fails the request.
        if member.close.reason().is_none() && matches!(self.push(&member, message), PushOutcome::Queued { .. }) {
            return None;
        }
        let pending = self.pending_results.lock().take(&id)?;
        self.resolve(&id, pending, Outcome::Error(DISCONNECTED_TEXT.to_owned()))
    }

    /// Fails all pending results of a connection that has ended. Returns futures that notify the other nodes that
    /// requested some of them.
    pub(super) fn fail_pending_results(&self, member: &Member) -> Vec<BoxFuture<'static, ()>> {
        let pending_results = self.pending_results.lock().take_of(&member.id);
        let mut left = Vec::new();
        for (id, pending) in pending_results {
            match pending.result_receiver {
                ResultReceiver::Local(sender) => {
                    let _ = sender.send(Err(ClientResultError::Disconnected(member.id.clone())));
                }
                result_receiver @ ResultReceiver::Remote(..) => {
                    let outcome = Outcome::Error(DISCONNECTED_TEXT.to_owned());
                    left.extend(self.resolve(&id, PendingResult { result_receiver, connection: None }, outcome));
                }
            }
        }
        left
    }

    /// Completes a pending result. If another node requested it, returns a future that sends it to that node.
    fn resolve(&self, id: &InvocationId, pending: PendingResult, outcome: Outcome) -> Option<BoxFuture<'static, ()>> {
        match pending.result_receiver {
            ResultReceiver::Local(sender) => {
                let answer = match outcome {
                    Outcome::Value(value) => Ok(value),
                    Outcome::Error(text) => Err(ClientResultError::Client(text)),
                    Outcome::Void => Err(ClientResultError::Client(NO_RESULT_TEXT.to_owned())),
                };
                let _ = sender.send(answer);
                None
            }
            ResultReceiver::Remote(node, protocol) => {
                let completion = HubMessage::Completion { id: id.clone(), outcome, headers: Headers::default() };
                // The value is in the client's own protocol, so it needs no conversion, and encoding cannot fail.
                let message = protocol.encode(&completion).ok()?;
                let envelope = Envelope::Completion { protocol: protocol.name().to_owned(), message };
                let hub = self.hub.clone();
                let published = self.backplane.publish(self.topic(Channel::Results(node)), envelope);
                Some(Box::pin(async move {
                    if let Err(error @ (BackplaneError::Down(_) | BackplaneError::Lost(_))) = published.await {
                        let reason = reason(&error);
                        tracing::debug!(%hub, reason, "a client result could not be sent to the node that requested it");
                    }
                }))
            }
        }
    }
}
