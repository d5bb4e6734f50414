//! Layer 2: the two halves a transport offers. All that is above knows bytes in, bytes out, and how the peer ended.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Bytes, BytesMut};

/// Where a client's bytes come from. One reader, who may drop a `recv` half-way and call again: nothing is lost.
pub(crate) trait Source: Send {
    /// Waits for bytes and appends them to `into`: any split, any number of messages at a time. At most some
    /// 64 KiB a call, so that what is buffered stays bounded. After an `Err` it is not called again, unless
    /// [`Source::next_socket`] has given another socket.
    fn recv(&mut self, into: &mut BytesMut) -> impl Future<Output = Result<(), SourceEnd>> + Send;

    /// Waits for another socket of the same client and reads that one from now on; gives its number. While one waits,
    /// `recv` says [`SourceEnd::Lost`] of the old one. Where there is no such thing it waits for ever. May be dropped
    /// half-way.
    fn next_socket(&mut self) -> impl Future<Output = u64> + Send {
        std::future::pending()
    }
}

/// Where bytes for a client go. One writer. What it gets is already framed for this transport
/// ([`crate::outgoing::Encoding`]) and holds whole messages only.
pub(crate) trait Sink: Send {
    /// Waits until something could be sent now; a long poll is ready while a poll waits. May be dropped half-way.
    fn ready(&mut self) -> impl Future<Output = ()> + Send;

    /// Sends a batch, in order, in one write where it can. Returns when it is out of our hands; `Err` when the
    /// peer is gone. May not be dropped half-way, but when the connection is given up.
    fn send(&mut self, batch: &mut Vec<Bytes>) -> impl Future<Output = Result<(), Disconnected>> + Send;

    /// As [`Source::next_socket`], for what is written. A `send` to the old socket ends with `Disconnected` when another waits.
    fn next_socket(&mut self) -> impl Future<Output = u64> + Send {
        std::future::pending()
    }
}

/// The leave of one connection to go on over another socket (stateful reconnect): whether its client was granted it,
/// has taken it up, and may still use it. Sockets are numbered from 0, the one the connection began with. Cheap to
/// clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReconnectState(Arc<AtomicU8>);

const ALLOWED: u8 = 0;
const OPEN: u8 = 1;
const ENDED: u8 = 2;

impl ReconnectState {
    /// The handshake has taken it up.
    pub(crate) fn open(&self) {
        let _ = self.0.compare_exchange(ALLOWED, OPEN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The connection ends, or its handshake did without.
    pub(crate) fn end(&self) {
        self.0.store(ENDED, Ordering::Release);
    }

    /// Whether another socket may take the connection over now.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == OPEN
    }
}

/// The peer does not take bytes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

/// Why no more bytes will come from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceEnd {
    /// In good order: a WebSocket close frame, a dropped event stream, a DELETE.
    Closed,
    /// The socket ended without the transport's own farewell.
    Lost,
    /// The peer broke the transport's rules; `0` is the WebSocket close code it is told.
    Violation(u16),
}
