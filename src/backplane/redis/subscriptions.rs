//! Tracks which channels are wanted and which of them Redis has confirmed. The writer of the subscription connection
//! sends the difference in batches.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::resp;
use crate::backplane::Topic;

/// How many channels one SUBSCRIBE or UNSUBSCRIBE has at most.
pub(super) const BATCH: usize = 512;

/// The state of one channel.
#[derive(Debug)]
struct ChannelState {
    topic: Topic,
    /// Subscribes minus unsubscribes. They may arrive in any order, so it may be negative for a while.
    count: i64,
    /// Whether the last command that was sent for it is SUBSCRIBE.
    sent: bool,
    /// How many SUBSCRIBEs have been sent and not confirmed.
    unconfirmed: u32,
    /// Whether it is in `changed`.
    queued: bool,
    /// Whether it was in a batch that Redis refused, so that it is subscribed with a command of its own.
    retry_alone: bool,
    /// Whether Redis refused this channel on the current connection.
    refused: bool,
    /// One token for each caller that waits for this channel to be confirmed. A caller continues when all tokens of its
    /// tracker have been dropped.
    waiters: Vec<TaskTrackerToken>,
}

/// A command that was sent on the subscription connection and has not been answered completely.
#[derive(Debug)]
pub(super) struct SentCommand {
    pub(super) since: Instant,
    kind: CommandKind,
}

#[derive(Debug)]
enum CommandKind {
    Ping,
    Subscribe { names: Vec<Arc<str>>, remaining: usize },
    Unsubscribe { remaining: usize },
}

/// The command that Redis answered with an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RefusedCommand {
    /// A SUBSCRIBE of several channels; each of them is now subscribed with a command of its own.
    Batch,
    /// A SUBSCRIBE of this channel.
    Channel(Arc<str>),
    /// Another command.
    Other,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    entries: HashMap<Arc<str>, ChannelState>,
    /// The channels for which a command may have to be sent.
    changed: Vec<Arc<str>>,
    in_flight: VecDeque<SentCommand>,
    /// Whether the next flush sends a PING.
    ping: bool,
    /// How many of the commands that were sent first on this connection are unanswered; `None` before they are sent.
    initial_pending: Option<usize>,
}

// === the wanted channels ===

impl Subscriptions {
    /// Adds one subscription. `confirmed` is the tracker of the caller, if it waits for the confirmation. Returns
    /// whether there is something to send.
    pub(super) fn add(&mut self, channel: &str, topic: &Topic, confirmed: Option<&TaskTracker>) -> bool {
        let (name, entry) = self.entry(channel, topic);
        entry.count += 1;
        let settled = entry.sent && entry.unconfirmed == 0;
        if let Some(confirmed) = confirmed.filter(|_| entry.count > 0 && !settled) {
            entry.waiters.push(confirmed.token());
        }
        self.queue(&name)
    }

    /// Removes one subscription. Returns whether there is something to send.
    pub(super) fn remove(&mut self, channel: &str, topic: &Topic) -> bool {
        let (name, entry) = self.entry(channel, topic);
        entry.count -= 1;
        self.queue(&name)
    }

    /// Removes all subscriptions.
    pub(super) fn remove_all(&mut self) {
        let names: Vec<_> = self.entries.keys().cloned().collect();
        for name in names {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.count = 0;
            }
            self.queue(&name);
        }
    }

    fn entry(&mut self, channel: &str, topic: &Topic) -> (Arc<str>, &mut ChannelState) {
        let name = match self.entries.get_key_value(channel) {
            Some((name, _)) => name.clone(),
            None => Arc::from(channel),
        };
        let entry = self.entries.entry(name.clone()).or_insert_with(|| ChannelState {
            topic: topic.clone(),
            count: 0,
            sent: false,
            unconfirmed: 0,
            queued: false,
            retry_alone: false,
            refused: false,
            waiters: Vec::new(),
        });
        (name, entry)
    }

    fn queue(&mut self, name: &Arc<str>) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        if (entry.count > 0) == entry.sent {
            self.remove_if_unused(name);
            return false;
        }
        if !entry.queued {
            entry.queued = true;
            self.changed.push(name.clone());
        }
        true
    }

    /// Removes the entry of a channel that is neither wanted nor subscribed, and for which nothing is pending.
    fn remove_if_unused(&mut self, name: &Arc<str>) {
        let idle = |entry: &ChannelState| entry.count == 0 && !entry.sent && entry.unconfirmed == 0 && !entry.queued;
        if self.entries.get(name).is_some_and(idle) {
            self.entries.remove(name);
        }
    }

    /// The topic of a channel; `None` if it is not wanted.
    pub(super) fn topic(&self, channel: &str) -> Option<&Topic> {
        self.entries.get(channel).filter(|entry| entry.count > 0).map(|entry| &entry.topic)
    }

    /// Whether the subscription is confirmed, so that a message published on the channel now is certain to come back.
    pub(super) fn is_confirmed(&self, channel: &str) -> bool {
        self.entries.get(channel).is_some_and(|entry| {
            entry.count > 0 && entry.sent && entry.unconfirmed == 0 && !entry.queued && !entry.refused
        })
    }

    /// Whether Redis has answered every command, and nothing is left to send.
    pub(super) fn is_idle(&self) -> bool {
        self.changed.is_empty() && self.in_flight.is_empty()
    }

    /// Whether every channel that was wanted when this connection was opened is confirmed. Channels that have been
    /// added since are ignored, or a stream of new clients could keep the link from ever being up.
    pub(super) fn is_ready(&self) -> bool {
        self.initial_pending == Some(0)
    }

    /// Whether Redis refused every channel.
    pub(super) fn all_refused(&self) -> bool {
        !self.entries.is_empty() && self.entries.values().all(|entry| entry.refused)
    }
}

// === commands ===

impl Subscriptions {
    /// Appends the commands that subscribe to wanted channels and unsubscribe from the others.
    pub(super) fn flush(&mut self, out: &mut BytesMut, now: Instant) {
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for name in std::mem::take(&mut self.changed) {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            entry.queued = false;
            let wanted = entry.count > 0;
            if wanted == entry.sent {
                // It changed twice, so there is nothing to send and nothing to wait for.
                if entry.unconfirmed == 0 {
                    entry.waiters.clear();
                }
                self.remove_if_unused(&name);
            } else if wanted {
                entry.sent = true;
                entry.unconfirmed += 1;
                if entry.retry_alone {
                    self.send(out, now, b"SUBSCRIBE", vec![name]);
                } else {
                    on.push(name);
                }
            } else {
                entry.sent = false;
                if entry.refused {
                    entry.refused = false;
                    self.remove_if_unused(&name);
                } else {
                    off.push(name);
                }
            }
        }
        for (command, names) in [(&b"UNSUBSCRIBE"[..], off), (b"SUBSCRIBE", on)] {
            for batch in names.chunks(BATCH) {
                self.send(out, now, command, batch.to_vec());
            }
        }
        if std::mem::take(&mut self.ping) {
            resp::command(out, [&b"PING"[..]].into_iter());
            self.in_flight.push_back(SentCommand { since: now, kind: CommandKind::Ping });
        }
        if self.initial_pending.is_none() {
            self.initial_pending = Some(self.in_flight.len());
        }
    }

    fn send(&mut self, out: &mut BytesMut, since: Instant, command: &[u8], names: Vec<Arc<str>>) {
        let parts: Vec<&[u8]> = std::iter::once(command).chain(names.iter().map(|name| name.as_bytes())).collect();
        resp::command(out, parts.into_iter());
        let remaining = names.len();
        let kind = if command == b"SUBSCRIBE" {
            CommandKind::Subscribe { names, remaining }
        } else {
            CommandKind::Unsubscribe { remaining }
        };
        self.in_flight.push_back(SentCommand { since, kind });
    }

    /// Makes the next flush send a PING.
    pub(super) fn request_ping(&mut self) {
        self.ping = true;
    }

    /// When the oldest unanswered command was sent.
    pub(super) fn pending_since(&self) -> Option<Instant> {
        self.in_flight.front().map(|in_flight| in_flight.since)
    }
}

// === answers ===

impl Subscriptions {
    /// Handles the confirmation of a SUBSCRIBE.
    pub(super) fn subscribed(&mut self, channel: &str) {
        self.confirmation_received();
        let Some((name, _)) = self.entries.get_key_value(channel) else { return };
        let name = name.clone();
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.unconfirmed = entry.unconfirmed.saturating_sub(1);
            if entry.unconfirmed == 0 {
                entry.waiters.clear();
            }
        }
        self.remove_if_unused(&name);
    }

    /// Handles the confirmation of an UNSUBSCRIBE.
    pub(super) fn unsubscribed(&mut self, channel: &str) {
        self.confirmation_received();
        if let Some((name, _)) = self.entries.get_key_value(channel) {
            let name = name.clone();
            self.remove_if_unused(&name);
        }
    }

    fn confirmation_received(&mut self) {
        let done = match self.in_flight.front_mut() {
            Some(SentCommand {
                kind: CommandKind::Subscribe { remaining, .. } | CommandKind::Unsubscribe { remaining },
                ..
            }) => {
                *remaining = remaining.saturating_sub(1);
                *remaining == 0
            }
            _ => false,
        };
        if done {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<SentCommand> {
        self.initial_pending = self.initial_pending.map(|initial_pending| initial_pending.saturating_sub(1));
        self.in_flight.pop_front()
    }

    /// Handles the answer to a PING.
    pub(super) fn pong_received(&mut self) {
        if matches!(self.in_flight.front(), Some(SentCommand { kind: CommandKind::Ping, .. })) {
            self.pop();
        }
    }

    /// Handles an error, which answers the oldest command, and returns what that command was.
    pub(super) fn error_received(&mut self) -> RefusedCommand {
        let was_initial = self.initial_pending.is_some_and(|initial_pending| initial_pending > 0);
        let Some(SentCommand { kind: CommandKind::Subscribe { names, .. }, .. }) = self.pop() else {
            return RefusedCommand::Other;
        };
        let single = names.len() == 1;
        let mut requeued = 0;
        for name in &names {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            entry.unconfirmed = entry.unconfirmed.saturating_sub(1);
            if single {
                // `sent` stays set, so that the channel is not tried again until there is a new connection.
                entry.refused = true;
                entry.waiters.clear();
            } else if entry.sent && entry.unconfirmed == 0 {
                entry.sent = false;
                entry.retry_alone = true;
                if !entry.queued {
                    entry.queued = true;
                    self.changed.push(name.clone());
                    requeued += 1;
                }
            }
        }
        if was_initial {
            self.initial_pending = self.initial_pending.map(|initial_pending| initial_pending + requeued);
        }
        match names.into_iter().next() {
            Some(name) if single => RefusedCommand::Channel(name),
            _ => RefusedCommand::Batch,
        }
    }

    /// Resets the state after the connection was lost: no channel is subscribed, no caller waits any longer, and every
    /// wanted channel will be subscribed again.
    pub(super) fn connection_lost(&mut self) {
        self.in_flight.clear();
        self.changed.clear();
        self.ping = false;
        self.initial_pending = None;
        self.entries.retain(|_, entry| entry.count != 0);
        for (name, entry) in &mut self.entries {
            entry.sent = false;
            entry.unconfirmed = 0;
            entry.retry_alone = false;
            entry.refused = false;
            entry.waiters.clear();
            entry.queued = entry.count > 0;
            if entry.queued {
                self.changed.push(name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
