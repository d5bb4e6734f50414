//! Reading on while a message is waited for, for the sake of the Acks behind it (stateful reconnect). Without that a
//! stream that waits for Acks would wait for the reader, and the reader, with an item of an upload or a call in its
//! hand, for the stream.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::outbox::Outbox;
use crate::protocol::{HubMessage, ProtocolError};
use crate::session::Session;
use crate::wire::{Source, SourceEnd};

/// What a client may send beyond what it leaves unacknowledged: about one read.
const READ_AHEAD_MARGIN: usize = 64 * 1024;

/// Bounds it whatever is configured.
const MAX_READ_AHEAD: usize = 1 << 20;

/// What was read ahead. Acks have counted already; everything else has its turn later, in order.
#[derive(Debug)]
pub(super) struct ReadAhead {
    messages: VecDeque<HubMessage>,
    /// How many bytes were read for it.
    bytes: usize,
    /// Beyond this nothing is read ahead.
    max_bytes: usize,
    error: Option<ProtocolError>,
    end: Option<SourceEnd>,
    /// The number of the socket that is read.
    socket: u64,
}

impl ReadAhead {
    /// Clients leave about as much unacknowledged themselves as the server's streams do, so that their Acks are found
    /// within it.
    pub(super) fn new(unacknowledged: usize) -> Self {
        let max_bytes = unacknowledged.saturating_add(READ_AHEAD_MARGIN).min(MAX_READ_AHEAD);
        Self { messages: VecDeque::new(), bytes: 0, max_bytes, error: None, end: None, socket: 0 }
    }

    /// The next message in order.
    pub(super) fn poll(&mut self, session: &mut Session) -> Result<Option<HubMessage>, ProtocolError> {
        if let Some(message) = self.messages.pop_front() {
            return Ok(Some(message));
        }
        if self.bytes > 0 {
            (self.bytes, self.messages) = (0, VecDeque::new());
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => session.poll(),
        }
    }

    /// How the source ended, if that was found ahead; to be asked when [`ReadAhead::poll`] has nothing more.
    pub(super) fn take_end(&mut self) -> Option<SourceEnd> {
        self.end.take()
    }

    /// The socket is gone. What was half a message comes again over the next one; messages that were read whole have
    /// their turn.
    pub(super) fn socket_lost(&self, session: &mut Session, outbox: &Outbox) {
        outbox.detach(self.socket, Instant::now());
        session.discard_partial();
    }

    /// Waits for the next socket. May be dropped half-way.
    pub(super) async fn next_socket<S: Source>(&mut self, source: &mut S) {
        self.socket = source.next_socket().await;
        self.end = None;
    }

    /// Reads and lets Acks count until nothing more may be read, which is told. When the socket is lost it goes on with
    /// the next one: that is where the Acks come then. May be dropped half-way.
    pub(super) async fn read<S: Source>(&mut self, session: &mut Session, source: &mut S, outbox: &Outbox) {
        while self.bytes < self.max_bytes && self.error.is_none() {
            match self.end {
                None => {}
                Some(SourceEnd::Lost) => self.next_socket(source).await,
                Some(SourceEnd::Closed | SourceEnd::Violation(_)) => return,
            }
            // What was there before is decoded first: messages stay in order.
            self.decode(session, outbox);
            let had = session.buffer().len();
            match source.recv(session.buffer()).await {
                Ok(()) => {
                    self.bytes += session.buffer().len() - had;
                    self.decode(session, outbox);
                }
                Err(end) => {
                    self.end = Some(end);
                    if end == SourceEnd::Lost {
                        self.socket_lost(session, outbox);
                    }
                }
            }
        }
    }

    fn decode(&mut self, session: &mut Session, outbox: &Outbox) {
        loop {
            match session.poll() {
                Ok(Some(HubMessage::Ack { sequence_id })) => outbox.acknowledge(sequence_id),
                Ok(Some(message)) => self.messages.push_back(message),
                Ok(None) => return,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }
}
