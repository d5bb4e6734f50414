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

use super::faults::Fault;
use super::{Delivery, SendError};
use crate::backplane::{BackplaneError, Channel, Envelope, ReplyTo};
use crate::frame::Frame;
use crate::ids::{ConnectionId, InvocationId, NodeId};
use crate::logging::reason;
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, Protocol, ProtocolError, RawValue};
use crate::registry::{Member, Pushed};

/// How long a client may take to answer, unless the asker says otherwise.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a client gave no result. The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No node has this connection.
    #[error("Connection '{0}' does not exist.")]
    Unknown(ConnectionId),
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
const NO_RESULT: &str = "Exception of type 'Microsoft.AspNetCore.SignalR.HubException' was thrown.";

/// What an asker on another node is told of a client that left (B.4).
const GONE: &str = "Connection disconnected.";

/// How many questions may be open to a client when another node asks it one more. Those of other nodes stay open until
/// the client answers or leaves, since nobody says when their askers gave up.
pub(super) const MOST_OPEN: usize = 1024;

/// What such an asker is told then.
const SILENT: &str = "The client leaves too many questions unanswered.";

#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// The number of the last question to a client of this node; the first is 1.
    last: u64,
    waiting: HashMap<InvocationId, Question>,
    /// Which of them each client of this node is to answer; no set is kept empty.
    asked: HashMap<ConnectionId, HashSet<InvocationId>>,
}

impl Open {
    fn add(&mut self, id: InvocationId, question: Question) {
        drop(self.take(&id));
        if let Some(connection) = &question.connection {
            self.asked.entry(connection.clone()).or_default().insert(id.clone());
        }
        self.waiting.insert(id, question);
    }

    fn take(&mut self, id: &InvocationId) -> Option<Question> {
        let question = self.waiting.remove(id)?;
        if let Some(connection) = &question.connection
            && let Some(asked) = self.asked.get_mut(connection)
        {
            asked.remove(id);
            if asked.is_empty() {
                self.asked.remove(connection);
            }
        }
        Some(question)
    }

    /// All that a client was asked.
    fn take_of(&mut self, connection: &ConnectionId) -> Vec<(InvocationId, Question)> {
        let ids = self.asked.remove(connection).unwrap_or_default();
        ids.into_iter().filter_map(|id| self.waiting.remove(&id).map(|question| (id, question))).collect()
    }

    fn count_of(&self, connection: &ConnectionId) -> usize {
        self.asked.get(connection).map_or(0, HashSet::len)
    }
}

#[derive(Debug)]
struct Question {
    /// Who may answer. None: a client of another node; its answer comes over the backplane.
    connection: Option<ConnectionId>,
    asker: Asker,
}

#[derive(Debug)]
enum Asker {
    Here(oneshot::Sender<Result<RawValue, AskError>>),
    Node(NodeId, Protocol),
}

/// Takes its question off the table however the wait ends; a late answer is passed over.
struct Waiting<'a> {
    questions: &'a Questions,
    id: InvocationId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.questions.lock().take(&self.id);
    }
}

impl Questions {
    /// Opens a question of this node.
    fn ask(&self, connection: Option<&ConnectionId>) -> (Waiting<'_>, oneshot::Receiver<Result<RawValue, AskError>>) {
        let (sender, receiver) = oneshot::channel();
        let mut open = self.lock();
        let id = match connection {
            // The prefix keeps it apart from ids that clients choose.
            Some(_) => {
                open.last += 1;
                InvocationId::new(format!("s{}", open.last))
            }
            // Unique among all nodes: the client's own node puts it on its table beside its own.
            None => InvocationId::from(ConnectionId::random().as_str()),
        };
        open.add(id.clone(), Question { connection: connection.cloned(), asker: Asker::Here(sender) });
        (Waiting { questions: self, id }, receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === asking ===

impl Delivery {
    /// Asks one client and awaits its answer, at most `timeout`. Dropping the future gives the question up.
    pub(crate) async fn ask(
        &self,
        connection: &ConnectionId,
        method: &str,
        arguments: Vec<RawValue>,
        timeout: Duration,
    ) -> Result<RawValue, AskError> {
        super::check(&arguments, &self.protocols)?;
        let member = self.registry.connection(connection);
        let (waiting, answer) = self.questions.ask(member.is_some().then_some(connection));
        let question = Invocation { id: Some(waiting.id.clone()), ..Invocation::send(method, arguments) };
        let frame = Frame::new(HubMessage::Invocation(question));
        match member {
            Some(member) => {
                // Registered first: whoever removes the connection later fails the question, and one that is
                // going already is told here.
                if member.close.reason().is_some() || self.push(&member, &frame) != Pushed::Yes {
                    return Err(AskError::Disconnected(connection.clone()));
                }
            }
            None => self.ask_elsewhere(connection, &waiting.id, frame).await?,
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(AskError::TimedOut),
        }
    }

    async fn ask_elsewhere(&self, connection: &ConnectionId, id: &InvocationId, frame: Frame) -> Result<(), AskError> {
        let reply_to = Some(ReplyTo { invocation: id.clone(), node: self.node.clone() });
        let envelope = Envelope::Message { except: Vec::new(), frame, reply_to };
        let topic = self.topic(Channel::Connection(connection.clone()));
        let heard = self.backplane.publish(topic, envelope).await.map_err(SendError::from)?;
        // Monitors count as subscribers, so more than none proves nothing: the time-out stands behind it
        // (docs/builders/redis-backplane.md#S, 6).
        if heard == 0 { Err(AskError::Unknown(connection.clone())) } else { Ok(()) }
    }
}

// === answers ===

impl Delivery {
    /// A client of this node answered. Some: there was such a question, and this is what is left to do. An answer
    /// to somebody else's question is an error that closes the client; the question stays open.
    pub(crate) fn answered(
        &self,
        connection: &ConnectionId,
        id: &InvocationId,
        outcome: Outcome,
    ) -> Result<Option<BoxFuture<'static, ()>>, ProtocolError> {
        let question = {
            let mut open = self.questions.lock();
            match open.waiting.get(id) {
                None => return Ok(None),
                Some(question) if question.connection.as_ref() != Some(connection) => {
                    let detail = format!("Connection ID '{connection}' is not valid for invocation ID '{id}'.");
                    return Err(ProtocolError { exception: "InvalidOperationException", detail });
                }
                Some(_) => open.take(id),
            }
        };
        Ok(question.and_then(|question| self.resolve(id, question, outcome)))
    }

    /// An answer that came over the backplane.
    pub(super) fn answered_elsewhere(&self, protocol: &str, message: &Bytes) {
        let told = |fault, what: &str| {
            if self.faults.is_new(fault) {
                tracing::warn!(hub = %self.hub, "a client result of another node {what}; its asker will time out, as will others");
            }
        };
        let Some(protocol) = Protocol::from_name(protocol) else {
            return told(Fault::UnknownProtocol, "came in a protocol that this server does not speak");
        };
        match protocol.decode(&mut BytesMut::from(&message[..]), None) {
            Ok(Some(HubMessage::Completion { id, outcome, .. })) => {
                let question = self.questions.lock().take(&id);
                // Only questions of this node are asked elsewhere, so there is nothing to pass on.
                if let Some(question) = question {
                    let _ = self.resolve(&id, question, outcome);
                }
            }
            Ok(_) => told(Fault::NoCompletion, "is no Completion"),
            Err(_) => told(Fault::Unreadable, "cannot be read"),
        }
    }

    /// Another node asks a client of this one; the answer goes to that node. Some: the
    /// client is leaving already, or has left too many questions open, and this tells the asker.
    pub(super) fn pass_on(
        &self,
        connection: &ConnectionId,
        frame: &Frame,
        reply_to: ReplyTo,
    ) -> Option<BoxFuture<'static, ()>> {
        let member = self.registry.connection(connection)?;
        let asker = Asker::Node(reply_to.node, member.outbox.encoding().protocol);
        let question = Question { connection: Some(connection.clone()), asker };
        let id = reply_to.invocation;
        {
            let mut open = self.questions.lock();
            if open.count_of(connection) >= MOST_OPEN {
                drop(open);
                return self.resolve(&id, question, Outcome::Error(SILENT.to_owned()));
            }
            open.add(id.clone(), question);
        }
        // Looked at after the question stands on the table: a client that begins to leave later fails it there.
        if member.close.reason().is_none() && self.push(&member, frame) == Pushed::Yes {
            return None;
        }
        let question = self.questions.lock().take(&id)?;
        self.resolve(&id, question, Outcome::Error(GONE.to_owned()))
    }

    /// Fails every question to a connection that has gone.
    pub(super) fn unanswered(&self, member: &Member) -> Vec<BoxFuture<'static, ()>> {
        let questions = self.questions.lock().take_of(&member.id);
        let mut left = Vec::new();
        for (id, question) in questions {
            match question.asker {
                Asker::Here(sender) => {
                    let _ = sender.send(Err(AskError::Disconnected(member.id.clone())));
                }
                asker @ Asker::Node(..) => {
                    let outcome = Outcome::Error(GONE.to_owned());
                    left.extend(self.resolve(&id, Question { asker, connection: None }, outcome));
                }
            }
        }
        left
    }

    /// Gives an answer to its asker. What is returned is the way to another node, still to be gone.
    fn resolve(&self, id: &InvocationId, question: Question, outcome: Outcome) -> Option<BoxFuture<'static, ()>> {
        match question.asker {
            Asker::Here(sender) => {
                let answer = match outcome {
                    Outcome::Value(value) => Ok(value),
                    Outcome::Error(text) => Err(AskError::Client(text)),
                    Outcome::Void => Err(AskError::Client(NO_RESULT.to_owned())),
                };
                let _ = sender.send(answer);
                None
            }
            Asker::Node(node, protocol) => {
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
