//! The in-memory transport between a test client and the server's code: two bounded channels.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::wire::{Disconnected, Sink, Source, SourceEnd};

/// The maximum number of chunks that are buffered in each direction.
const CHANNEL_CAPACITY: usize = 16;

/// What a client puts into its channel to the server.
#[derive(Debug)]
pub(super) enum ClientData {
    Bytes(Bytes),
    /// The client closes the transport. If its end of the channel is dropped without this, the connection counts as
    /// lost.
    End,
}

/// The client's end of the transport.
pub(super) type ClientChannels = (mpsc::Sender<ClientData>, mpsc::Receiver<Bytes>);

/// Creates a transport: the client's end, and the server's two halves.
pub(super) fn wire() -> (ClientChannels, InMemorySource, InMemorySink) {
    let (to_server, from_client) = mpsc::channel(CHANNEL_CAPACITY);
    let (to_client, from_server) = mpsc::channel(CHANNEL_CAPACITY);
    ((to_server, from_server), InMemorySource(from_client), InMemorySink(to_client))
}

/// The connection's task reads from this; the client holds the other end.
pub(super) struct InMemorySource(mpsc::Receiver<ClientData>);

impl Source for InMemorySource {
    async fn recv(&mut self, into: &mut BytesMut) -> Result<(), SourceEnd> {
        match self.0.recv().await {
            Some(ClientData::Bytes(bytes)) => {
                into.extend_from_slice(&bytes);
                Ok(())
            }
            Some(ClientData::End) => Err(SourceEnd::Closed),
            None => Err(SourceEnd::Lost),
        }
    }
}

/// The connection's task writes to this; the client holds the other end.
pub(super) struct InMemorySink(mpsc::Sender<Bytes>);

impl Sink for InMemorySink {
    async fn ready(&mut self) {}

    async fn send(&mut self, batch: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        for bytes in batch.drain(..) {
            self.0.send(bytes).await.map_err(|_| Disconnected)?;
        }
        Ok(())
    }
}
