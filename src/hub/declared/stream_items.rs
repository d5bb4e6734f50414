//! What a method that `streams` a group sends to its caller: an item for each message, `{ target, arguments }`.

use bytes::BytesMut;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::compose::{ContainerKind, begin, end, put, put_key, put_text, separate};
use super::failure::Failure;
use crate::delivery::group_stream::GroupStream;
use crate::hub::{Caller, HubError};
use crate::ids::GroupName;
use crate::outgoing::OutgoingMessage;
use crate::protocol::{HubMessage, Protocol, Proven, RawValue};

/// The messages of a group from now on. The stream ends by an error alone: when its reader falls behind.
pub(super) async fn stream_items(
    caller: &Caller,
    method: &str,
    group: GroupName,
) -> BoxStream<'static, Result<RawValue, HubError>> {
    let (delivery, connection) = (caller.delivery().clone(), caller.connection_id());
    // In the caller's own protocol nothing is converted.
    let member = delivery.registry().connection(connection);
    let protocol = member.map_or(Protocol::Json, |member| member.outbox.encoding().protocol);
    let watch = delivery.stream_group(group, connection).await;
    stream::unfold(Some(watch), move |watch| async move {
        let mut watch: GroupStream = watch?;
        loop {
            match watch.next().await {
                Some(message) => {
                    if let Some(item) = item(&message, protocol) {
                        return Some((item, Some(watch)));
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

/// None: no call of a client's method, or one that this protocol cannot carry so. It is left out: what somebody sends
/// to the group ends nobody's stream.
fn item(message: &OutgoingMessage, protocol: Protocol) -> Option<Result<RawValue, HubError>> {
    let bytes = message.hub_framed(protocol).ok()?;
    let Ok(Some(HubMessage::Invocation(invocation))) = protocol.decode(&mut BytesMut::from(&bytes[..]), None) else {
        return None;
    };
    let arguments = invocation.arguments.ok()?;
    let mut out = Vec::with_capacity(bytes.len());
    let written = (|| {
        begin(&mut out, protocol, ContainerKind::Table, 2);
        put_key(&mut out, protocol, "target");
        put_text(&mut out, protocol, &invocation.target);
        separate(&mut out, protocol, 1);
        put_key(&mut out, protocol, "arguments");
        begin(&mut out, protocol, ContainerKind::List, arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            separate(&mut out, protocol, index);
            put(&mut out, protocol, argument)?;
        }
        end(&mut out, protocol, ContainerKind::List);
        end(&mut out, protocol, ContainerKind::Table);
        Ok(())
    })();
    // An argument may be as deep as a message can carry it, and an item stands around it.
    let proven = arguments.iter().fold(Proven::SCALAR, |proven, argument| proven.and(argument.proven())).inside(2);
    let item = written.map(|()| RawValue::from_proven(protocol, out.into(), proven));
    proven.check_depth().is_ok().then_some(item)
}
