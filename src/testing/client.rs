//! A client in memory: [`TestClient`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::call::ReceivedCall;
use super::error::TestError;
use super::link::{self, Sent};
use super::received::{Received, State};
use super::stream::TestStream;
use crate::close::CloseSignal;
use crate::connection::{HubHost, Peer, serve};
use crate::frame::Framing;
use crate::hub::{Argument, IntoArguments, IntoValue, RequestInfo};
use crate::ids::{ConnectionId, InvocationId};
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, Protocol, RawValue, handshake};

/// A client that is connected to a [`super::TestHub`]. Dropped, it is gone without a farewell, as one that has lost its
/// network.
///
/// Its methods take `&self`, so that what happens at a time can be tested so: a method that asks its caller for a
/// result is called and answered with `tokio::join!` or `try_join!`.
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
    link: Link,
    /// What the hub does for this client beside its connection.
    tasks: TaskTracker,
}

/// A client's way to the server, and what has come from there.
#[derive(Clone, Debug)]
pub(super) struct Link {
    to_server: mpsc::Sender<Sent>,
    pub(super) received: Arc<Received>,
}

/// How a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The error of the Close message that the client got, as the client sees it.
    pub error: Option<String>,
    /// Whether the client was told that it may come again by itself.
    pub allow_reconnect: bool,
    /// Why the server says it ended: the label `reason` of the metric `signalr_connections_closed_total`, such as
    /// `client_closed`, `aborted` or `connected_failed`.
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
    /// Connects and shakes hands.
    pub(super) async fn connect(
        host: Arc<HubHost>,
        request: RequestInfo,
        patience: Duration,
    ) -> Result<Self, TestError> {
        let id = ConnectionId::random();
        let ((to_server, from_server), source, sink) = link::wire();
        let link = Link { to_server, received: Received::new(patience) };
        let tasks = host.tasks.clone();
        let peer = Peer { id: id.clone(), request: Arc::new(request), close: CloseSignal::default(), resumption: None };
        let reading = tokio::spawn(link.received.clone().read(from_server));
        let received = link.received.clone();
        tokio::spawn(async move {
            let outbox = host.outbox(Framing::Raw, &peer.close);
            let served = tokio::spawn(async move { serve(&host, peer, outbox, source, sink).await });
            let reason = served.await.map_or("panicked", |reason| reason.label());
            // Everything that was written is there before the end is.
            let _ = reading.await;
            received.change(|state| {
                let (error, allow_reconnect) = state.close.clone().unwrap_or_default();
                state.ended = Some(Ended { error, allow_reconnect, reason });
            });
        });
        link.bytes(handshake::request(Protocol::Json.name(), 1), "the handshake").await?;
        let response = link.received.wait("the handshake's answer", |state| state.handshake.take()).await?;
        match response.error {
            Some(text) => Err(TestError::Handshake(text)),
            None => Ok(Self { id, calls: AtomicU64::new(0), link, tasks }),
        }
    }

    /// Its connection id, by which the hub knows it.
    pub fn connection_id(&self) -> &ConnectionId {
        &self.id
    }

    /// Calls a method and waits for its result; `()` for a method without one. An error of the method is
    /// [`TestError::Invocation`], with the text that a client sees.
    pub async fn invoke<T: Argument>(&self, target: &str, arguments: impl IntoArguments) -> Result<T, TestError> {
        let call = self.call(target, arguments)?;
        self.completed(call, Vec::new()).await
    }

    /// As [`TestClient::invoke`], of a method that takes a stream ([`crate::hub::Items`], [`crate::hub::Upload`])
    /// beside its arguments: the items are sent, then the stream is ended.
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

    /// Calls a method and waits for nothing. Calls of one client begin in their order.
    pub async fn send(&self, target: &str, arguments: impl IntoArguments) -> Result<(), TestError> {
        let call = self.call(target, arguments)?;
        self.link.send(&HubMessage::Invocation(Invocation { id: None, ..call })).await
    }

    /// Calls a method that streams its results.
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
        // From now on its items are kept.
        self.link.received.change(|state| drop(state.items.insert(id.clone(), Default::default())));
        self.link.send(&HubMessage::StreamInvocation(call)).await?;
        Ok(TestStream::new(target.to_owned(), id, self.link.clone()))
    }

    /// Waits for the next call that the hub sends to this client, in the order they come.
    pub async fn next_call(&self) -> Result<ReceivedCall, TestError> {
        let call = self.link.received.wait("a call", |state| state.calls.pop_front()).await?;
        Ok(ReceivedCall::new(call, self.link.clone()))
    }

    /// A call that has come already; does not wait. That nothing was sent shows when something that was sent later has
    /// come: `invoke` a method first.
    pub fn try_next_call(&self) -> Option<ReceivedCall> {
        let call = self.link.received.lock().calls.pop_front()?;
        Some(ReceivedCall::new(call, self.link.clone()))
    }

    /// Waits until the connection has ended, by the hub's doing. Calls that came before can still be taken.
    pub async fn ended(&self) -> Result<Ended, TestError> {
        self.link.received.wait("the connection's end", |state: &mut State| state.ended.clone()).await
    }

    /// Ends the connection in good order, as a client that stops, and waits until the hub's `disconnected` and the
    /// calls that still ran have ended.
    pub async fn close(&self) -> Result<Ended, TestError> {
        // One that has ended already takes nothing more.
        let _ = self.link.to_server.send(Sent::End).await;
        let ended = self.ended().await?;
        self.tasks.close();
        let patience = self.link.received.timeout();
        timeout(patience, self.tasks.wait()).await.map_err(|_| TestError::Timeout {
            what: "the end of the hub's `disconnected` and of the calls that still run".to_owned(),
            after: patience,
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

    /// Sends a call with the items of its upload, and waits for its result.
    async fn completed<T: Argument>(&self, call: Invocation, items: Vec<RawValue>) -> Result<T, TestError> {
        let what = format!("the result of {}", call.target);
        let (id, stream) = (call.id.clone(), call.stream_ids.first().cloned());
        self.link.send(&HubMessage::Invocation(call)).await?;
        if let Some(stream) = stream {
            for item in items {
                self.link
                    .send(&HubMessage::StreamItem { id: stream.clone(), item: Ok(item), headers: Headers::default() })
                    .await?;
            }
            let end = HubMessage::Completion { id: stream, outcome: Outcome::Void, headers: Headers::default() };
            self.link.send(&end).await?;
        }
        let outcome = self.link.received.wait(&what, |state| state.outcomes.remove(id.as_ref()?)).await?;
        let value = match outcome {
            Outcome::Error(text) => return Err(TestError::Invocation(text)),
            Outcome::Value(value) => value,
            Outcome::Void => RawValue::null(),
        };
        T::from_value(value).map_err(|source| TestError::Value { what, source })
    }
}

impl Link {
    /// Sends a message to the server.
    pub(super) async fn send(&self, message: &HubMessage) -> Result<(), TestError> {
        let what = "a message to the hub";
        let bytes = Protocol::Json.encode(message);
        let bytes = bytes.map_err(|source| TestError::Value { what: what.to_owned(), source })?;
        self.bytes(bytes, what).await
    }

    /// As [`Link::send`], if there is room for it now.
    pub(super) fn try_send(&self, message: &HubMessage) {
        if let Ok(bytes) = Protocol::Json.encode(message) {
            let _ = self.to_server.try_send(Sent::Bytes(bytes));
        }
    }

    async fn bytes(&self, bytes: impl Into<bytes::Bytes>, what: &str) -> Result<(), TestError> {
        let after = self.received.timeout();
        match timeout(after, self.to_server.send(Sent::Bytes(bytes.into()))).await {
            Ok(Ok(())) => Ok(()),
            // The wire is gone: what is said of its end is on its way.
            Ok(Err(_)) => {
                let ended = self.received.wait("the connection's end", |state| state.ended.clone()).await?;
                Err(TestError::Ended { what: format!("the taking of {what}"), ended })
            }
            Err(_) => Err(TestError::Timeout {
                what: format!("the taking of {what}"),
                after,
                seen: "the hub runs another call of this client, which must end first".to_owned(),
            }),
        }
    }
}
