//! Reads further messages while an earlier one waits to be dispatched, so that the Acks among them take effect at once
//! (stateful reconnect). Otherwise a deadlock is possible: a stream waits for an Ack, and the reader, which would read
//! the Ack, waits for that stream to make room for an upload item or to free an invocation slot.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::outbox::Outbox;
use crate::protocol::{HubMessage, ProtocolError};
use crate::session::Session;
use crate::wire::{Source, SourceEnd};

/// How many bytes a client may send beyond those it leaves unacknowledged: about one read.
const READ_AHEAD_MARGIN: usize = 64 * 1024;

/// The bound on bytes read ahead, whatever is configured.
const MAX_READ_AHEAD: usize = 1 << 20;

/// The messages that were read ahead. Acks have been applied already; all others are dispatched later, in order.
#[derive(Debug)]
pub(super) struct ReadAhead {
    messages: VecDeque<HubMessage>,
    /// How many bytes were read for `messages`.
    bytes: usize,
    /// Reading ahead stops at this many bytes.
    max_bytes: usize,
    error: Option<ProtocolError>,
    end: Option<SourceEnd>,
    /// The number of the current socket.
    socket: u64,
    /// Whether the writer may still use an earlier socket.
    attaching: bool,
}

impl ReadAhead {
    /// `unacknowledged` is how many bytes the server's streams may leave unacknowledged. Clients have a similar limit,
    /// so an Ack is found within that many bytes.
    pub(super) fn new(unacknowledged: usize) -> Self {
        let max_bytes = unacknowledged.saturating_add(READ_AHEAD_MARGIN).min(MAX_READ_AHEAD);
        Self { messages: VecDeque::new(), bytes: 0, max_bytes, error: None, end: None, socket: 0, attaching: false }
    }

    /// Returns the next message in order; `None` if more has to be read first.
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

    /// Returns how the source ended, if reading ahead came to its end. To be called when [`ReadAhead::poll`] returns
    /// `None`.
    pub(super) fn take_end(&mut self) -> Option<SourceEnd> {
        self.end.take()
    }

    /// Handles the loss of the socket. An incomplete message is dropped, because the client sends it again on the next
    /// socket; complete ones are still dispatched.
    pub(super) fn socket_lost(&self, session: &mut Session, outbox: &Outbox) {
        outbox.detach(self.socket, Instant::now());
        session.discard_partial();
    }

    /// Waits for the next socket, and until the writer uses it too. Otherwise the first message on the new socket could
    /// end the connection before the writer has a socket for the Close message. Cancel safe.
    pub(super) async fn next_socket<S: Source>(&mut self, source: &mut S, outbox: &Outbox) {
        if !self.attaching {
            self.socket = source.next_socket().await;
            self.attaching = true;
        }
        outbox.attached(self.socket).await;
        self.attaching = false;
        self.end = None;
    }

    /// Reads, and applies Acks, until nothing more may be read ahead. When the socket is lost it continues with the
    /// next one, since that is where the Acks then arrive. Cancel safe.
    pub(super) async fn read<S: Source>(&mut self, session: &mut Session, source: &mut S, outbox: &Outbox) {
        while self.bytes < self.max_bytes && self.error.is_none() {
            match self.end {
                None => {}
                Some(SourceEnd::Lost) => self.next_socket(source, outbox).await,
                Some(SourceEnd::Closed | SourceEnd::Violation(_)) => return,
            }
            // What was read before is decoded first, so that messages stay in order.
            self.decode(session, outbox);
            let length = session.buffer().len();
            match source.recv(session.buffer()).await {
                Ok(()) => {
                    self.bytes += session.buffer().len() - length;
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
