//! Client results: the server asks one client and awaits its answer, whichever node the client is on
//! (docs/builders/signalr-protocol.md#4.8; docs/builders/redis-backplane.md#B.4).
//!
//! One table holds every question that waits for an answer here: those this node asked, and those it passes on for
//! another node to a client of its own.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::inbound_errors::InboundError;
use super::{Delivery, SendError};
use crate::backplane::{BackplaneError, Channel, Envelope, ReplyTo};
use crate::ids::{ConnectionId, InvocationId, NodeId};
use crate::logging::reason;
use crate::outgoing::OutgoingMessage;
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, Protocol, ProtocolError, RawValue};
use crate::registry::{Member, PushOutcome};

/// How long a client may take to answer, unless the asker says otherwise.
pub(crate) const DEFAULT_RESULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a client gave no result. The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientResultError {
    /// No node has this connection.
    #[error("Connection '{0}' does not exist.")]
    UnknownConnection(ConnectionId),
    /// It went away before it answered.
    #[error("Connection '{0}' disconnected.")]
    Disconnected(ConnectionId),
    /// The client answered with an error, or its node did for it; the text is theirs.
    #[error("{0}")]
    Client(String),
    /// No answer came in time.
    #[error("Invocation canceled by the server.")]
    TimedOut,
    /// A client cannot be asked before its hub's `connected` has ended: it is not read until then.
    #[error("Client results inside OnConnectedAsync Hub methods are not allowed.")]
    WhileConnecting,
    /// The question could not be sent.
    #[error("{0}")]
    Send(#[from] SendError),
}

/// What the reference says of an answer without a result (tests/probes/FINDINGS.md#2).
const NO_RESULT_TEXT: &str = "Exception of type 'Microsoft.AspNetCore.SignalR.HubException' was thrown.";

/// What an asker on another node is told of a client that left (B.4).
const DISCONNECTED_TEXT: &str = "Connection disconnected.";

/// How many questions may be open to a client when another node asks it one more. Those of other nodes stay open until
/// the client answers or leaves, since nobody says when their askers gave up.
pub(super) const MAX_PENDING_PER_CONNECTION: usize = 1024;

/// What such an asker is told then.
const TOO_MANY_PENDING_TEXT: &str = "The client leaves too many questions unanswered.";

#[derive(Debug, Default)]
pub(super) struct PendingResults {
    table: Mutex<ResultTable>,
}

#[derive(Debug, Default)]
struct ResultTable {
    /// The number of the last question to a client of this node; the first is 1.
    last: u64,
    waiting: HashMap<InvocationId, PendingResult>,
    /// Which of them each client of this node is to answer; no set is kept empty.
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

    /// All that a client was asked.
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
    /// Who may answer. None: a client of another node; its answer comes over the backplane.
    connection: Option<ConnectionId>,
    result_receiver: ResultReceiver,
}

#[derive(Debug)]
enum ResultReceiver {
    Local(oneshot::Sender<Result<RawValue, ClientResultError>>),
    Remote(NodeId, Protocol),
}

/// Takes its question off the table however the wait ends; a late answer is passed over.
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
    /// Opens a question of this node.
    fn register(
        &self,
        connection: Option<&ConnectionId>,
    ) -> (ResultGuard<'_>, oneshot::Receiver<Result<RawValue, ClientResultError>>) {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.lock();
        let id = match connection {
            // The prefix keeps it apart from ids that clients choose.
            Some(_) => {
                table.last += 1;
                InvocationId::new(format!("s{}", table.last))
            }
            // Unique among all nodes: the client's own node puts it on its table beside its own.
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

// === asking ===

impl Delivery {
    /// Asks one client and awaits its answer, at most `timeout`. Dropping the future gives the question up.
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
                // Registered first: whoever removes the connection later fails the question, and one that is
                // going already is told here.
                if member.close.reason().is_some() || self.push(&member, &message) != PushOutcome::Queued {
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
        // Monitors count as subscribers, so more than none proves nothing: the time-out stands behind it
        // (docs/builders/redis-backplane.md#S, 6).
        if receivers == 0 { Err(ClientResultError::UnknownConnection(connection.clone())) } else { Ok(()) }
    }
}

// === answers ===

impl Delivery {
    /// A client of this node answered. Some: there was such a question, and this is what is left to do. An answer
    /// to somebody else's question is an error that closes the client; the question stays open.
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
                    return Err(ProtocolError { exception: "InvalidOperationException", detail });
                }
                Some(_) => table.take(id),
            }
        };
        Ok(pending.and_then(|pending| self.resolve(id, pending, outcome)))
    }

    /// An answer that came over the backplane.
    pub(super) fn remote_result_received(&self, protocol: &str, message: &Bytes) {
        let report = |error, what: &str| {
            if self.reported_errors.first_report(error) {
                tracing::warn!(hub = %self.hub, "a client result of another node {what}; its asker will time out, as will others");
            }
        };
        let Some(protocol) = Protocol::from_name(protocol) else {
            return report(InboundError::UnknownProtocol, "came in a protocol that this server does not speak");
        };
        match protocol.decode(&mut BytesMut::from(&message[..]), None) {
            Ok(Some(HubMessage::Completion { id, outcome, .. })) => {
                let pending = self.pending_results.lock().take(&id);
                // Only questions of this node are asked elsewhere, so there is nothing to pass on.
                if let Some(pending) = pending {
                    let _ = self.resolve(&id, pending, outcome);
                }
            }
            Ok(_) => report(InboundError::NotACompletion, "is no Completion"),
            Err(_) => report(InboundError::Unreadable, "cannot be read"),
        }
    }

    /// Another node asks a client of this one; the answer goes to that node. Some: the
    /// client is leaving already, or has left too many questions open, and this tells the asker.
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
        // Looked at after the question stands on the table: a client that begins to leave later fails it there.
        if member.close.reason().is_none() && self.push(&member, message) == PushOutcome::Queued {
            return None;
        }
        let pending = self.pending_results.lock().take(&id)?;
        self.resolve(&id, pending, Outcome::Error(DISCONNECTED_TEXT.to_owned()))
    }

    /// Fails every question to a connection that has gone.
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

    /// Gives an answer to its asker. What is returned is the way to another node, still to be gone.
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
                // The values are the client's own, in its own protocol: there is nothing to convert that could fail.
                let message = protocol.encode(&completion).ok()?;
                let envelope = Envelope::Completion { protocol: protocol.name().to_owned(), message };
                let hub = self.hub.clone();
                let published = self.backplane.publish(self.topic(Channel::Results(node)), envelope);
                Some(Box::pin(async move {
                    if let Err(error @ (BackplaneError::Down(_) | BackplaneError::Lost(_))) = published.await {
                        let reason = reason(&error);
                        tracing::debug!(%hub, reason, "a client's answer could not be passed on");
                    }
                }))
            }
        }
    }
}
