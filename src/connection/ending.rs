//! How a connection ends: the reason is decided here, once, and everything that follows from it starts here: the log
//! line, the Close message, and what the hub learns.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::Instrument as _;

use super::invocation_runner;
use super::invocations::Invocations;
use super::{Connection, HubHost};
use crate::close::{CloseReason, DisconnectError};
use crate::hub::Caller;
use crate::logging::{Allowed, LogKind, reason};
use crate::outgoing::OutgoingMessage;
use crate::protocol::HubMessage;

impl Connection {
    /// Ends the connection and returns the reason. `found` is the reason that the connection's own task found. It is
    /// ignored if the hub, the sweep or a drain has already closed the connection, because that is why the task
    /// stopped.
    ///
    /// After this, nothing more is queued for the client: the close message, if the reason has one, is the last.
    pub(super) fn end(&self, found: CloseReason) -> CloseReason {
        let detailed_errors = self.host.options.detailed_errors;
        self.end_with(found, |reason| reason.close_message(detailed_errors))
    }

    /// Like [`Connection::end`], for a connection whose handshake has not succeeded. It gets no Close message: the
    /// client waits for a handshake response, and would take the Close message for a wrong one
    /// (docs/builders/signalr-protocol.md#2.1).
    pub(super) fn end_before_handshake(&self, found: CloseReason) -> CloseReason {
        self.end_with(found, |_| None)
    }

    fn end_with(
        &self,
        found: CloseReason,
        close_message: impl FnOnce(&CloseReason) -> Option<HubMessage>,
    ) -> CloseReason {
        let close = &self.peer.close;
        close.close(found.clone());
        let reason = close.reason().cloned().unwrap_or(found);
        reason.log(self.host.delivery.log());
        if let Some(reconnect_state) = &self.peer.reconnect_state {
            reconnect_state.end();
        }
        let close_message = close_message(&reason).map(OutgoingMessage::new);
        self.outbox.finish(close_message.as_ref());
        reason
    }
}

/// Removes a connection that others can reach from the registry when it ends, and runs the hub's `disconnected`.
///
/// A connection's task hands this over to [`Registration::finish`] or [`Registration::remove`]. If the task panics
/// instead (in our own code, or in a part of the hub that is not called through `catch_panic`), the same happens on
/// drop: otherwise messages would still be sent to a connection that no task serves, and the hub would keep its
/// state.
pub(super) struct Registration {
    host: Arc<HubHost>,
    caller: Caller,
    /// Whether the hub's `connected` has succeeded; only then does `disconnected` run.
    pub(super) accepted_by_hub: bool,
    ended: bool,
}

impl Registration {
    /// For a connection that has been added to the registry.
    pub(super) fn new(host: Arc<HubHost>, caller: Caller) -> Self {
        Self { host, caller, accepted_by_hub: false, ended: false }
    }

    /// Removes a connection that the hub's `connected` did not accept.
    pub(super) async fn remove(mut self) {
        self.host.delivery.disconnect(self.caller.connection_id()).await;
        self.ended = true;
    }

    /// Finishes a connection in a task of [`HubHost::tasks`]: its running calls run to their end, because they were
    /// accepted, and at the same time the hub's `disconnected` runs, as in the reference
    /// (docs/builders/signalr-protocol.md#4.11).
    pub(super) fn finish(mut self, calls: Invocations, error: Option<DisconnectError>) {
        self.ended = true;
        let (host, caller) = (self.host.clone(), self.caller.clone());
        let finishing = async move {
            tokio::join!(notify_disconnected(&host, &caller, error), calls.finish());
        };
        self.host.tasks.spawn(finishing.in_current_span());
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.caller.abort();
        let (host, caller) = (self.host.clone(), self.caller.clone());
        if self.accepted_by_hub {
            let error = Some(DisconnectError::Panicked);
            self.host.tasks.spawn(async move { notify_disconnected(&host, &caller, error).await }.in_current_span());
        } else {
            self.host.tasks.spawn(async move { host.delivery.disconnect(caller.connection_id()).await });
        }
    }
}

/// Runs the hub's `disconnected`, and then removes the connection from the registry.
async fn notify_disconnected(host: &HubHost, caller: &Caller, error: Option<DisconnectError>) {
    let disconnected = async { host.hub.disconnected(caller.clone(), error).await };
    let log = host.delivery.log();
    if let Err(error) = invocation_runner::catch_panic(log, disconnected).await
        && let Some(Allowed { suppressed }) = log.allow(LogKind::DisconnectedFailed, Instant::now())
    {
        tracing::warn!(reason = reason(error.wire_text()), suppressed, "the hub's `disconnected` failed");
    }
    host.delivery.disconnect(caller.connection_id()).await;
}
