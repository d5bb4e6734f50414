//! An in-memory client: [`TestClient`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::duplex::{self, ClientData};
use super::inbox::{Inbox, InboxState};
use super::received_call::ReceivedCall;
use super::test_error::TestError;
use super::test_stream::TestStream;
use crate::close::CloseSignal;
use crate::connection::{HubHost, Peer, serve};
use crate::hub::{Argument, IntoArguments, IntoValue, RequestInfo};
use crate::ids::{ConnectionId, InvocationId};
use crate::outgoing::Framing;
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, Protocol, RawValue, handshake};

/// A client that is connected to a [`super::TestHub`]. Dropping it ends the connection without closing it, as if the
/// network were lost.
///
/// Its methods take `&self`, so that several can run at the same time. To test a hub method that invokes a method of
/// its caller, use `tokio::join!` or `try_join!`:
///
/// ```
/// # use hubplane::hub::{Caller, Methods};
/// # use hubplane::testing::{TestError, TestHub};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), TestError> {
/// let hub = Methods::new().method("Greet", |caller: Caller| async move {
///     let name: String = caller.clients().caller().invoke("YourName", ()).await?;
///     Ok(format!("hello {name}"))
/// });
/// let hub = TestHub::new(hub)?;
/// let ann = hub.connect().await?;
/// let answer = async { ann.next_call().await?.answer("Ann").await };
/// let (greeting, ()) = tokio::try_join!(ann.invoke::<String>("Greet", ()), answer)?;
/// assert_eq!(greeting, "hello Ann");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestClient {
    id: ConnectionId,
    calls: AtomicU64,
    wire: ClientWire,
    /// The tasks that the hub runs for this client, which may outlast the connection.
    tasks: TaskTracker,
}

/// A client's channel to the server, and what it has received from there.
#[derive(Clone, Debug)]
pub(super) struct ClientWire {
    to_server: mpsc::Sender<ClientData>,
    pub(super) inbox: Arc<Inbox>,
}

/// How a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The error of the close message, as the client sees it.
    pub error: Option<String>,
    /// Whether the close message lets the client reconnect.
    pub allow_reconnect: bool,
    /// The close reason: the label `reason` of the metric `signalr_connections_closed_total`, such as `client_closed`,
    /// `aborted` or `connected_failed`.
    pub reason: &'static str,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl TestClient {
    /// Connects and performs the handshake.
    pub(super) async fn connect(
        host: Arc<HubHost>,
        request: RequestInfo,
        timeout: Duration,
    ) -> Result<Self, TestError> {
        let id = ConnectionId::random();
        let ((to_server, from_server), source, sink) = duplex::wire();
        let wire = ClientWire { to_server, inbox: Inbox::new(timeout) };
        let tasks = host.tasks.clone();
        let peer =
            Peer { id: id.clone(), request: Arc::new(request), close: CloseSignal::default(), reconnect_state: None };
        let reading = tokio::spawn(wire.inbox.clone().read(from_server));
        let inbox = wire.inbox.clone();
        tokio::spawn(async move {
            let outbox = host.outbox(Framing::Raw, &peer.close);
            let served = tokio::spawn(async move { serve(&host, peer, outbox, source, sink).await });
            let reason = served.await.map_or("panicked", |reason| reason.label());
            // Everything that was written before the end must be stored before `ended` is set.
            let _ = reading.await;
            inbox.change(|state| {
                let (error, allow_reconnect) = state.close.clone().unwrap_or_default();
                state.ended = Some(Ended { error, allow_reconnect, reason });
            });
        });
        wire.bytes(handshake::request(Protocol::Json.name(), 1), "the handshake").await?;
        let response = wire.inbox.wait("the handshake's answer", |state| state.handshake.take()).await?;
        match response.error {
            Some(text) => Err(TestError::Handshake(text)),
            None => Ok(Self { id, calls: AtomicU64::new(0), wire, tasks }),
        }
    }

    /// The client's connection id.
    pub fn connection_id(&self) -> &ConnectionId {
        &self.id
    }

    /// Invokes a hub method and waits for its result, which is `()` for a method without one.
    ///
    /// # Errors
    ///
    /// An error of the method is returned as [`TestError::Invocation`], with the text that clients see.
    pub async fn invoke<T: Argument>(&self, target: &str, arguments: impl IntoArguments) -> Result<T, TestError> {
        let call = self.call(target, arguments)?;
        self.completed(call, Vec::new()).await
    }

    /// Like [`TestClient::invoke`], for a method that takes a stream ([`crate::hub::Items`], [`crate::hub::Upload`]) in
    /// addition to its arguments. Sends all items, and then the end of the stream.
    ///
    /// ```
    /// # use hubplane::hub::{Caller, Items, Methods};
    /// # use hubplane::testing::{TestError, TestHub};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), TestError> {
    /// let hub = Methods::new().method("Sum", |_: Caller, mut items: Items<i64>, start: i64| async move {
    ///     let mut sum = start;
    ///     while let Some(item) = items.next().await {
    ///         sum += item?;
    ///     }
    ///     Ok(sum)
    /// });
    /// let ann = TestHub::new(hub)?.connect().await?;
    /// assert_eq!(ann.upload::<i64>("Sum", (100,), [1, 2, 3]).await?, 106);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upload<T: Argument>(
        &self,
        target: &str,
        arguments: impl IntoArguments,
        items: impl IntoIterator<Item: IntoValue>,
    ) -> Result<T, TestError> {
        let items = items.into_iter().map(IntoValue::into_value).collect::<Result<_, _>>();
        let items = items.map_err(|source| TestError::Value { what: format!("an item for {target}"), source })?;
        let mut call = self.call(target, arguments)?;
        call.stream_ids.push(self.next_id());
        self.completed(call, items).await
    }

    /// Invokes a hub method without waiting for its result. The invocations of one client start in order.
    pub async fn send(&self, target: &str, arguments: impl IntoArguments) -> Result<(), TestError> {
        let call = self.call(target, arguments)?;
        self.wire.send(&HubMessage::Invocation(Invocation { id: None, ..call })).await
    }

    /// Invokes a hub method that streams its results.
    ///
    /// ```
    /// # use futures_util::stream;
    /// # use hubplane::hub::{Caller, Methods};
    /// # use hubplane::testing::{TestError, TestHub};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), TestError> {
    /// let hub = Methods::new().stream("Count", |_: Caller, to: i64| async move { Ok(stream::iter(1..=to).map(Ok)) });
    /// # use futures_util::StreamExt as _;
    /// let ann = TestHub::new(hub)?.connect().await?;
    /// let mut count = ann.stream::<i64>("Count", (3,)).await?;
    /// assert_eq!(count.next().await?, Some(1));
    /// assert_eq!(count.collect().await?, [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stream<T: Argument>(
        &self,
        target: &str,
        arguments: impl IntoArguments,
    ) -> Result<TestStream<T>, TestError> {
        let call = self.call(target, arguments)?;
        let id = call.id.clone().unwrap_or_else(|| self.next_id());
        // The inbox only stores the items of streams that are in the map.
        self.wire.inbox.change(|state| drop(state.items.insert(id.clone(), Default::default())));
        self.wire.send(&HubMessage::StreamInvocation(call)).await?;
        Ok(TestStream::new(target.to_owned(), id, self.wire.clone()))
    }

    /// Waits for the next call of a client method. Calls are returned in the order in which they were sent.
    pub async fn next_call(&self) -> Result<ReceivedCall, TestError> {
        let call = self.wire.inbox.wait("a call", |state| state.calls.pop_front()).await?;
        Ok(ReceivedCall::new(call, self.wire.clone()))
    }

    /// The next call of a client method, if one has already been received. To check that nothing was sent, first wait
    /// for something that is sent later, such as the result of an `invoke`.
    pub fn try_next_call(&self) -> Option<ReceivedCall> {
        let call = self.wire.inbox.lock().calls.pop_front()?;
        Some(ReceivedCall::new(call, self.wire.clone()))
    }

    /// Waits until the server has ended the connection. Calls that were received before that can still be taken.
    pub async fn ended(&self) -> Result<Ended, TestError> {
        self.wire.inbox.wait("the end of the connection", |state: &mut InboxState| state.ended.clone()).await
    }

    /// Closes the connection, like a client that stops, and waits until the hub's `disconnected` handler and the calls
    /// that were still running have ended.
    pub async fn close(&self) -> Result<Ended, TestError> {
        // Fails if the connection has already ended, which is fine.
        let _ = self.wire.to_server.send(ClientData::End).await;
        let ended = self.ended().await?;
        self.tasks.close();
        let after = self.wire.inbox.timeout();
        timeout(after, self.tasks.wait()).await.map_err(|_| TestError::Timeout {
            what: "the end of the hub's `disconnected` and of its running calls".to_owned(),
            after,
            seen: "the connection itself has ended".to_owned(),
        })?;
        Ok(ended)
    }
}

// === calls ===

impl TestClient {
    fn next_id(&self) -> InvocationId {
        InvocationId::from((self.calls.fetch_add(1, Ordering::Relaxed) + 1).to_string())
    }

    fn call(&self, target: &str, arguments: impl IntoArguments) -> Result<Invocation, TestError> {
        let arguments = arguments
            .into_arguments()
            .map_err(|source| TestError::Value { what: format!("the arguments of {target}"), source })?;
        Ok(Invocation { id: Some(self.next_id()), ..Invocation::send(target, arguments) })
    }

    /// Sends an invocation with the items of its upload, and waits for its result.
    async fn completed<T: Argument>(&self, call: Invocation, items: Vec<RawValue>) -> Result<T, TestError> {
        let what = format!("the result of {}", call.target);
        let (id, stream) = (call.id.clone(), call.stream_ids.first().cloned());
        self.wire.send(&HubMessage::Invocation(call)).await?;
        if let Some(stream) = stream {
            for item in items {
                self.wire
                    .send(&HubMessage::StreamItem { id: stream.clone(), item: Ok(item), headers: Headers::default() })
                    .await?;
            }
            let end = HubMessage::Completion { id: stream, outcome: Outcome::Void, headers: Headers::default() };
            self.wire.send(&end).await?;
        }
        let outcome = self.wire.inbox.wait(&what, |state| state.outcomes.remove(id.as_ref()?)).await?;
        let value = match outcome {
            Outcome::Error(text) => return Err(TestError::Invocation(text)),
            Outcome::Value(value) => value,
            Outcome::Void => RawValue::null(),
        };
        T::from_value(value).map_err(|source| TestError::Value { what, source })
    }
}

impl ClientWire {
    /// Sends a message to the server.
    pub(super) async fn send(&self, message: &HubMessage) -> Result<(), TestError> {
        let what = "a message to the hub";
        let bytes = Protocol::Json.encode(message);
        let bytes = bytes.map_err(|source| TestError::Value { what: what.to_owned(), source })?;
        self.bytes(bytes, what).await
    }

    /// Like [`ClientWire::send`], but drops the message if the transport is full.
    pub(super) fn try_send(&self, message: &HubMessage) {
        if let Ok(bytes) = Protocol::Json.encode(message) {
            let _ = self.to_server.try_send(ClientData::Bytes(bytes));
        }
    }

    async fn bytes(&self, bytes: impl Into<bytes::Bytes>, what: &str) -> Result<(), TestError> {
        let after = self.inbox.timeout();
        let what = format!("the acceptance of {what}");
        match timeout(after, self.to_server.send(ClientData::Bytes(bytes.into()))).await {
            Ok(Ok(())) => Ok(()),
            // The connection has ended; wait until the inbox knows how.
            Ok(Err(_)) => {
                let ended = self.inbox.wait("the end of the connection", |state| state.ended.clone()).await?;
                Err(TestError::Ended { what, ended })
            }
            Err(_) => Err(TestError::Timeout {
                what,
                after,
                seen: "the hub is still running another call of this client".to_owned(),
            }),
        }
    }
}
