//! Layer 2: the interface between connections and transports: [`Source`] for received bytes, [`Sink`] for sent ones.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Bytes, BytesMut};

/// The bytes that a client sends. There is one reader.
pub(crate) trait Source: Send {
    /// Waits for bytes and appends them to `into`. They may end anywhere inside a message, or contain several messages.
    /// One call appends roughly 64 KiB at most, so that the buffer stays bounded.
    ///
    /// This method is cancel-safe. After an error it is called again only when [`Source::next_socket`] has returned
    /// another socket.
    fn recv(&mut self, into: &mut BytesMut) -> impl Future<Output = Result<(), SourceEnd>> + Send;

    /// Waits for another socket of the same client, from which bytes are read from then on, and returns its number.
    /// Once another socket is waiting, `recv` returns [`SourceEnd::Lost`] for the old one.
    ///
    /// This method is cancel-safe. For transports without stateful reconnect it waits forever.
    fn next_socket(&mut self) -> impl Future<Output = u64> + Send {
        std::future::pending()
    }
}

/// The bytes that are sent to a client. There is one writer. It sends complete messages only, which are already framed
/// for this transport ([`crate::outgoing::Encoding`]).
pub(crate) trait Sink: Send {
    /// Waits until something can be sent; with long polling, until there is a poll to answer. This method is
    /// cancel-safe.
    fn ready(&mut self) -> impl Future<Output = ()> + Send;

    /// Sends a batch in order, with a single write if possible. Returns when the transport has accepted all of it, or
    /// an error if the client is gone. This method is not cancel-safe: the future may be dropped only if the connection
    /// is not used afterwards.
    fn send(&mut self, batch: &mut Vec<Bytes>) -> impl Future<Output = Result<(), Disconnected>> + Send;

    /// Like [`Source::next_socket`], for writing. Once another socket is waiting, a `send` on the old one fails.
    fn next_socket(&mut self) -> impl Future<Output = u64> + Send {
        std::future::pending()
    }
}

/// Whether one connection can be resumed on another socket (stateful reconnect). Sockets are numbered from 0, which is
/// the socket that the connection began with. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReconnectState(Arc<AtomicU8>);

/// Negotiate has granted stateful reconnect, and the handshake has not used it yet.
const ALLOWED: u8 = 0;
/// The handshake has enabled stateful reconnect, and the connection is open.
const OPEN: u8 = 1;
/// The connection has ended, or its handshake did not enable stateful reconnect.
const ENDED: u8 = 2;

impl ReconnectState {
    /// Called when the handshake has enabled stateful reconnect. Has no effect after [`ReconnectState::end`].
    pub(crate) fn open(&self) {
        let _ = self.0.compare_exchange(ALLOWED, OPEN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Called when the connection ends, or when its handshake did not enable stateful reconnect.
    pub(crate) fn end(&self) {
        self.0.store(ENDED, Ordering::Release);
    }

    /// Whether another socket may take the connection over now.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == OPEN
    }
}

/// The client no longer accepts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is disconnected")]
pub struct Disconnected;

/// Why no more bytes will arrive from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceEnd {
    /// The client ended the transport properly: with a WebSocket close frame, a DELETE, or by closing its event stream.
    Closed,
    /// The socket ended without a close frame or its equivalent.
    Lost,
    /// The client violated the rules of the transport. The field is the WebSocket close code that is sent to it.
    Violation(u16),
}
