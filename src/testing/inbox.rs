//! Stores what a test client has received, and waits for it. One task reads from the server and stores everything here;
//! each waiter takes what it waits for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::test_client::Ended;
use super::test_error::TestError;
use crate::ids::InvocationId;
use crate::protocol::handshake::{HandshakeResponse, read_response};
use crate::protocol::{HubMessage, Invocation, Outcome, Protocol, RawValue};

/// The maximum number of calls and items that are stored until the test takes them. Beyond that, the client stops
/// reading, and becomes a slow client to the server.
const MAX_WAITING: usize = 16_384;

/// What one client has received and the test has not taken.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    /// Wakes the waiters and the reader when the state has changed.
    changed: Notify,
    timeout: Duration,
}

#[derive(Debug, Default)]
pub(super) struct InboxState {
    pub(super) handshake: Option<HandshakeResponse>,
    pub(super) calls: VecDeque<Invocation>,
    pub(super) items: HashMap<InvocationId, VecDeque<RawValue>>,
    pub(super) outcomes: HashMap<InvocationId, Outcome>,
    /// The close message: its error, and whether the client may reconnect.
    pub(super) close: Option<(Option<String>, bool)>,
    pub(super) ended: Option<Ended>,
}

impl InboxState {
    fn waiting(&self) -> usize {
        self.calls.len() + self.items.values().map(VecDeque::len).sum::<usize>()
    }

    /// Describes the calls that the test has not taken, for error messages.
    fn seen(&self) -> String {
        let call =
            |call: &Invocation| format!("{}{}", call.target, json(call.arguments.as_deref().unwrap_or_default()));
        let calls: Vec<_> = self.calls.iter().take(5).map(call).collect();
        let more = if self.calls.len() > calls.len() { ", ..." } else { "" };
        match calls.is_empty() {
            true => "no other call was received".to_owned(),
            false => format!("calls that were received and not taken: {}{more}", calls.join(", ")),
        }
    }

    fn put(&mut self, message: HubMessage) {
        match message {
            HubMessage::Invocation(call) | HubMessage::StreamInvocation(call) => self.calls.push_back(call),
            HubMessage::StreamItem { id, item: Ok(item), .. } => {
                // A cancelled stream is not in the map.
                if let Some(items) = self.items.get_mut(&id) {
                    items.push_back(item);
                }
            }
            HubMessage::Completion { id, outcome, .. } => drop(self.outcomes.insert(id, outcome)),
            HubMessage::Close { error, allow_reconnect } => self.close = Some((error, allow_reconnect)),
            // The server sends no invalid items; the other messages need no reaction.
            HubMessage::StreamItem { item: Err(_), .. }
            | HubMessage::CancelInvocation { .. }
            | HubMessage::Ping
            | HubMessage::Ack { .. }
            | HubMessage::Sequence { .. } => {}
        }
    }
}

/// Converts values to one JSON array.
pub(super) fn json(values: &[RawValue]) -> Value {
    values.iter().map(|value| value.to::<Value>().unwrap_or_default()).collect()
}

impl Inbox {
    /// Creates an empty inbox. `timeout` applies to every wait.
    pub(super) fn new(timeout: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Notify::new(), timeout })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the waiters.
    pub(super) fn change(&self, change: impl FnOnce(&mut InboxState)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    /// Waits until `take` returns something. `what` describes it in error messages.
    pub(super) async fn wait<T>(
        &self,
        what: &str,
        mut take: impl FnMut(&mut InboxState) -> Option<T>,
    ) -> Result<T, TestError> {
        let look = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Registered before the state is read, so that a change in between is not missed.
                changed.as_mut().enable();
                let found = {
                    let mut state = self.lock();
                    take(&mut state).map(Ok).or_else(|| state.ended.clone().map(Err))
                };
                match found {
                    Some(found) => {
                        // The reader may be waiting for space.
                        self.changed.notify_waiters();
                        return found;
                    }
                    None => changed.await,
                }
            }
        };
        match timeout(self.timeout, look).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(ended)) => Err(TestError::Ended { what: what.to_owned(), ended }),
            Err(_) => Err(TestError::Timeout { what: what.to_owned(), after: self.timeout, seen: self.lock().seen() }),
        }
    }

    /// Reads from the server until the connection ends.
    pub(super) async fn read(self: Arc<Self>, mut wire: mpsc::Receiver<Bytes>) {
        let mut buffer = BytesMut::new();
        let mut handshake_done = false;
        while let Some(bytes) = wire.recv().await {
            buffer.extend_from_slice(&bytes);
            if !handshake_done && let Ok(Some(response)) = read_response(&mut buffer, None) {
                handshake_done = true;
                self.change(|state| state.handshake = Some(response));
            }
            // The server is expected to send valid messages. If it does not, nothing more is received and waits time
            // out.
            while handshake_done && let Ok(Some(message)) = Protocol::Json.decode(&mut buffer, None) {
                self.wait_for_space().await;
                self.change(|state| state.put(message));
            }
        }
    }

    /// Waits until fewer than `MAX_WAITING` calls and items are stored.
    async fn wait_for_space(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().waiting() < MAX_WAITING {
                return;
            }
            changed.await;
        }
    }
}
