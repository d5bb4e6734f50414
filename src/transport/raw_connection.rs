//! Raw connections: bytes both ways over any transport, without handshake and hub protocol (the `/echo` of
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

/// Pieces that wait for the application; each has at most some 64 KiB.
const INBOUND_CAPACITY: usize = 4;
/// Messages that wait for the client.
const OUTBOUND_CAPACITY: usize = 16;

/// An application that speaks no hub protocol. One value serves all connections of a path.
pub trait RawConnection: Send + Sync + 'static {
    /// Serves one connection. It ends when this returns. When the client goes, or the server stops,
    /// [`RawStream::recv`] gives `None` and this should return soon.
    fn run(&self, request: Arc<RequestInfo>, stream: RawStream) -> BoxFuture<'static, ()>;
}

/// A raw connection with where and how it is served.
#[must_use = "a raw connection is served by the server that it is added to"]
pub struct RawRoute {
    pub(crate) path: String,
    pub(crate) connection: Arc<dyn RawConnection>,
    pub(crate) options: Option<HubOptions>,
    pub(crate) authorize: Option<Arc<Authorize>>,
}

impl RawRoute {
    /// A raw connection at a path, which begins with `/` and has no query.
    pub fn new(path: impl Into<String>, connection: impl RawConnection) -> Self {
        Self::shared(path, Arc::new(connection))
    }

    /// As [`RawRoute::new`], for one that the host keeps.
    pub fn shared(path: impl Into<String>, connection: Arc<dyn RawConnection>) -> Self {
        Self { path: path.into(), connection, options: None, authorize: None }
    }

    /// Its options, of which those about transports, their time-outs and buffers have an effect. Default:
    /// `hub_defaults` of the server's configuration.
    pub fn options(mut self, options: HubOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Admits only users who fulfil a rule, as [`crate::hub::HubRoute::authorize`].
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

/// One client's bytes.
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
    /// Waits for bytes, cut as the transport happened to bring them. `None` when no more will come. While they are
    /// not taken, the client is held back. Dropped half-way it loses nothing.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.inbound.recv().await
    }

    /// Sends bytes as one WebSocket text message, as one event, or in a poll's body. Waits while the client is slow.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Disconnected> {
        self.outbound.send(bytes).await.map_err(|_| Disconnected)
    }
}

/// Serves one connection until its application has returned.
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

/// Brings the client's bytes to the application; tells why no more come.
async fn read<S: Source>(mut source: S, to_app: mpsc::Sender<Bytes>, close: &CloseSignal) -> CloseReason {
    let moving = async move {
        let mut buffer = BytesMut::new();
        loop {
            match source.recv(&mut buffer).await {
                // An application that has stopped listening may still speak; the end is watched for.
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

/// Brings what the application sends, and the pongs that are owed, to the client.
async fn write<K: Sink>(mut sink: K, mut from_app: mpsc::Receiver<Bytes>, outbox: &Outbox) {
    // A WebSocket frame is text whatever the bytes are: the reference sends so (tests/probes/FINDINGS.md#2, WebSocket).
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
