//! What is published: one buffer in the order of the calls, the callers who wait for the answers in the same order, and
//! the messages whose echo is still to come.
//!
//! A publish to a channel that this node hears itself succeeds when its echo has come too: an answer alone would call
//! a message delivered that this node, whose subscription connection broke a moment ago, never hears.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::resp;
use crate::backplane::{BackplaneError, Envelope};

/// How many publishes may wait for an answer, and how many bytes may wait to be written.
pub(super) const MAX_PENDING_REPLIES: usize = 65_536;
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;
/// How many messages, and of what size together, are kept for their echo.
const MAX_ECHOES: usize = 16_384;
const MAX_ECHO_BYTES: usize = 32 * 1024 * 1024;

/// Gets the result of one publish.
pub(super) type PublishCaller = oneshot::Sender<Result<u64, BackplaneError>>;

/// A command on the command connection that is not answered.
#[derive(Debug)]
struct PendingCommand {
    since: Instant,
    /// None: a PING.
    publish: Option<(u64, PublishCaller)>,
}

/// A message that is expected back.
#[derive(Debug)]
struct PendingEcho {
    envelope: Envelope,
    channel: Box<str>,
    size: usize,
    /// Redis has answered: when, with what, for whom.
    reply: Option<(Instant, u64, PublishCaller)>,
}

#[derive(Debug, Default)]
pub(super) struct PublishQueue {
    buffer: BytesMut,
    pending: VecDeque<PendingCommand>,
    echoes: BTreeMap<u64, PendingEcho>,
    echo_bytes: usize,
}

/// What [`PublishQueue::publish`] sends.
pub(super) struct Publish<'a> {
    pub(super) id: u64,
    pub(super) channel: &'a str,
    pub(super) payload: &'a [u8],
    /// The message, if its echo is expected.
    pub(super) echo: Option<Envelope>,
}

impl PublishQueue {
    /// Queues one message.
    pub(super) fn publish(
        &mut self,
        publish: Publish<'_>,
        caller: PublishCaller,
        now: Instant,
    ) -> Result<(), BackplaneError> {
        let Publish { id, channel, payload, echo } = publish;
        let no_room = !self.buffer.is_empty() && self.buffer.len() + payload.len() > MAX_BUFFERED_BYTES;
        if self.pending.len() >= MAX_PENDING_REPLIES || no_room {
            return Err(BackplaneError::Full(self.pending.len()));
        }
        self.buffer.reserve(channel.len() + payload.len() + 64);
        resp::command(&mut self.buffer, [&b"PUBLISH"[..], channel.as_bytes(), payload].into_iter());
        self.pending.push_back(PendingCommand { since: now, publish: Some((id, caller)) });
        if let Some(envelope) = echo {
            self.echo_bytes += payload.len();
            self.echoes.insert(id, PendingEcho { envelope, channel: channel.into(), size: payload.len(), reply: None });
            while self.echoes.len() > MAX_ECHOES || self.echo_bytes > MAX_ECHO_BYTES {
                let Some((_, oldest)) = self.echoes.pop_first() else { break };
                self.echo_bytes -= oldest.size;
                resolve_with_reply(oldest);
            }
        }
        Ok(())
    }

    /// Queues a PING.
    pub(super) fn ping(&mut self, now: Instant) {
        resp::command(&mut self.buffer, [&b"PING"[..]].into_iter());
        self.pending.push_back(PendingCommand { since: now, publish: None });
    }

    /// What is to be written now.
    pub(super) fn take_buffer(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }

    /// Since when the oldest unanswered command waits.
    pub(super) fn pending_since(&self) -> Option<Instant> {
        self.pending.front().map(|command| command.since)
    }

    /// Whether everything was answered and heard.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.echoes.values().all(|echo| echo.reply.is_none())
    }

    /// Redis answered the oldest command.
    pub(super) fn reply_received(&mut self, result: Result<u64, String>, now: Instant) {
        let Some(PendingCommand { publish: Some((id, caller)), .. }) = self.pending.pop_front() else { return };
        match result {
            Ok(count) => match self.echoes.get_mut(&id) {
                Some(echo) => echo.reply = Some((now, count, caller)),
                None => {
                    let _ = caller.send(Ok(count));
                }
            },
            Err(reason) => {
                self.remove_echo(id);
                let _ = caller.send(Err(BackplaneError::Refused(reason)));
            }
        }
    }

    /// An echo came: the very message that was published, if it is still known.
    pub(super) fn echo_received(&mut self, id: u64) -> Option<Envelope> {
        let echo = self.remove_echo(id)?;
        if let Some((_, count, caller)) = echo.reply {
            let _ = caller.send(Ok(count));
        }
        Some(echo.envelope)
    }

    fn remove_echo(&mut self, id: u64) -> Option<PendingEcho> {
        let echo = self.echoes.remove(&id)?;
        self.echo_bytes -= echo.size;
        Some(echo)
    }

    /// The channel is not heard any more, on our own wish: its echoes are not waited for.
    pub(super) fn channel_unsubscribed(&mut self, channel: &str) {
        let ids: Vec<u64> =
            self.echoes.iter().filter(|(_, echo)| *echo.channel == *channel).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(echo) = self.remove_echo(id) {
                resolve_with_reply(echo);
            }
        }
    }

    /// Since when the oldest answered message has not come back.
    pub(super) fn echo_pending_since(&self) -> Option<Instant> {
        self.echoes.values().find_map(|echo| echo.reply.as_ref().map(|(since, ..)| *since))
    }

    /// The link broke: every caller gets the error.
    pub(super) fn fail_all(&mut self, reason: &str) {
        self.buffer = BytesMut::new();
        for PendingCommand { publish, .. } in self.pending.drain(..) {
            if let Some((_, caller)) = publish {
                let _ = caller.send(Err(BackplaneError::Lost(reason.to_owned())));
            }
        }
        self.echo_bytes = 0;
        for (_, echo) in std::mem::take(&mut self.echoes) {
            if let Some((.., caller)) = echo.reply {
                let _ = caller.send(Err(BackplaneError::Lost(reason.to_owned())));
            }
        }
    }
}

/// Ends an echo that is not waited for any more.
fn resolve_with_reply(echo: PendingEcho) {
    if let Some((_, count, caller)) = echo.reply {
        let _ = caller.send(Ok(count));
    }
}

#[cfg(test)]
mod tests;
