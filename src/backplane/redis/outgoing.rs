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
pub(super) const MOST_WAITING: usize = 65_536;
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// How many messages, and of what size together, are kept for their echo.
const MOST_ECHOES: usize = 16_384;
const MOST_ECHO_BYTES: usize = 32 * 1024 * 1024;

/// Gets the result of one publish.
pub(super) type Caller = oneshot::Sender<Result<u64, BackplaneError>>;

/// A command on the command connection that is not answered.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// None: a PING.
    publish: Option<(u64, Caller)>,
}

/// A message that is expected back.
#[derive(Debug)]
struct Echo {
    envelope: Envelope,
    channel: Box<str>,
    size: usize,
    /// Redis has answered: when, with what, for whom.
    answered: Option<(Instant, u64, Caller)>,
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    out: BytesMut,
    waiting: VecDeque<Waiting>,
    echoes: BTreeMap<u64, Echo>,
    echo_bytes: usize,
}

/// What [`Outgoing::publish`] sends.
pub(super) struct Publish<'a> {
    pub(super) id: u64,
    pub(super) channel: &'a str,
    pub(super) payload: &'a [u8],
    /// The message, if its echo is expected.
    pub(super) echo: Option<Envelope>,
}

impl Outgoing {
    /// Queues one message.
    pub(super) fn publish(&mut self, publish: Publish<'_>, caller: Caller, now: Instant) -> Result<(), BackplaneError> {
        let Publish { id, channel, payload, echo } = publish;
        let no_room = !self.out.is_empty() && self.out.len() + payload.len() > MOST_BYTES;
        if self.waiting.len() >= MOST_WAITING || no_room {
            return Err(BackplaneError::Full(self.waiting.len()));
        }
        self.out.reserve(channel.len() + payload.len() + 64);
        resp::command(&mut self.out, [&b"PUBLISH"[..], channel.as_bytes(), payload].into_iter());
        self.waiting.push_back(Waiting { since: now, publish: Some((id, caller)) });
        if let Some(envelope) = echo {
            self.echo_bytes += payload.len();
            self.echoes.insert(id, Echo { envelope, channel: channel.into(), size: payload.len(), answered: None });
            while self.echoes.len() > MOST_ECHOES || self.echo_bytes > MOST_ECHO_BYTES {
                let Some((_, oldest)) = self.echoes.pop_first() else { break };
                self.echo_bytes -= oldest.size;
                settle(oldest);
            }
        }
        Ok(())
    }

    /// Queues a PING.
    pub(super) fn ping(&mut self, now: Instant) {
        resp::command(&mut self.out, [&b"PING"[..]].into_iter());
        self.waiting.push_back(Waiting { since: now, publish: None });
    }

    /// What is to be written now.
    pub(super) fn take(&mut self) -> BytesMut {
        std::mem::take(&mut self.out)
    }

    /// Since when the oldest unanswered command waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.since)
    }

    /// Whether everything was answered and heard.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.echoes.values().all(|echo| echo.answered.is_none())
    }

    /// Redis answered the oldest command.
    pub(super) fn answered(&mut self, result: Result<u64, String>, now: Instant) {
        let Some(Waiting { publish: Some((id, caller)), .. }) = self.waiting.pop_front() else { return };
        match result {
            Ok(count) => match self.echoes.get_mut(&id) {
                Some(echo) => echo.answered = Some((now, count, caller)),
                None => {
                    let _ = caller.send(Ok(count));
                }
            },
            Err(reason) => {
                self.forget(id);
                let _ = caller.send(Err(BackplaneError::Refused(reason)));
            }
        }
    }

    /// An echo came: the very message that was published, if it is still known.
    pub(super) fn heard(&mut self, id: u64) -> Option<Envelope> {
        let echo = self.forget(id)?;
        if let Some((_, count, caller)) = echo.answered {
            let _ = caller.send(Ok(count));
        }
        Some(echo.envelope)
    }

    fn forget(&mut self, id: u64) -> Option<Echo> {
        let echo = self.echoes.remove(&id)?;
        self.echo_bytes -= echo.size;
        Some(echo)
    }

    /// The channel is not heard any more, on our own wish: its echoes are not waited for.
    pub(super) fn deaf_to(&mut self, channel: &str) {
        let ids: Vec<u64> =
            self.echoes.iter().filter(|(_, echo)| *echo.channel == *channel).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(echo) = self.forget(id) {
                settle(echo);
            }
        }
    }

    /// Since when the oldest answered message has not come back.
    pub(super) fn unheard_since(&self) -> Option<Instant> {
        self.echoes.values().find_map(|echo| echo.answered.as_ref().map(|(since, ..)| *since))
    }

    /// The link broke: every caller gets the error.
    pub(super) fn lost(&mut self, reason: &str) {
        self.out = BytesMut::new();
        for Waiting { publish, .. } in self.waiting.drain(..) {
            if let Some((_, caller)) = publish {
                let _ = caller.send(Err(BackplaneError::Lost(reason.to_owned())));
            }
        }
        self.echo_bytes = 0;
        for (_, echo) in std::mem::take(&mut self.echoes) {
            if let Some((.., caller)) = echo.answered {
                let _ = caller.send(Err(BackplaneError::Lost(reason.to_owned())));
            }
        }
    }
}

/// Ends an echo that is not waited for any more.
fn settle(echo: Echo) {
    if let Some((_, count, caller)) = echo.answered {
        let _ = caller.send(Ok(count));
    }
}

#[cfg(test)]
mod tests;
