//! The queue of the command connection: the bytes to be written, the callers that wait for answers, in the same order,
//! and the messages whose echo has not arrived yet.
//!
//! A publish to a channel to which this node itself has subscribed succeeds only when its echo has arrived. An answer
//! from Redis alone does not suffice: if the subscription connection had just broken, this node would never receive
//! the message.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::resp;
use crate::backplane::{BackplaneError, Envelope};

/// How many publishes may wait for an answer.
pub(super) const MAX_PENDING_REPLIES: usize = 65_536;
/// How many bytes may wait to be written.
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;
/// How many messages are kept until their echo arrives. Beyond it, the oldest are no longer waited for.
const MAX_ECHOES: usize = 16_384;
/// How many bytes the messages that are kept for their echo may have together.
const MAX_ECHO_BYTES: usize = 32 * 1024 * 1024;

/// Reports the result of one publish to its caller, which holds the receiver.
pub(super) type PublishCaller = oneshot::Sender<Result<u64, BackplaneError>>;

/// A command on the command connection that has not been answered.
#[derive(Debug)]
struct PendingCommand {
    since: Instant,
    /// The id and the caller of a PUBLISH; `None` for a PING.
    publish: Option<(u64, PublishCaller)>,
}

/// A message whose echo has not arrived.
#[derive(Debug)]
struct PendingEcho {
    envelope: Envelope,
    channel: Box<str>,
    size: usize,
    /// Set once Redis has answered: when, the number of subscribers, and the caller.
    reply: Option<(Instant, u64, PublishCaller)>,
}

#[derive(Debug, Default)]
pub(super) struct PublishQueue {
    buffer: BytesMut,
    pending: VecDeque<PendingCommand>,
    echoes: BTreeMap<u64, PendingEcho>,
    echo_bytes: usize,
}

/// The message for [`PublishQueue::publish`].
pub(super) struct Publish<'a> {
    pub(super) id: u64,
    pub(super) channel: &'a str,
    pub(super) payload: &'a [u8],
    /// The envelope, if its echo is expected.
    pub(super) echo: Option<Envelope>,
}

impl PublishQueue {
    /// Queues one message, or fails with [`BackplaneError::Full`].
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

    /// Takes the bytes that are to be written now.
    pub(super) fn take_buffer(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }

    /// When the oldest unanswered command was queued.
    pub(super) fn pending_since(&self) -> Option<Instant> {
        self.pending.front().map(|command| command.since)
    }

    /// Whether no caller waits for an answer or an echo.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.echoes.values().all(|echo| echo.reply.is_none())
    }

    /// Handles the answer to the oldest unanswered command.
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

    /// Handles an echo, and returns the envelope that was published under this id if it is still kept.
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

    /// Stops waiting for the echoes of a channel from which this node has unsubscribed.
    pub(super) fn channel_unsubscribed(&mut self, channel: &str) {
        let ids: Vec<u64> =
            self.echoes.iter().filter(|(_, echo)| *echo.channel == *channel).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(echo) = self.remove_echo(id) {
                resolve_with_reply(echo);
            }
        }
    }

    /// When Redis answered the oldest publish whose echo has not arrived.
    pub(super) fn echo_pending_since(&self) -> Option<Instant> {
        self.echoes.values().find_map(|echo| echo.reply.as_ref().map(|(since, ..)| *since))
    }

    /// Fails every waiting caller with [`BackplaneError::Lost`], because the link broke.
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

/// Completes a publish, if Redis has answered it, without waiting for its echo any longer.
fn resolve_with_reply(echo: PendingEcho) {
    if let Some((_, count, caller)) = echo.reply {
        let _ = caller.send(Ok(count));
    }
}

#[cfg(test)]
mod tests;
