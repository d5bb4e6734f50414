//! Layer 5: delivery of messages to the clients of a hub, on this node and on others. Hubs name the recipients; this
//! module decides what goes directly into local outboxes and what is published on the backplane (docs/design.md#7;
//! docs/builders/redis-backplane.md#B.1).
//!
//! | file | contents |
//! | --- | --- |
//! | this one | sends, connects and disconnects |
//! | `fan_out` | pushing one message to many outboxes |
//! | [`group_commands`] | joining and leaving groups, directly or by group command to other nodes |
//! | [`client_results`] | invoking a client method and awaiting its result |
//! | [`group_stream`] | the messages of a group as a stream |
//! | [`inbound`] | handling of envelopes that arrive over the backplane |
//! | `inbound_errors` | limits the log lines about invalid envelopes |

pub(crate) mod client_results;
mod fan_out;
pub(crate) mod group_commands;
pub(crate) mod group_stream;
pub(crate) mod inbound;
mod inbound_errors;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use self::inbound_errors::InboundError;
use crate::backplane::{Backplane, BackplaneError, Channel, Envelope, Topic};
use crate::ids::{ConnectionId, HubName, NodeId};
use crate::logging::{Escaped, LogRateLimiter};
use crate::metrics::HubMetrics;
use crate::outgoing::{self, OutgoingMessage};
use crate::protocol::{Protocol, RawValue, ValueError};
use crate::recipients::{RecipientScope, Recipients};
use crate::registry::{Member, PushOutcome, Registry};

/// Sends messages to the clients of one hub. There is one for each hub; every message to its clients passes through it.
#[derive(Debug)]
pub(crate) struct Delivery {
    hub: HubName,
    node: NodeId,
    protocols: Vec<Protocol>,
    registry: Registry,
    backplane: Arc<dyn Backplane>,
    pending_acks: group_commands::PendingAcks,
    pending_results: client_results::PendingResults,
    group_streams: group_stream::GroupStreams,
    fan_out: fan_out::FanOut,
    metrics: HubMetrics,
    reported_errors: inbound_errors::ReportedErrors,
    log: Arc<LogRateLimiter>,
}

/// How many topics one call of [`Backplane::unsubscribe`] gets when a connection leaves its groups.
const MAX_TOPICS_PER_UNSUBSCRIBE: usize = 256;

/// Why a send or a group change failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The send needs the backplane, which did not accept it.
    #[error("{0}")]
    Backplane(#[from] BackplaneError),
    /// A value cannot be represented in one of the hub's protocols.
    #[error("{0}")]
    Value(ValueError),
    /// The connection is a member of as many groups as one may be (`maximum_groups_per_client`).
    #[error("The client is a member of too many groups.")]
    TooManyGroups,
    /// No node acknowledged a group change in time.
    #[error("A task was canceled.")]
    AckTimeout,
    /// An empty group name in a list of groups (docs/builders/signalr-protocol.md#4.12).
    #[error("Cannot send to an empty group name.")]
    EmptyGroup,
    /// The send was made through a `HubContext` that is not attached to a hub yet.
    #[error(
        "this hub context is not attached to a hub yet: attach it with HubRoute::context, and await Builder::build \
         before sending"
    )]
    NotAttached,
}

// === construction ===

impl Delivery {
    /// Makes the delivery of one hub on this node. The caller must also call [`Delivery::subscribe_hub_channels`] and
    /// run an [`inbound::InboundDispatcher`] with the backplane's receiver.
    pub(crate) fn new(
        hub: HubName,
        node: NodeId,
        protocols: Vec<Protocol>,
        backplane: Arc<dyn Backplane>,
        metrics: HubMetrics,
    ) -> Self {
        Self {
            hub,
            node,
            protocols,
            registry: Registry::default(),
            backplane,
            pending_acks: group_commands::PendingAcks::default(),
            pending_results: client_results::PendingResults::default(),
            group_streams: group_stream::GroupStreams::default(),
            fan_out: fan_out::FanOut::default(),
            metrics,
            reported_errors: inbound_errors::ReportedErrors::default(),
            log: Arc::default(),
        }
    }

    /// Limits of how many groups one connection may be a member; `None` means no limit.
    pub(crate) fn with_max_groups(mut self, max_groups: Option<usize>) -> Self {
        self.registry = Registry::new(max_groups);
        self
    }

    /// Subscribes to the channels of the hub that every node needs (docs/builders/redis-backplane.md#B.2).
    pub(crate) async fn subscribe_hub_channels(&self) {
        let node = || self.node.clone();
        let channels = [Channel::All, Channel::GroupCommands, Channel::Acks(node()), Channel::Results(node())];
        self.backplane.subscribe(channels.into_iter().map(|channel| self.topic(channel)).collect()).await;
    }

    /// The hub's name on the backplane.
    pub(crate) fn hub(&self) -> &HubName {
        &self.hub
    }

    /// The hub's connections on this node.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The rate limiter for log lines about the hub.
    pub(crate) fn log(&self) -> &Arc<LogRateLimiter> {
        &self.log
    }

    fn topic(&self, channel: Channel) -> Topic {
        Topic { hub: self.hub.clone(), channel }
    }
}

// === connecting and disconnecting ===

impl Delivery {
    /// Makes a connection reachable: immediately for broadcasts, and, once the future completes, also for messages that
    /// other nodes send to it or to its user.
    pub(crate) async fn connect(&self, member: Arc<Member>) {
        let topics = self.own_topics(&member);
        self.registry.add(member);
        self.backplane.subscribe(topics).await;
    }

    /// Removes a connection with its groups and its subscriptions, and fails its pending results. The future completes
    /// when other nodes that wait for such results have been notified.
    pub(crate) async fn disconnect(&self, id: &ConnectionId) {
        if let Some((member, groups)) = self.registry.remove(id) {
            let notifications = self.fail_pending_results(&member);
            self.backplane.unsubscribe(self.own_topics(&member));
            // In pieces, since the backplane has a lock too.
            for groups in groups.chunks(MAX_TOPICS_PER_UNSUBSCRIBE) {
                let topics = groups.iter().cloned().map(Channel::Group).map(|channel| self.topic(channel));
                self.backplane.unsubscribe(topics.collect());
                tokio::task::coop::consume_budget().await;
            }
            join_all(notifications).await;
        }
    }

    fn own_topics(&self, member: &Member) -> Vec<Topic> {
        let mut topics = vec![self.topic(Channel::Connection(member.id.clone()))];
        // Like ASP.NET Core, which has no channel for an empty user id (B.2).
        if let Some(user) = member.user.as_ref().filter(|user| !user.as_str().is_empty()) {
            topics.push(self.topic(Channel::User(user.clone())));
        }
        topics
    }
}

// === sending ===

impl Delivery {
    /// Invokes `method` on every recipient, on this node and on others, without waiting for results. The future
    /// completes when the message is queued for local recipients and the backplane has accepted it.
    ///
    /// # Errors
    ///
    /// [`SendError::Value`] if an argument cannot be represented in one of the hub's protocols, no matter which ones
    /// the recipients use; if all recipients are given by connection id and are on this node, only their own protocols
    /// matter. [`SendError::Backplane`] if the backplane does not accept the message; sends to connections of this node
    /// do not need it.
    pub(crate) async fn send(
        &self,
        recipients: &Recipients,
        method: impl Into<Arc<str>>,
        arguments: Vec<RawValue>,
    ) -> Result<(), SendError> {
        let checked = |protocols: &[Protocol]| {
            check(&arguments, protocols)?;
            Ok::<_, SendError>(outgoing::invocation(method, arguments))
        };
        match &recipients.scope {
            RecipientScope::All => self.publish([Channel::All], &recipients.except, &checked(&self.protocols)?).await,
            RecipientScope::Groups(names) => {
                let message = checked(&self.protocols)?;
                if names.len() > 1 && names.iter().any(|name| name.as_str().is_empty()) {
                    return Err(SendError::EmptyGroup);
                }
                self.publish(names.iter().cloned().map(Channel::Group), &recipients.except, &message).await
            }
            RecipientScope::Users(ids) => {
                self.publish(ids.iter().cloned().map(Channel::User), &[], &checked(&self.protocols)?).await
            }
            RecipientScope::Connections(ids) => {
                let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
                for id in ids {
                    match self.registry.connection(id) {
                        Some(member) => here.push(member),
                        None => elsewhere.push(Channel::Connection(id.clone())),
                    }
                }
                let is_used = |protocol: &Protocol| {
                    !elsewhere.is_empty() || here.iter().any(|member| member.outbox.encoding().protocol == *protocol)
                };
                let used: Vec<Protocol> = self.protocols.iter().copied().filter(is_used).collect();
                if used.is_empty() {
                    return Ok(());
                }
                let message = checked(&used)?;
                self.fan_out.run(here.iter(), |member| self.push_counted(member, &message)).await;
                self.publish(elsewhere, &[], &message).await
            }
        }
    }

    /// Publishes one envelope on each channel. If the backplane echoes, this node's clients get the message when the
    /// echo arrives, and otherwise immediately.
    async fn publish(
        &self,
        channels: impl IntoIterator<Item = Channel>,
        except: &[ConnectionId],
        message: &OutgoingMessage,
    ) -> Result<(), SendError> {
        let mut taken: Vec<BoxFuture<'static, Result<u64, BackplaneError>>> = Vec::new();
        for channel in channels {
            if !self.backplane.echoes() {
                self.deliver(&channel, except, message).await;
            }
            let envelope = Envelope::Message { except: except.to_vec(), message: message.clone(), reply_to: None };
            taken.push(self.backplane.publish(self.topic(channel), envelope));
        }
        // Every envelope was published before the first result is awaited.
        if taken.len() == 1 {
            if let Some(only) = taken.pop() {
                only.await?;
            }
            return Ok(());
        }
        join_all(taken).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    /// Pushes a message to the recipients of a channel that are connected to this node.
    async fn deliver(&self, channel: &Channel, except: &[ConnectionId], message: &OutgoingMessage) {
        let members = match channel {
            Channel::All => Some(self.registry.all()),
            Channel::Group(name) => {
                self.group_streams.forward(name, except, message);
                self.registry.group(name)
            }
            Channel::User(id) => self.registry.user(id),
            Channel::Connection(id) => {
                let member = self.registry.connection(id);
                return self.fan_out.run(member.iter(), |member| self.push_counted(member, message)).await;
            }
            Channel::GroupCommands | Channel::Acks(_) | Channel::Results(_) => None,
        };
        let Some(members) = members else { return };
        let left_out: HashSet<&ConnectionId> = except.iter().collect();
        let receivers = members.iter().filter(|member| left_out.is_empty() || !left_out.contains(&member.id));
        self.fan_out.run(receivers, |member| self.push_counted(member, message)).await;
    }

    /// Like [`Delivery::push`], but returns how many bytes were queued.
    fn push_counted(&self, member: &Member, message: &OutgoingMessage) -> usize {
        match self.push(member, message) {
            PushOutcome::Queued { bytes } => bytes,
            PushOutcome::TooSlow | PushOutcome::NotConvertible(_) => 0,
        }
    }

    /// Pushes a message to one connection of this node. A slow client is closed and counted in the metrics; its own
    /// task writes the log line, since this code runs in the task of the sender.
    pub(crate) fn push(&self, member: &Member, message: &OutgoingMessage) -> PushOutcome {
        let outcome = member.push(message);
        match &outcome {
            PushOutcome::Queued { .. } => {}
            PushOutcome::TooSlow => self.metrics.overflow(),
            // Only messages from other nodes can get here, since this node checks its own before sending.
            PushOutcome::NotConvertible(why) if self.reported_errors.first_report(InboundError::NotConvertible) => {
                let why = Escaped::new(why).to_string();
                tracing::warn!(hub = %self.hub, connection = %member.id, why, "a message from another node cannot be represented in this client's protocol and was dropped; further ones are not logged");
            }
            PushOutcome::NotConvertible(_) => {}
        }
        outcome
    }
}

/// Checks that the values can be represented in each of these protocols, and that none is nested too deeply.
fn check(arguments: &[RawValue], protocols: &[Protocol]) -> Result<(), SendError> {
    for value in arguments {
        let foreign = protocols.iter().any(|protocol| *protocol != value.protocol());
        let checked = if foreign { value.check_portable() } else { value.check_depth() };
        checked.map_err(SendError::Value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
