//! Encodes and decodes envelopes as ASP.NET Core does (docs/builders/redis-backplane.md#A.2 to #A.8), with one more
//! item, which ASP.NET Core's readers ignore (A.7).
//!
//! That item is the fifth of an invocation: `[node, id]`, the publishing node and its number for the message. With it,
//! a node recognises its own echo without decoding the rest.

use bytes::Bytes;

use super::channels;
use super::envelope_msgpack::EnvelopeReader;
use crate::backplane::{Channel, Envelope, GroupAction, ReplyTo, Topic};
use crate::ids::{ConnectionId, HubName, InvocationId, NodeId};
use crate::outgoing::OutgoingMessage;
use crate::protocol::framing::{BadMessages, check_messages};
use crate::protocol::msgpack::write;
use crate::protocol::{Protocol, ValueError};

/// A message on a backplane channel is not a valid envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{problem} in {kind}")]
pub(crate) struct EnvelopeError {
    /// What the channel carries: Invocation, GroupCommand, Ack or CompletionMessage.
    pub kind: &'static str,
    /// What is wrong. One of a fixed set of texts, so that each is logged only once.
    pub problem: &'static str,
}

// === writing ===

/// Appends an envelope of a hub to `out`. A message is written in each of `protocols`, which are those of the hub,
/// because the publisher does not know which ones the receiving clients use (A.3). `origin` is the publishing node and
/// its number for the message.
///
/// # Errors
///
/// Fails if a value cannot be represented in one of the protocols; `out` is then incomplete and must be discarded.
pub(crate) fn encode(
    hub: &HubName,
    envelope: &Envelope,
    protocols: &[Protocol],
    origin: Option<(&NodeId, u64)>,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match envelope {
        Envelope::Message { except, message: frame, reply_to } => {
            let mut parts = Vec::with_capacity(protocols.len());
            for protocol in protocols {
                parts.push((protocol.name(), frame.hub_framed(*protocol)?));
            }
            let reply_to =
                reply_to.as_ref().map(|reply| (&reply.invocation, channels::return_channel(hub, &reply.node)));
            invocation(except, &parts, reply_to, origin, out);
        }
        Envelope::GroupCommand { id, node, action, group, connection } => {
            write::array(out, 5);
            write::integer(out, i64::from(*id));
            write::text(out, node.as_str());
            write::unsigned(
                out,
                match action {
                    GroupAction::Join => 1,
                    GroupAction::Leave => 2,
                },
            );
            write::text(out, group.as_str());
            write::text(out, connection.as_str());
        }
        Envelope::Ack { id } => {
            write::array(out, 1);
            write::integer(out, i64::from(*id));
        }
        Envelope::Completion { protocol, message } => {
            write::array(out, 2);
            write::text(out, protocol);
            write::binary(out, message);
        }
    }
    Ok(())
}

/// Appends an invocation with as few items as possible: 5 with an origin, else 4 with `reply_to`, else 2.
fn invocation(
    except: &[ConnectionId],
    parts: &[(&str, Bytes)],
    reply_to: Option<(&InvocationId, String)>,
    origin: Option<(&NodeId, u64)>,
    out: &mut Vec<u8>,
) {
    out.reserve(64 + except.len() * 24 + parts.iter().map(|(_, bytes)| bytes.len() + 24).sum::<usize>());
    write::array(
        out,
        match (&reply_to, origin) {
            (_, Some(_)) => 5,
            (Some(_), None) => 4,
            (None, None) => 2,
        },
    );
    write::array(out, except.len());
    for id in except {
        write::text(out, id.as_str());
    }
    write::map(out, parts.len());
    for (name, bytes) in parts {
        write::text(out, name);
        write::binary(out, bytes);
    }
    match reply_to {
        Some((invocation, channel)) => {
            write::text(out, invocation.as_str());
            write::text(out, &channel);
        }
        None if origin.is_some() => {
            out.push(write::NIL);
            out.push(write::NIL);
        }
        None => {}
    }
    if let Some((node, id)) = origin {
        write::array(out, 2);
        write::text(out, node.as_str());
        write::unsigned(out, id);
    }
}

// === reading ===

/// The node that published an invocation and its number for it; `None` if an ASP.NET Core node published it. Skips
/// everything else.
pub(crate) fn origin(payload: &Bytes) -> Option<(&str, u64)> {
    let mut reader = EnvelopeReader::new(payload);
    if reader.array()? < 5 {
        return None;
    }
    for _ in 0..4 {
        reader.skip()?;
    }
    if reader.array()? < 2 {
        return None;
    }
    let node = reader.text()??;
    Some((node, u64::try_from(reader.integer()?).ok()?))
}

/// Decodes an envelope that arrived on a topic. It is as tolerant as ASP.NET Core's readers: unknown further items are
/// ignored, integers may have any width, and strings may be nil.
pub(crate) fn decode(topic: &Topic, payload: &Bytes) -> Result<Envelope, EnvelopeError> {
    let (kind, least) = match topic.channel {
        Channel::All | Channel::Connection(_) | Channel::Group(_) | Channel::User(_) => ("Invocation", 2),
        Channel::GroupCommands => ("GroupCommand", 5),
        Channel::Acks(_) => ("Ack", 1),
        Channel::Results(_) => ("CompletionMessage", 2),
    };
    let wrong = |problem| move || EnvelopeError { kind, problem };
    let mut reader = EnvelopeReader::new(payload);
    let length = reader.array().ok_or_else(wrong("no array"))?;
    if length < least {
        return Err(EnvelopeError { kind, problem: "insufficient items" });
    }
    match topic.channel {
        Channel::GroupCommands => group_command(&mut reader),
        Channel::Acks(_) => int32(&mut reader).map(|id| Envelope::Ack { id }),
        Channel::Results(_) => completion(&mut reader),
        _ => deliver(topic, &mut reader, length),
    }
    .map_err(|problem| EnvelopeError { kind, problem })
}

fn int32(reader: &mut EnvelopeReader<'_>) -> Result<i32, &'static str> {
    reader.integer().and_then(|id| i32::try_from(id).ok()).ok_or("no 32-bit id")
}

fn text<'a>(reader: &mut EnvelopeReader<'a>, problem: &'static str) -> Result<&'a str, &'static str> {
    Ok(reader.text().ok_or(problem)?.unwrap_or_default())
}

fn group_command(reader: &mut EnvelopeReader<'_>) -> Result<Envelope, &'static str> {
    Ok(Envelope::GroupCommand {
        id: int32(reader)?,
        node: text(reader, "no server name")?.into(),
        action: match reader.integer() {
            Some(1) => GroupAction::Join,
            Some(2) => GroupAction::Leave,
            _ => return Err("no known action"),
        },
        group: text(reader, "no group name")?.into(),
        connection: text(reader, "no connection id")?.into(),
    })
}

fn completion(reader: &mut EnvelopeReader<'_>) -> Result<Envelope, &'static str> {
    Ok(Envelope::Completion {
        protocol: text(reader, "no protocol name")?.to_owned(),
        message: reader.binary().ok_or("no message bytes")?.unwrap_or_default(),
    })
}

fn deliver(topic: &Topic, reader: &mut EnvelopeReader<'_>, length: usize) -> Result<Envelope, &'static str> {
    let mut except = Vec::new();
    for _ in 0..reader.array().ok_or("no array of excluded ids")? {
        if let Some(id) = reader.text().ok_or("an excluded id that is not text")? {
            except.push(ConnectionId::from(id));
        }
    }
    let mut parts = Vec::new();
    for _ in 0..reader.map().ok_or("no map of protocols")? {
        let name = reader.text().ok_or("a protocol name that is not text")?;
        let bytes = reader.binary().ok_or("a message that is not binary")?;
        if let (Some(protocol), Some(bytes)) = (name.and_then(Protocol::from_name), bytes) {
            // These bytes are sent to clients unchanged. An incomplete message would corrupt the stream of each client,
            // and invalid UTF-8 in a text frame would make clients close their connections.
            check_messages(protocol, &bytes).map_err(|bad| match bad {
                BadMessages::Framing => "no whole hub message",
                BadMessages::Text => "a hub message with text that is not Unicode",
            })?;
            parts.push((protocol, bytes));
        }
    }
    let mut reply_to = None;
    if length > 3 {
        let id = reader.text().ok_or("an invocation id that is not text")?;
        let channel = reader.text().ok_or("a return channel that is not text")?;
        if let (Some(id), Some(channel)) = (id, channel) {
            reply_to = match channels::return_node(&topic.hub, channel) {
                Some(node) => Some(ReplyTo { invocation: InvocationId::from(id), node }),
                // The client's answer could not be sent anywhere, so the client is not asked at all.
                None if matches!(topic.channel, Channel::Connection(_)) => {
                    return Err("a return channel that is not of this hub");
                }
                None => None,
            };
        }
    }
    Ok(Envelope::Message { except, message: OutgoingMessage::from_encoded(parts), reply_to })
}
