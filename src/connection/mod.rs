//! Layer 7: one task a client. It shakes hands, reads, calls the hub, and writes; nobody else touches the client's
//! wire. What others have for it waits in its outbox.
//!
//! | file | what is in it |
//! | --- | --- |
//! | this one | a connection from its handshake to its end |
//! | [`host`] | a hub with everything its connections need; the sweep that pings and times out |
//! | `read_ahead` | reading on for Acks while a message is waited for |
//! | `invocations` | calls in flight: which are let in, how many run, streams |
//! | `invocation_runner` | what a call answers |
//! | `uploads` | the streams a client is uploading |

pub(crate) mod host;
mod invocation_runner;
mod invocations;
mod read_ahead;
mod uploads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span};

use crate::close::{CloseReason, CloseSignal};
use crate::hub::invocation_slot::ResultPermission;
use crate::hub::{Caller, RequestInfo};
use crate::ids::ConnectionId;
use crate::keep_alive::KeepAlive;
use crate::logging::{Allowed, Escaped, LogKind, reason};
use crate::outbox::Outbox;
use crate::outgoing::{Encoding, OutgoingMessage, apply_framing};
use crate::protocol::handshake::{self, HandshakeError};
use crate::protocol::{HubMessage, Protocol};
use crate::registry::Member;
use crate::session::receive_tracker::ReceiveTracker;
use crate::session::{HandshakeOutcome, HandshakeRules, STATEFUL_VERSION, Session};
use crate::wire::{Disconnected, ReconnectState, Sink, Source, SourceEnd};

pub(crate) use host::{HubHost, UserIdProvider};
use invocations::Invocations;
use read_ahead::ReadAhead;

/// One client as its transport knows it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its public id.
    pub id: ConnectionId,
    /// The HTTP request it began with.
    pub request: Arc<RequestInfo>,
    /// Ends it from outside; the transport closes it on expiry, DELETE and drain.
    pub close: CloseSignal,
    /// Its leave to go on over another socket, if the client was granted that.
    pub reconnect_state: Option<ReconnectState>,
}

/// How long a client may take for its Close message while the server stops.
const CLOSE_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one client from its handshake to its end. A connection that may go on over another socket (stateful
/// reconnect) lives on when its socket is lost, for `disconnect_timeout`; hub and calls do not notice.
///
/// When it returns, the Close message (where one is due) has been handed to `sink`, or the sink would not take it in
/// time; what the transport has to say for farewell is the caller's. Calls that still run, and the hub's
/// `disconnected`, go on in a task of [`HubHost::tasks`].
pub(crate) async fn serve<S: Source, K: Sink>(
    host: &Arc<HubHost>,
    peer: Peer,
    outbox: Arc<Outbox>,
    source: S,
    sink: K,
) -> CloseReason {
    let (close, reconnect_state) = (peer.close.clone(), peer.reconnect_state.clone());
    let writer = write_loop(host, &outbox, sink);
    tokio::pin!(writer);
    let mut writing = true;
    let reason = {
        let reader = Connection { host: host.clone(), peer, outbox: outbox.clone() }.run(source);
        tokio::pin!(reader);
        loop {
            tokio::select! {
                reason = &mut reader => break reason,
                Disconnected = &mut writer, if writing => {
                    writing = false;
                    close.close(CloseReason::TransportLost);
                }
            }
        }
    };
    // Whatever the reader found, an earlier word from outside counts: it is why the reader ended.
    let reason = close.reason().cloned().unwrap_or(reason);
    close.close(reason.clone());
    reason.log(host.delivery.log());
    if let Some(reconnect_state) = reconnect_state {
        reconnect_state.end();
    }
    outbox.finish(close_frame(host, &reason).as_ref());
    if writing {
        // A poll may come that long for its last words; a server that stops cannot wait for each so long.
        let close_timeout = host.options.disconnect_timeout;
        let close_timeout =
            if reason == CloseReason::Draining { close_timeout.min(CLOSE_MESSAGE_TIMEOUT) } else { close_timeout };
        let _ = timeout(close_timeout, &mut writer).await;
    }
    reason
}

fn close_frame(host: &HubHost, reason: &CloseReason) -> Option<OutgoingMessage> {
    reason.close_message(host.options.detailed_errors).map(OutgoingMessage::new)
}

/// Moves what waits to the wire until the outbox is finished and empty, or the peer is gone and may not come again.
async fn write_loop<K: Sink>(host: &HubHost, outbox: &Outbox, mut sink: K) -> Disconnected {
    let mut batch: Vec<Bytes> = Vec::new();
    let mut socket = 0;
    loop {
        // A hub that is busy enough brings the next message while one is written: the reader, and the thread, are not
        // for the writer alone.
        tokio::task::coop::consume_budget().await;
        tokio::select! {
            () = sink.ready() => {}
            () = outbox.ended() => return Disconnected,
        }
        tokio::select! {
            biased;
            next_socket = sink.next_socket() => {
                socket = next_socket;
                if !outbox.resume(socket, &mut batch) {
                    continue;
                }
                host.metrics.resumed();
                tracing::debug!(socket, sent_again = batch.len() - 1, "connection goes on over another socket");
            }
            more = outbox.next(&mut batch) => if !more { return Disconnected },
        }
        host.metrics.sent(batch.len() as u64, batch.iter().map(|bytes| bytes.len() as u64).sum());
        if sink.send(&mut batch).await.is_err() {
            if !outbox.has_replay_buffer() {
                return Disconnected;
            }
            // What was in the batch is kept; the reader finds the end by itself.
            outbox.detach(socket, Instant::now());
        }
        batch.clear();
    }
}

/// A connection that others can reach. One whose task ends without a farewell, which only a panic beside a call does
/// (in our own code, or in what a hub answers at once), is taken off the registry all the same, and its hub is told:
/// nobody sends to a ghost, or keeps its state.
struct RegisteredConnection {
    host: Arc<HubHost>,
    caller: Caller,
    /// Whether the hub's `connected` took it.
    accepted_by_hub: bool,
    ended: bool,
}

impl Drop for RegisteredConnection {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.caller.abort();
        let (host, caller) = (self.host.clone(), self.caller.clone());
        if self.accepted_by_hub {
            let error = Some("the connection's task broke".to_owned());
            self.host.tasks.spawn(async move { notify_disconnected(&host, &caller, error).await }.in_current_span());
        } else {
            self.host.tasks.spawn(async move { host.delivery.disconnect(caller.connection_id()).await });
        }
    }
}

struct Connection {
    host: Arc<HubHost>,
    peer: Peer,
    outbox: Arc<Outbox>,
}

impl Connection {
    async fn run<S: Source>(self, mut source: S) -> CloseReason {
        let mut session = Session::new(self.host.options.maximum_receive_message_size);
        if let Err(reason) = self.perform_handshake(&mut session, &mut source).await {
            return reason;
        }
        let member = self.member();
        if let Some(user) = &member.user {
            // The span is the transport's, and was there before the user was known.
            Span::current().record("user", Escaped::new(user.as_str()).to_string());
        }
        let caller = Caller::new(
            member.id.clone(),
            member.user.clone(),
            self.peer.request.clone(),
            self.peer.close.clone(),
            self.host.delivery.clone(),
        );
        let mut registered = RegisteredConnection {
            host: self.host.clone(),
            caller: caller.clone(),
            accepted_by_hub: false,
            ended: false,
        };
        self.host.delivery.connect(member.clone()).await;
        let connected_finished = Arc::new(AtomicBool::new(false));
        let connecting_caller = caller.with_permission(ResultPermission::WhileConnecting(connected_finished.clone()));
        let log = self.host.delivery.log();
        if let Err(error) =
            invocation_runner::catch_panic(log, async { self.host.hub.connected(connecting_caller).await }).await
        {
            if let Some(Allowed { suppressed }) = log.allow(LogKind::ConnectedFailed, Instant::now()) {
                tracing::warn!(
                    reason = reason(error.wire_text()),
                    suppressed,
                    "a client could not connect: the hub's `connected` failed"
                );
            }
            let reason =
                CloseReason::ConnectedFailed { error: error.wire_text(), is_shown: error.is_shown_to_clients() };
            // From here on nothing more is queued for it: it may take a while until it is forgotten.
            self.peer.close.close(reason.clone());
            self.host.delivery.disconnect(&member.id).await;
            registered.ended = true;
            return reason;
        }
        registered.accepted_by_hub = true;
        connected_finished.store(true, Ordering::Relaxed);
        let mut calls = Invocations::new(self.host.clone(), caller.clone(), self.outbox.clone());
        let reason = self.read_loop(&mut session, &mut source, &member, &mut calls).await;
        // What the reader found counts only if nobody outside spoke before.
        self.peer.close.close(reason.clone());
        let reason = self.peer.close.reason().cloned().unwrap_or(reason);
        // First nothing more is queued, then the hub is told: what it sends to everybody now is not for this client.
        self.outbox.finish(close_frame(&self.host, &reason).as_ref());
        let finishing = finish_connection(self.host.clone(), caller, calls, reason.clone());
        self.host.tasks.spawn(finishing.in_current_span());
        registered.ended = true;
        reason
    }

    // === handshake ===

    async fn perform_handshake<S: Source>(&self, session: &mut Session, source: &mut S) -> Result<(), CloseReason> {
        let framing = self.outbox.encoding().framing;
        let outcome = timeout(self.host.options.handshake_timeout, self.read_handshake(session, source)).await;
        let failure = match outcome {
            Ok(Ok(HandshakeOutcome { protocol, version })) => {
                self.outbox.set_encoding(Encoding { protocol, framing });
                match &self.peer.reconnect_state {
                    Some(reconnect_state) if version >= STATEFUL_VERSION => {
                        self.outbox.enable_replay(self.host.options.stateful_reconnect_buffer_size);
                        reconnect_state.open();
                    }
                    Some(reconnect_state) => reconnect_state.end(),
                    None => {}
                }
                let answer = apply_framing(framing, handshake::success(), protocol == Protocol::MessagePack);
                // An empty queue takes it; a peer that is gone by now is found out by the writer.
                let _ = self.outbox.push_bytes(answer);
                return Ok(());
            }
            Ok(Err(HandshakeFailure::Ended(reason))) => return Err(reason),
            Ok(Err(HandshakeFailure::Refused(error))) => {
                self.log_failed_handshake(&error);
                let text = error.text(self.host.options.detailed_errors);
                (text.clone(), CloseReason::HandshakeFailed(text))
            }
            Err(_) => {
                self.log_failed_handshake(&HandshakeError::Timeout);
                (HandshakeError::Timeout.text(false), CloseReason::HandshakeMissing)
            }
        };
        // Errors are said before the protocol is known to both sides, so always as text
        // (docs/builders/signalr-protocol.md#2.3, tests/probes/FINDINGS.md#2).
        let _ = self.outbox.push_bytes(apply_framing(framing, &handshake::failure(&failure.0), false));
        Err(failure.1)
    }

    fn log_failed_handshake(&self, error: &HandshakeError) {
        if let Some(Allowed { suppressed }) = self.host.delivery.log().allow(LogKind::HandshakeFailed, Instant::now()) {
            // Not in the span yet: whose connection it is to be is told after the handshake.
            let user = self.peer.request.principal.as_ref().and_then(|principal| principal.user.as_ref());
            let user = user.map(|user| Escaped::new(user.as_str()).to_string());
            tracing::info!(user, reason = error.log_text(), suppressed, "a handshake failed");
        }
    }

    async fn read_handshake<S: Source>(
        &self,
        session: &mut Session,
        source: &mut S,
    ) -> Result<HandshakeOutcome, HandshakeFailure> {
        let rules = HandshakeRules {
            protocols: &self.host.options.protocols,
            carries_binary: self.peer.request.transport.carries_binary(),
        };
        loop {
            if let Some(handshaken) = session.handshake(rules).map_err(HandshakeFailure::Refused)? {
                return Ok(handshaken);
            }
            tokio::select! {
                receive_tracker = source.recv(session.buffer()) => match receive_tracker {
                    Ok(()) => {}
                    Err(SourceEnd::Violation(code)) => return Err(HandshakeFailure::Ended(CloseReason::Violation(code))),
                    Err(SourceEnd::Closed | SourceEnd::Lost) => return Err(HandshakeFailure::Ended(CloseReason::HandshakeMissing)),
                },
                reason = self.peer.close.closed() => return Err(HandshakeFailure::Ended(reason)),
            }
        }
    }

    fn member(&self) -> Arc<Member> {
        // Polls keep themselves alive; pings would only wake them (docs/builders/signalr-protocol.md#1.8).
        let pings = self.peer.request.transport != crate::protocol::TransportKind::LongPolling;
        Arc::new(Member {
            id: self.peer.id.clone(),
            user: (self.host.user_id)(&self.peer.request),
            outbox: self.outbox.clone(),
            close: self.peer.close.clone(),
            keep_alive: KeepAlive::new(Instant::now(), pings),
            receive_tracker: self.outbox.has_replay_buffer().then(ReceiveTracker::default),
        })
    }

    // === reading ===

    /// Takes messages in the order they came until the connection must end.
    async fn read_loop<S: Source>(
        &self,
        session: &mut Session,
        source: &mut S,
        member: &Member,
        calls: &mut Invocations,
    ) -> CloseReason {
        let mut read_ahead = ReadAhead::new(self.host.options.stateful_reconnect_buffer_size);
        loop {
            // What came in one piece with the message that ended the connection is still dispatched, as in the
            // reference; what comes later is not.
            if let Some(reason) = self.peer.close.reason() {
                return reason.clone();
            }
            member.keep_alive.busy();
            loop {
                // A client that sends without a pause must not keep its thread for itself.
                tokio::task::coop::consume_budget().await;
                let message = match read_ahead.poll(session) {
                    Err(error) => return CloseReason::Protocol(error),
                    Ok(None) => break,
                    Ok(Some(message)) => message,
                };
                self.host.metrics.received(&message);
                let counted = member.receive_tracker.as_ref().filter(|_| message.is_trackable());
                if counted.is_some_and(|receive_tracker| !receive_tracker.is_new()) {
                    continue;
                }
                let dispatched = self.dispatch(message, member, calls);
                tokio::pin!(dispatched);
                let ended = tokio::select! {
                    biased;
                    ended = &mut dispatched => ended,
                    reason = self.peer.close.closed() => return reason,
                    () = read_ahead.read(session, source, &self.outbox), if member.receive_tracker.is_some() => tokio::select! {
                        ended = dispatched => ended,
                        reason = self.peer.close.closed() => return reason,
                    },
                };
                if let Some(reason) = ended {
                    return reason;
                }
            }
            member.keep_alive.idle(Instant::now());
            let receive_tracker = match read_ahead.take_end() {
                Some(end) => Err(end),
                None => loop {
                    tokio::select! {
                        receive_tracker = source.recv(session.buffer()) => break receive_tracker,
                        reason = self.peer.close.closed() => return reason,
                        () = calls.progress() => {}
                    }
                },
            };
            match receive_tracker {
                Ok(()) => {}
                Err(SourceEnd::Closed) => {
                    return session.end().map_or_else(CloseReason::Protocol, |()| CloseReason::ClientClosed);
                }
                // No end yet: the client may come again.
                Err(SourceEnd::Lost) if member.receive_tracker.is_some() => {
                    read_ahead.socket_lost(session, &self.outbox);
                    // Nobody is there to be heard: what ends it now is the time without a socket.
                    member.keep_alive.busy();
                    loop {
                        tokio::select! {
                            () = read_ahead.next_socket(source) => break,
                            reason = self.peer.close.closed() => return reason,
                            () = calls.progress() => {}
                        }
                    }
                }
                Err(SourceEnd::Lost) => return CloseReason::TransportLost,
                Err(SourceEnd::Violation(code)) => return CloseReason::Violation(code),
            }
        }
    }
}

impl Connection {
    /// One message. Some: it ends the connection. Waits only where the reference blocks its loop too: for a free
    /// slot, and for room in an upload stream.
    async fn dispatch(&self, message: HubMessage, member: &Member, calls: &mut Invocations) -> Option<CloseReason> {
        match message {
            HubMessage::Invocation(invocation) => {
                return calls.invoke(invocation).await.err().map(CloseReason::Protocol);
            }
            HubMessage::StreamInvocation(invocation) => {
                return calls.stream(invocation).await.err().map(CloseReason::Protocol);
            }
            HubMessage::CancelInvocation { id, .. } => calls.cancel(&id),
            // Items and ends of streams that nobody reads, and late answers, are passed over
            // (docs/builders/signalr-protocol.md#4.6, #4.8).
            HubMessage::StreamItem { id, item, .. } => {
                calls.item(&id, item).await;
            }
            HubMessage::Completion { id, outcome, .. } => {
                if let Err(outcome) = calls.complete(&id, outcome).await {
                    match self.host.delivery.result_received(&member.id, &id, outcome) {
                        Ok(None) => {}
                        // The way to another node is gone beside the reader.
                        Ok(Some(forwarded)) => drop(self.host.tasks.spawn(forwarded)),
                        Err(error) => return Some(CloseReason::Protocol(error)),
                    }
                }
            }
            HubMessage::Ping => member.keep_alive.ping_received(),
            HubMessage::Close { error, .. } => return Some(CloseReason::ClientSentClose(error)),
            // Of a connection without stateful reconnect these two mean nothing (4.13).
            HubMessage::Ack { sequence_id } => self.outbox.acknowledge(sequence_id),
            HubMessage::Sequence { sequence_id } => {
                return member.receive_tracker.as_ref()?.sequence(sequence_id).err().map(CloseReason::Protocol);
            }
        }
        None
    }
}

enum HandshakeFailure {
    Ended(CloseReason),
    Refused(HandshakeError),
}

/// What is left when a client has gone: its calls run to their end, since what it asked for was accepted, and the
/// hub is told. Beside each other, as in the reference (docs/builders/signalr-protocol.md#4.11).
async fn finish_connection(host: Arc<HubHost>, caller: Caller, calls: Invocations, reason: CloseReason) {
    tokio::join!(notify_disconnected(&host, &caller, reason.error()), calls.finish());
}

/// Tells the hub that a client has gone, and forgets the client.
async fn notify_disconnected(host: &HubHost, caller: &Caller, error: Option<String>) {
    let disconnected = async { host.hub.disconnected(caller.clone(), error).await };
    let log = host.delivery.log();
    if let Err(error) = invocation_runner::catch_panic(log, disconnected).await
        && let Some(Allowed { suppressed }) = log.allow(LogKind::DisconnectedFailed, Instant::now())
    {
        tracing::warn!(reason = reason(error.wire_text()), suppressed, "the hub's `disconnected` failed");
    }
    host.delivery.disconnect(caller.connection_id()).await;
}

#[cfg(test)]
mod tests;
