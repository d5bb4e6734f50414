//! Floor 2: the two halves a transport offers. All that is above knows bytes in, bytes out, and how the peer ended.

use std::future::Future;

use bytes::{Bytes, BytesMut};

/// Where a client's bytes come from. One reader, who may drop a `recv` half-way and call again: nothing is lost.
pub trait Source: Send {
    /// Waits for bytes and appends them to `into`: any split, any number of messages at a time. At most some
    /// 64 KiB a call, so that what is buffered stays bounded. After an `Err` it is not called again.
    fn recv(&mut self, into: &mut BytesMut) -> impl Future<Output = Result<(), SourceEnd>> + Send;
}

/// Where bytes for a client go. One writer. What it gets is already framed for this transport
/// ([`crate::frame::Encoding`]) and holds whole messages only.
pub trait Sink: Send {
    /// Waits until something could be sent now; a long poll is ready while a poll waits. May be dropped half-way.
    fn ready(&mut self) -> impl Future<Output = ()> + Send;

    /// Sends a batch, in order, in one write where it can. Returns when it is out of our hands; `Err` when the
    /// peer is gone. May not be dropped half-way, but when the connection is given up.
    fn send(&mut self, batch: &mut Vec<Bytes>) -> impl Future<Output = Result<(), Gone>> + Send;
}

/// The peer does not take bytes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why no more bytes will come from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// In good order: a WebSocket close frame, a dropped event stream, a DELETE.
    Closed,
    /// The socket ended without the transport's own farewell.
    Lost,
    /// The peer broke the transport's rules; `0` is the WebSocket close code it is told.
    Violation(u16),
}
