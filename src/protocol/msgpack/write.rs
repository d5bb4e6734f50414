//! Encodes hub messages as MessagePack, with the same elements as ASP.NET Core (docs/builders/signalr-protocol.md#3.2).

use bytes::Bytes;

use crate::protocol::framing::{MAX_PREFIX_BYTES, write_prefix};
use crate::protocol::message::unsendable;
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, Protocol, RawValue, ValueError};

/// See [`crate::protocol::Protocol::encode`].
pub(crate) fn encode(message: &HubMessage) -> Result<Bytes, ValueError> {
    let mut out = Vec::with_capacity(128);
    // Reserve space for the longest prefix. The unused part is cut off at the end, so that nothing has to be moved.
    out.extend_from_slice(&[0; MAX_PREFIX_BYTES]);
    match message {
        HubMessage::Invocation(call) => invocation(&mut out, 1, call)?,
        HubMessage::StreamInvocation(call) => invocation(&mut out, 4, call)?,
        HubMessage::StreamItem { id, item, headers } => {
            begin(&mut out, 4, 2, headers);
            text(&mut out, id.as_str());
            value(&mut out, item.as_ref().map_err(unsendable)?)?;
        }
        HubMessage::Completion { id, outcome, headers } => {
            let count = if matches!(outcome, Outcome::Void) { 4 } else { 5 };
            begin(&mut out, count, 3, headers);
            text(&mut out, id.as_str());
            match outcome {
                Outcome::Error(error) => {
                    out.push(1);
                    text(&mut out, error);
                }
                Outcome::Void => out.push(2),
                Outcome::Value(result) => {
                    out.push(3);
                    value(&mut out, result)?;
                }
            }
        }
        HubMessage::CancelInvocation { id, headers } => {
            begin(&mut out, 3, 5, headers);
            text(&mut out, id.as_str());
        }
        HubMessage::Ping => out.extend_from_slice(&[0x91, 6]),
        HubMessage::Close { error, allow_reconnect } => {
            out.extend_from_slice(&[0x93, 7]);
            match error {
                Some(error) => text(&mut out, error),
                None => out.push(NIL),
            }
            out.push(if *allow_reconnect { 0xc3 } else { 0xc2 });
        }
        HubMessage::Ack { sequence_id } => sequence(&mut out, 8, *sequence_id),
        HubMessage::Sequence { sequence_id } => sequence(&mut out, 9, *sequence_id),
    }
    let length = out.len() - MAX_PREFIX_BYTES;
    if i32::try_from(length).is_err() {
        return Err(ValueError("the message is longer than 2 GiB".to_owned()));
    }
    let (prefix, used) = write_prefix(length);
    let start = MAX_PREFIX_BYTES - used;
    out[start..MAX_PREFIX_BYTES].copy_from_slice(&prefix[..used]);
    Ok(Bytes::from(out).slice(start..))
}

fn invocation(out: &mut Vec<u8>, kind: u8, call: &Invocation) -> Result<(), ValueError> {
    let arguments = call.sendable_arguments()?;
    // Always six elements: some clients read the sixth without checking the count
    // (docs/builders/signalr-protocol.md#3.2).
    begin(out, 6, kind, &call.headers);
    match &call.id {
        Some(id) => text(out, id.as_str()),
        None => out.push(NIL),
    }
    text(out, &call.target);
    array(out, arguments.len());
    for argument in arguments {
        value(out, argument)?;
    }
    array(out, call.stream_ids.len());
    for id in &call.stream_ids {
        text(out, id.as_str());
    }
    Ok(())
}

fn begin(out: &mut Vec<u8>, count: usize, kind: u8, headers: &Headers) {
    array(out, count);
    out.push(kind);
    map(out, headers.0.len());
    for (name, content) in &headers.0 {
        text(out, name);
        text(out, content);
    }
}

fn value(out: &mut Vec<u8>, value: &RawValue) -> Result<(), ValueError> {
    value.append(Protocol::MessagePack, out)
}

fn sequence(out: &mut Vec<u8>, kind: u8, id: i64) {
    out.extend_from_slice(&[0x92, kind]);
    integer(out, id);
}

// === tokens, each in its shortest form ===

pub(crate) const NIL: u8 = 0xc0;

/// Writes a string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 5);
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..0x100 => out.extend_from_slice(&[0xd9, length as u8]),
        length => long_length(out, 0xda, length),
    }
    out.extend_from_slice(text.as_bytes());
}

/// Writes binary.
pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 5);
    match bytes.len() {
        length @ 0..0x100 => out.extend_from_slice(&[0xc4, length as u8]),
        length => long_length(out, 0xc5, length),
    }
    out.extend_from_slice(bytes);
}

/// Writes the header of an array.
pub(crate) fn array(out: &mut Vec<u8>, count: usize) {
    match count {
        0..16 => out.push(0x90 | count as u8),
        _ => long_length(out, 0xdc, count),
    }
}

/// Writes the header of a map.
pub(crate) fn map(out: &mut Vec<u8>, count: usize) {
    match count {
        0..16 => out.push(0x80 | count as u8),
        _ => long_length(out, 0xde, count),
    }
}

/// Writes `code` and a length of two bytes, or `code + 1` and a length of four bytes. A length that does not even fit
/// into four bytes makes a message that is too long, which [`encode`] refuses.
fn long_length(out: &mut Vec<u8>, code: u8, length: usize) {
    match u16::try_from(length) {
        Ok(length) => {
            out.push(code);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(code + 1);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

/// Writes an integer.
pub(crate) fn integer(out: &mut Vec<u8>, number: i64) {
    match number {
        0.. => unsigned(out, number as u64),
        -32..0 => out.push(number as u8),
        -0x80..-32 => out.extend_from_slice(&[0xd0, number as u8]),
        -0x8000..-0x80 => {
            out.push(0xd1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Writes an integer that is not negative.
pub(crate) fn unsigned(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
