//! The stream items of a method that `streams` a group: one item `{ target, arguments }` for each message to the group.

use bytes::BytesMut;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::compose::{ContainerKind, begin, end, put_key, put_text, separate};
use super::failure::Failure;
use crate::delivery::group_stream::GroupStream;
use crate::hub::{Caller, HubError};
use crate::ids::GroupName;
use crate::outgoing::OutgoingMessage;
use crate::protocol::{HubMessage, Invocation, Protocol, Proven, RawValue};

/// Subscribes to a group and returns a stream of the messages that are sent to it from then on.
///
/// The stream has no end of its own. It ends only with an error, when its reader falls too far behind.
pub(super) async fn stream_items(
    caller: &Caller,
    method: &str,
    group: GroupName,
) -> BoxStream<'static, Result<RawValue, HubError>> {
    let (delivery, connection) = (caller.delivery().clone(), caller.connection_id());
    // Items are built in the caller's protocol, so that arguments in that protocol need no conversion.
    let member = delivery.registry().connection(connection);
    let protocol = member.map_or(Protocol::Json, |member| member.outbox.encoding().protocol);
    let watch = delivery.stream_group(group, connection).await;
    stream::unfold(Some(watch), move |watch| async move {
        let mut watch: GroupStream = watch?;
        loop {
            match watch.next().await {
                Some(message) => {
                    if let Some(item) = item(&message, protocol) {
                        return Some((Ok(item), Some(watch)));
                    }
                }
                None => {
                    return Some((Err(HubError::step("the stream fell behind the group and has lost messages")), None));
                }
            }
        }
    })
    .inspect({
        let method = method.to_owned();
        move |item: &Result<RawValue, HubError>| {
            if let Err(error) = item {
                Failure::from(error.clone()).log(&delivery, &method);
            }
        }
    })
    .boxed()
}

/// The item for a message, shared by all streams of the group; `None` if the message is not an invocation, cannot be
/// represented in this protocol, or is nested too deeply for an item. Such a message is skipped: one message to a group
/// must not end the streams of everybody who watches it.
fn item(message: &OutgoingMessage, protocol: Protocol) -> Option<RawValue> {
    message.stream_item(protocol, || make_item(message, protocol))
}

fn make_item(message: &OutgoingMessage, protocol: Protocol) -> Option<RawValue> {
    match message.message() {
        Some(HubMessage::Invocation(invocation)) => item_of(invocation, protocol),
        Some(_) => None,
        None => {
            // A message from another node exists only as encoded bytes.
            let bytes = message.hub_framed(protocol).ok()?;
            match protocol.decode(&mut BytesMut::from(&bytes[..]), None) {
                Ok(Some(HubMessage::Invocation(invocation))) => item_of(&invocation, protocol),
                _ => None,
            }
        }
    }
}

fn item_of(invocation: &Invocation, protocol: Protocol) -> Option<RawValue> {
    let arguments = invocation.arguments.as_ref().ok()?;
    // The item puts each argument into two more containers, and an argument may already have the maximum depth.
    let proven = arguments.iter().fold(Proven::SCALAR, |proven, argument| proven.and(argument.proven())).inside(2);
    proven.check_depth().ok()?;
    let mut out = Vec::with_capacity(128);
    begin(&mut out, protocol, ContainerKind::Table, 2);
    put_key(&mut out, protocol, "target");
    put_text(&mut out, protocol, &invocation.target);
    separate(&mut out, protocol, 1);
    put_key(&mut out, protocol, "arguments");
    begin(&mut out, protocol, ContainerKind::List, arguments.len());
    for (index, argument) in arguments.iter().enumerate() {
        separate(&mut out, protocol, index);
        argument.append(protocol, &mut out).ok()?;
    }
    end(&mut out, protocol, ContainerKind::List);
    end(&mut out, protocol, ContainerKind::Table);
    Some(RawValue::from_proven(protocol, out.into(), proven))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use super::*;
    use crate::hub::test_kit::{json, pack};
    use crate::outgoing::invocation;

    #[test]
    fn messages_of_this_node_and_of_another_node_give_the_same_item() {
        let arguments = vec![json(r#"{"a":[1.5,"\u00e9"]}"#), pack(b"\x92\xc4\x01\x07\xa1\"")];
        let here = invocation("Said \"é\"", arguments);
        let json_item = json(r#"{"target":"Said \"é\"","arguments":[{"a":[1.5,"\u00e9"]},["Bw==","\""]]}"#);
        assert_eq!(item(&here, Protocol::Json), Some(json_item));
        for protocol in Protocol::ALL {
            let elsewhere = OutgoingMessage::from_encoded([(protocol, here.hub_framed(protocol).unwrap())]);
            assert_eq!(item(&elsewhere, protocol), item(&here, protocol));
            assert!(item(&here, protocol).is_some());
        }
    }

    #[test]
    fn a_message_that_cannot_be_an_item_is_skipped() {
        let nested = |depth: usize| json(&("[".repeat(depth) + &"]".repeat(depth)));
        let fits = |argument: RawValue| {
            let message = invocation("M", vec![argument]);
            Protocol::ALL.map(|protocol| item(&message, protocol).is_some())
        };
        assert_eq!(fits(nested(60)), [true, true]);
        assert_eq!(fits(nested(61)), [false, false]);
        assert_eq!(fits(json("1e400")), [true, false]);
        assert_eq!(fits(pack(b"\xd4\x05\0")), [false, true]);
        assert_eq!(item(&OutgoingMessage::new(HubMessage::Ping), Protocol::Json), None);
    }
}
