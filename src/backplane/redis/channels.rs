//! Names of the Redis channels (docs/builders/redis-backplane.md#A.1). The configured prefix is prepended unchanged,
//! without a separator. The names of groups and users are never escaped, so a group may be called `a:b` or `*`.

use crate::backplane::{Channel, Topic};
use crate::ids::{HubName, NodeId};

/// The return channel of a node without the prefix, as it appears in a message that expects a client result (A.3).
pub(crate) fn return_channel(hub: &HubName, node: &NodeId) -> String {
    prefixed("", &Topic { hub: hub.clone(), channel: Channel::Results(node.clone()) })
}

/// The node whose return channel this is; `None` if it is not a return channel of this hub.
pub(crate) fn return_node(hub: &HubName, channel: &str) -> Option<NodeId> {
    channel.strip_prefix(hub.as_str())?.strip_prefix(":internal:return:").map(NodeId::from)
}

/// The name of a topic's Redis channel.
pub(crate) fn prefixed(prefix: &str, topic: &Topic) -> String {
    let hub = topic.hub.as_str();
    match &topic.channel {
        Channel::All => format!("{prefix}{hub}:all"),
        Channel::Connection(id) => format!("{prefix}{hub}:connection:{id}"),
        Channel::Group(group) => format!("{prefix}{hub}:group:{group}"),
        Channel::User(user) => format!("{prefix}{hub}:user:{user}"),
        Channel::GroupCommands => format!("{prefix}{hub}:internal:groups"),
        Channel::Acks(node) => format!("{prefix}{hub}:internal:ack:{node}"),
        Channel::Results(node) => format!("{prefix}{hub}:internal:return:{node}"),
    }
}

/// The topic of a channel name without its prefix; `None` if it belongs to none of `hubs`. Hub names may contain
/// colons, so the longest one that matches wins. Only tests parse channel names, in recorded traffic.
#[cfg(test)]
pub(crate) fn parse<'a>(channel: &str, hubs: impl IntoIterator<Item = &'a HubName>) -> Option<Topic> {
    let mut best: Option<Topic> = None;
    for hub in hubs {
        if best.as_ref().is_some_and(|topic| topic.hub.as_str().len() >= hub.as_str().len()) {
            continue;
        }
        let rest = channel.strip_prefix(hub.as_str()).and_then(|rest| rest.strip_prefix(':'));
        if let Some(channel) = rest.and_then(within_hub) {
            best = Some(Topic { hub: hub.clone(), channel });
        }
    }
    best
}

#[cfg(test)]
fn within_hub(rest: &str) -> Option<Channel> {
    match rest {
        "all" => return Some(Channel::All),
        "internal:groups" => return Some(Channel::GroupCommands),
        _ => {}
    }
    if let Some(id) = rest.strip_prefix("connection:") {
        Some(Channel::Connection(id.into()))
    } else if let Some(group) = rest.strip_prefix("group:") {
        Some(Channel::Group(group.into()))
    } else if let Some(user) = rest.strip_prefix("user:") {
        Some(Channel::User(user.into()))
    } else if let Some(node) = rest.strip_prefix("internal:ack:") {
        Some(Channel::Acks(node.into()))
    } else {
        rest.strip_prefix("internal:return:").map(|node| Channel::Results(node.into()))
    }
}
