//! Layer 7: one task per client, which performs the handshake, reads, invokes hub methods and writes. No other task
//! uses the client's transport: what others send to the client waits in its outbox.
//!
//! | file | what is in it |
//! | --- | --- |
//! | this one | a connection from its start to its end: reading, dispatching, writing |
//! | [`host`] | a hub with everything its connections need; the sweep for pings and timeouts |
//! | `handshake` | the first message in each direction |
//! | `invocations` | invocations in flight: which are accepted, how many run, streams |
//! | `invocation_runner` | runs one method, and completes its invocation |
//! | `uploads` | the streams that a client is uploading |
//! | `read_ahead` | reading on for Acks while a message waits to be dispatched |
//! | `ending` | the reason of the end, the Close message, and what the hub learns |

mod ending;
mod handshake;
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
use tracing::Span;

use crate::close::{CloseReason, CloseSignal};
use crate::hub::invocation_slot::ResultPermission;
use crate::hub::{Caller, RequestInfo};
use crate::ids::ConnectionId;
use crate::keep_alive::KeepAlive;
use crate::logging::{Allowed, Escaped, LogKind, reason};
use crate::outbox::Outbox;
use crate::protocol::HubMessage;
use crate::registry::Member;
use crate::session::Session;
use crate::session::receive_tracker::ReceiveTracker;
use crate::wire::{Disconnected, ReconnectState, Sink, Source, SourceEnd};

use ending::Registration;
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
    /// Closes it from outside; the transport does so on expiry, DELETE and drain.
    pub close: CloseSignal,
    /// Present if negotiate has granted the client stateful reconnect.
    pub reconnect_state: Option<ReconnectState>,
}

/// How long sending the Close message may take while the server stops.
const CLOSE_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one client from its handshake to its end. With stateful reconnect the connection outlives its socket by up
/// to `disconnect_timeout`, in which the client may come back on another one; hub and calls do not notice.
///
/// When this returns, the Close message (if the reason has one) has been handed to `sink`, or `sink` did not accept it
/// in time; ending the transport is up to the caller. Calls that still run, and the hub's `disconnected`, continue in a
/// task of [`HubHost::tasks`].
pub(crate) async fn serve<S: Source, K: Sink>(
    host: &Arc<HubHost>,
    peer: Peer,
    outbox: Arc<Outbox>,
    source: S,
    sink: K,
) -> CloseReason {
    let close = peer.close.clone();
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
    if writing {
        // The next poll of a client may take that long to arrive. A server that stops cannot wait that long for each.
        let mut close_timeout = host.options.disconnect_timeout;
        if reason == CloseReason::Draining {
            close_timeout = close_timeout.min(CLOSE_MESSAGE_TIMEOUT);
        }
        let _ = timeout(close_timeout, &mut writer).await;
    }
    reason
}

/// Writes what waits in the outbox until the outbox is finished and empty, or the socket is lost and the client cannot
/// come back on another one.
async fn write_loop<K: Sink>(host: &HubHost, outbox: &Outbox, mut sink: K) -> Disconnected {
    let mut batch: Vec<Bytes> = Vec::new();
    let mut socket = 0;
    loop {
        // On a busy hub the next message arrives while one is being written. The writer shares its task with the reader
        // and its thread with other tasks, and must give both their turn.
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
                tracing::debug!(socket, sent_again = batch.len() - 1, "connection resumed on another socket");
            }
            more = outbox.next(&mut batch) => if !more { return Disconnected },
        }
        host.metrics.sent(batch.len() as u64, batch.iter().map(|bytes| bytes.len() as u64).sum());
        if sink.send(&mut batch).await.is_err() {
            if !outbox.has_replay_buffer() {
                return Disconnected;
            }
            // The replay buffer has what was in the batch. The reader notices the loss of the socket by itself.
            outbox.detach(socket, Instant::now());
        }
        batch.clear();
    }
}

struct Connection {
    host: Arc<HubHost>,
    peer: Peer,
    outbox: Arc<Outbox>,
}

impl Connection {
    /// The connection from its handshake until [`Connection::end`].
    async fn run<S: Source>(self, mut source: S) -> CloseReason {
        let mut session = Session::new(self.host.options.maximum_receive_message_size);
        if let Err(reason) = self.perform_handshake(&mut session, &mut source).await {
            return self.end_before_handshake(reason);
        }
        let member = self.member();
        if let Some(user) = &member.user {
            // The transport opened the span before the user was known.
            Span::current().record("user", Escaped::new(user.as_str()).to_string());
        }
        let caller = Caller::new(
            member.id.clone(),
            member.user.clone(),
            self.peer.request.clone(),
            self.peer.close.clone(),
            self.host.delivery.clone(),
        );
        let mut registration = Registration::new(self.host.clone(), caller.clone());
        self.host.delivery.connect(member.clone()).await;
        if let Err(reason) = self.notify_connected(&caller).await {
            // Before the removal, which may take a while, so that nothing more is queued in the meantime.
            let reason = self.end(reason);
            registration.remove().await;
            return reason;
        }
        registration.accepted_by_hub = true;
        let mut calls = Invocations::new(self.host.clone(), caller, self.outbox.clone());
        let reason = self.read_loop(&mut session, &mut source, &member, &mut calls).await;
        // Before the hub learns of it: what the hub now sends to everybody is not for this client.
        let reason = self.end(reason);
        registration.finish(calls, reason.error());
        reason
    }

    /// Runs the hub's `connected`.
    async fn notify_connected(&self, caller: &Caller) -> Result<(), CloseReason> {
        let finished = Arc::new(AtomicBool::new(false));
        let caller = caller.with_permission(ResultPermission::WhileConnecting(finished.clone()));
        let log = self.host.delivery.log();
        let connected = async { self.host.hub.connected(caller).await };
        let Err(error) = invocation_runner::catch_panic(log, connected).await else {
            finished.store(true, Ordering::Relaxed);
            return Ok(());
        };
        if let Some(Allowed { suppressed }) = log.allow(LogKind::ConnectedFailed, Instant::now()) {
            tracing::warn!(
                reason = reason(error.wire_text()),
                suppressed,
                "a client could not connect: the hub's `connected` failed"
            );
        }
        Err(CloseReason::ConnectedFailed { error: error.wire_text(), is_shown: error.is_shown_to_clients() })
    }

    fn member(&self) -> Arc<Member> {
        // A poll ends and is repeated anyway, so a ping would only end it early
        // (docs/builders/signalr-protocol.md#1.8).
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

    /// Reads and dispatches messages in the order of their arrival, until the connection must end.
    async fn read_loop<S: Source>(
        &self,
        session: &mut Session,
        source: &mut S,
        member: &Member,
        calls: &mut Invocations,
    ) -> CloseReason {
        let mut read_ahead = ReadAhead::new(self.host.options.stateful_reconnect_buffer_size);
        loop {
            // Messages that arrived in one read with the one that ended the connection are still dispatched, as in
            // ASP.NET Core; later ones are not.
            if let Some(reason) = self.peer.close.reason() {
                return reason.clone();
            }
            member.keep_alive.busy();
            loop {
                // A client that sends without a pause must not occupy the thread.
                tokio::task::coop::consume_budget().await;
                let message = match read_ahead.poll(session) {
                    Err(error) => return CloseReason::Protocol(error),
                    Ok(None) => break,
                    Ok(Some(message)) => message,
                };
                self.host.metrics.received(&message);
                let tracker = member.receive_tracker.as_ref().filter(|_| message.is_trackable());
                if tracker.is_some_and(|tracker| !tracker.is_new()) {
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
            let received = match read_ahead.take_end() {
                Some(end) => Err(end),
                None => loop {
                    tokio::select! {
                        received = source.recv(session.buffer()) => break received,
                        reason = self.peer.close.closed() => return reason,
                        () = calls.progress() => {}
                    }
                },
            };
            match received {
                Ok(()) => {}
                Err(SourceEnd::Closed) => {
                    return session.end().map_or_else(CloseReason::Protocol, |()| CloseReason::ClientClosed);
                }
                // Not the end: the client may come back on another socket.
                Err(SourceEnd::Lost) if member.receive_tracker.is_some() => {
                    read_ahead.socket_lost(session, &self.outbox);
                    // Without a socket the client cannot ping. `disconnect_timeout` applies instead of the client
                    // timeout.
                    member.keep_alive.busy();
                    loop {
                        tokio::select! {
                            () = read_ahead.next_socket(source, &self.outbox) => break,
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
    /// Handles one message; `Some` if it ends the connection. Waits only where ASP.NET Core blocks its read loop too:
    /// for a free invocation slot, and for room in an upload stream.
    async fn dispatch(&self, message: HubMessage, member: &Member, calls: &mut Invocations) -> Option<CloseReason> {
        match message {
            HubMessage::Invocation(invocation) => {
                return calls.invoke(invocation).await.err().map(CloseReason::Protocol);
            }
            HubMessage::StreamInvocation(invocation) => {
                return calls.stream(invocation).await.err().map(CloseReason::Protocol);
            }
            HubMessage::CancelInvocation { id, .. } => calls.cancel(&id),
            // Items and completions of unknown streams, and results that arrive too late, are ignored
            // (docs/builders/signalr-protocol.md#4.6, #4.8).
            HubMessage::StreamItem { id, item, .. } => {
                calls.item(&id, item).await;
            }
            HubMessage::Completion { id, outcome, .. } => {
                if let Err(outcome) = calls.complete(&id, outcome).await {
                    match self.host.delivery.result_received(&member.id, &id, outcome) {
                        Ok(None) => {}
                        // Another node has asked for this result. Sending it there must not hold up the reader.
                        Ok(Some(forwarded)) => drop(self.host.tasks.spawn(forwarded)),
                        Err(error) => return Some(CloseReason::Protocol(error)),
                    }
                }
            }
            HubMessage::Ping => member.keep_alive.ping_received(),
            HubMessage::Close { error, .. } => return Some(CloseReason::ClientSentClose(error)),
            // Without stateful reconnect these two are ignored (docs/builders/signalr-protocol.md#4.13).
            HubMessage::Ack { sequence_id } => self.outbox.acknowledge(sequence_id),
            HubMessage::Sequence { sequence_id } => {
                return member.receive_tracker.as_ref()?.sequence(sequence_id).err().map(CloseReason::Protocol);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
