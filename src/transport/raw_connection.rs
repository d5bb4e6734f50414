//! Raw connections: bytes in both directions over any transport, without a handshake or a hub protocol (the `/echo` of
//! tests/probes/FINDINGS.md#2).

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::close::{CloseReason, CloseSignal};
use crate::config::{Authorize, HubOptions};
use crate::hub::RequestInfo;
use crate::outbox::Outbox;
use crate::outgoing::apply_framing;
use crate::wire::{Disconnected, Sink, Source, SourceEnd};

/// How many pieces of input may wait for the application; each has at most about 64 KiB.
const INBOUND_CAPACITY: usize = 4;
/// How many messages may wait for the client.
const OUTBOUND_CAPACITY: usize = 16;

/// An application that exchanges bytes with its clients, without a hub protocol. One value serves all connections of a
/// path.
pub trait RawConnection: Send + Sync + 'static {
    /// Serves one connection, which ends when the returned future completes. When the client disconnects or the server
    /// stops, [`RawStream::recv`] returns `None`, and the future should complete soon.
    fn run(&self, request: Arc<RequestInfo>, stream: RawStream) -> BoxFuture<'static, ()>;
}

/// A [`RawConnection`] with the path and the options with which it is served.
#[must_use = "a raw connection is served by the server that it is added to"]
pub struct RawRoute {
    pub(crate) path: String,
    pub(crate) connection: Arc<dyn RawConnection>,
    pub(crate) options: Option<HubOptions>,
    pub(crate) authorize: Option<Arc<Authorize>>,
}

impl RawRoute {
    /// Serves a raw connection at a path, which must begin with `/` and have no query.
    pub fn new(path: impl Into<String>, connection: impl RawConnection) -> Self {
        Self::shared(path, Arc::new(connection))
    }

    /// Like [`RawRoute::new`], for a connection that the host also keeps a reference to.
    pub fn shared(path: impl Into<String>, connection: Arc<dyn RawConnection>) -> Self {
        Self { path: path.into(), connection, options: None, authorize: None }
    }

    /// Sets its options, of which only those about transports, their timeouts and buffers have an effect. The default is
    /// `hub_defaults` of the server's configuration.
    pub fn options(mut self, options: HubOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Admits only users who satisfy a rule, like [`crate::hub::HubRoute::authorize`].
    pub fn authorize(mut self, rule: Authorize) -> Self {
        self.authorize = Some(Arc::new(rule));
        self
    }
}

impl fmt::Debug for RawRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRoute").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The byte stream to and from one client.
pub struct RawStream {
    inbound: mpsc::Receiver<Bytes>,
    outbound: mpsc::Sender<Bytes>,
}

impl fmt::Debug for RawStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawStream")
    }
}

impl RawStream {
    /// Waits for bytes, in whatever pieces they arrive; message boundaries are not kept. Returns `None` when no more
    /// will come. While the application does not call this, the client is slowed down. Cancel-safe: dropping the future
    /// loses no bytes.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.inbound.recv().await
    }

    /// Sends bytes as one WebSocket text message, as one server-sent event, or in the body of a poll. Waits while the
    /// client is slow.
    ///
    /// # Errors
    ///
    /// Fails when the client can no longer be reached.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Disconnected> {
        self.outbound.send(bytes).await.map_err(|_| Disconnected)
    }
}

/// Serves one connection until its application has finished.
pub(super) async fn serve<S: Source, K: Sink>(
    app: &Arc<dyn RawConnection>,
    request: Arc<RequestInfo>,
    close: &CloseSignal,
    outbox: &Outbox,
    source: S,
    sink: K,
) -> CloseReason {
    let (to_app, inbound) = mpsc::channel(INBOUND_CAPACITY);
    let (outbound, from_app) = mpsc::channel(OUTBOUND_CAPACITY);
    let app = app.run(request, RawStream { inbound, outbound });
    let reading = read(source, to_app, close);
    let writing = async { tokio::join!(app, write(sink, from_app, outbox)) };
    tokio::pin!(reading, writing);
    tokio::select! {
        _ = &mut writing => CloseReason::Aborted,
        reason = &mut reading => {
            writing.await;
            reason
        }
    }
}

/// Passes the client's bytes to the application until they end, and returns the reason.
async fn read<S: Source>(mut source: S, to_app: mpsc::Sender<Bytes>, close: &CloseSignal) -> CloseReason {
    let moving = async move {
        let mut buffer = BytesMut::new();
        loop {
            match source.recv(&mut buffer).await {
                // If the application has dropped its receiver, it may still send, so reading continues to notice the
                // end.
                Ok(()) => drop(to_app.send(buffer.split().freeze()).await),
                Err(SourceEnd::Closed) => return CloseReason::ClientClosed,
                Err(SourceEnd::Lost) => return CloseReason::TransportLost,
                Err(SourceEnd::Violation(code)) => return CloseReason::Violation(code),
            }
        }
    };
    tokio::select! {
        reason = close.closed() => reason,
        reason = moving => reason,
    }
}

/// Passes what the application sends, and pending pongs, to the client.
async fn write<K: Sink>(mut sink: K, mut from_app: mpsc::Receiver<Bytes>, outbox: &Outbox) {
    // All WebSocket frames are text frames, whatever the bytes are, as in ASP.NET Core (tests/probes/FINDINGS.md#2,
    // WebSocket).
    let framing = outbox.encoding().framing;
    let mut batch = Vec::new();
    loop {
        sink.ready().await;
        tokio::select! {
            _ = outbox.next(&mut batch) => {}
            message = from_app.recv() => {
                let Some(message) = message else { return };
                batch.push(apply_framing(framing, &message, false));
                while let Ok(more) = from_app.try_recv() {
                    batch.push(apply_framing(framing, &more, false));
                }
            }
        }
        if sink.send(&mut batch).await.is_err() {
            return;
        }
    }
}
