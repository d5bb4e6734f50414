//! Layer 5: local and remote delivery as one act. Hubs say whom a message is for; here it is decided what goes
//! straight into local queues and what goes over the backplane (docs/design.md#7;
//! docs/builders/redis-backplane.md#B.1).
//!
//! | file | what is in it |
//! | --- | --- |
//! | this one | sends |
//! | [`group_commands`] | joining and leaving, here and by command to other nodes |
//! | `inbound_errors` | what is wrong with what arrives, told once a kind |
//! | [`inbound`] | what arrives from other nodes |
//! | [`group_stream`] | what is sent to a group, heard by a stream |
//! | [`client_results`] | asking one client and awaiting its answer |

pub(crate) mod client_results;
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

/// Everything that is sent to clients of one hub goes through its delivery.
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
    metrics: HubMetrics,
    reported_errors: inbound_errors::ReportedErrors,
    log: Arc<LogRateLimiter>,
}

/// Why a send or a group change failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The backplane is needed and could not take it.
    #[error("{0}")]
    Backplane(#[from] BackplaneError),
    /// A value has no form in one of the hub's protocols.
    #[error("{0}")]
    Value(ValueError),
    /// No node acknowledged a group change in time.
    #[error("A task was canceled.")]
    AckTimeout,
    /// An empty group name in a list of groups (docs/builders/signalr-protocol.md#4.12).
    #[error("Cannot send to an empty group name.")]
    EmptyGroup,
    /// It was sent through a `HubContext` that is not attached to a hub yet.
    #[error(
        "this hub context is not attached to a hub yet: attach it with HubRoute::context, and await Builder::build \
         before sending"
    )]
    NotAttached,
}

// === making one ===

impl Delivery {
    /// The delivery of one hub on this node. [`Delivery::subscribe_hub_channels`] must follow, and an [`inbound::InboundDispatcher`] must be
    /// given what arrives.
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
            metrics,
            reported_errors: inbound_errors::ReportedErrors::default(),
            log: Arc::default(),
        }
    }

    /// Subscribes what every node hears always (docs/builders/redis-backplane.md#B.2).
    pub(crate) async fn subscribe_hub_channels(&self) {
        let node = || self.node.clone();
        let channels = [Channel::All, Channel::GroupCommands, Channel::Acks(node()), Channel::Results(node())];
        self.backplane.subscribe(channels.into_iter().map(|channel| self.topic(channel)).collect()).await;
    }

    /// The hub's name on the backplane.
    pub(crate) fn hub(&self) -> &HubName {
        &self.hub
    }

    /// Who is connected here.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Limits the log lines about the hub.
    pub(crate) fn log(&self) -> &Arc<LogRateLimiter> {
        &self.log
    }

    fn topic(&self, channel: Channel) -> Topic {
        Topic { hub: self.hub.clone(), channel }
    }
}

// === coming and going ===

impl Delivery {
    /// Makes a connection reachable. Broadcasts reach it at once; when this ends, so does what is sent to it or to
    /// its user on other nodes.
    pub(crate) async fn connect(&self, member: Arc<Member>) {
        let topics = self.own_topics(&member);
        self.registry.add(member);
        self.backplane.subscribe(topics).await;
    }

    /// Forgets a connection: its groups, its user, its subscriptions, and the questions it has not answered. Ends
    /// when askers on other nodes have been told.
    pub(crate) async fn disconnect(&self, id: &ConnectionId) {
        if let Some((member, groups)) = self.registry.remove(id) {
            let unreported = self.fail_pending_results(&member);
            let mut topics = self.own_topics(&member);
            topics.extend(groups.into_iter().map(|group| self.topic(Channel::Group(group))));
            self.backplane.unsubscribe(topics);
            join_all(unreported).await;
        }
    }

    fn own_topics(&self, member: &Member) -> Vec<Topic> {
        let mut topics = vec![self.topic(Channel::Connection(member.id.clone()))];
        // The reference subscribes no channel for an empty user id (B.2).
        if let Some(user) = member.user.as_ref().filter(|user| !user.as_str().is_empty()) {
            topics.push(self.topic(Channel::User(user.clone())));
        }
        topics
    }
}

// === sending ===

impl Delivery {
    /// Calls `method` at every receiver, here and on other nodes, and waits for no answer.
    ///
    /// Returns when all is queued here and taken by the backplane. Values are scanned first: one that has no form
    /// in one of the hub's protocols fails the send, whoever listens. Of a send to connections of this node alone
    /// the receivers' own protocols count. While the backplane is away, what needs it fails; a send to a connection
    /// of this node does not need it.
    pub(crate) async fn send(
        &self,
        recipients: &Recipients,
        method: &str,
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
                for member in &here {
                    self.push(member, &message);
                }
                self.publish(elsewhere, &[], &message).await
            }
        }
    }

    /// Sends one envelope to each channel. With a backplane that echoes, this node's clients are served by the echo.
    async fn publish(
        &self,
        channels: impl IntoIterator<Item = Channel>,
        except: &[ConnectionId],
        message: &OutgoingMessage,
    ) -> Result<(), SendError> {
        let mut taken: Vec<BoxFuture<'static, Result<u64, BackplaneError>>> = Vec::new();
        for channel in channels {
            if !self.backplane.echoes() {
                self.deliver(&channel, except, message);
            }
            let envelope = Envelope::Message { except: except.to_vec(), message: message.clone(), reply_to: None };
            taken.push(self.backplane.publish(self.topic(channel), envelope));
        }
        // All are on their way before the first answer is waited for.
        if taken.len() == 1 {
            if let Some(only) = taken.pop() {
                only.await?;
            }
            return Ok(());
        }
        join_all(taken).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    /// Gives a frame to the receivers of a channel that are connected here.
    fn deliver(&self, channel: &Channel, except: &[ConnectionId], message: &OutgoingMessage) {
        let members = match channel {
            Channel::All => Some(self.registry.all()),
            Channel::Group(name) => {
                self.group_streams.forward(name, except, message);
                self.registry.group(name)
            }
            Channel::User(id) => self.registry.user(id),
            Channel::Connection(id) => {
                if let Some(member) = self.registry.connection(id) {
                    self.push(&member, message);
                }
                return;
            }
            Channel::GroupCommands | Channel::Acks(_) | Channel::Results(_) => None,
        };
        let Some(members) = members else { return };
        let left_out: HashSet<&ConnectionId> = except.iter().collect();
        for member in members.iter().filter(|member| left_out.is_empty() || !left_out.contains(&member.id)) {
            self.push(member, message);
        }
    }

    /// Gives a frame to one member that is connected here. One that is too slow is closed and counted; its own task
    /// writes the log line, since this runs in the sender's.
    pub(crate) fn push(&self, member: &Member, message: &OutgoingMessage) -> PushOutcome {
        let outcome = member.push(message);
        match &outcome {
            PushOutcome::Queued => {}
            PushOutcome::TooSlow => self.metrics.overflow(),
            // Only a message of a foreign node can get here: ours are checked before they are sent.
            PushOutcome::NotConvertible(why) if self.reported_errors.first_report(InboundError::NotConvertible) => {
                let why = Escaped::new(why).to_string();
                tracing::warn!(hub = %self.hub, connection = %member.id, why, "a message of another node has no form in this client's protocol; it was left out, and so are others like it");
            }
            PushOutcome::NotConvertible(_) => {}
        }
        outcome
    }
}

/// Whether the values have a form in each of these protocols, and none is too deep for its receivers.
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
