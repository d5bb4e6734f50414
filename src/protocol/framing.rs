//! Splits a byte stream into messages, and enforces the size limit: JSON records that end with 0x1E, and MessagePack
//! bodies with a varint length prefix.
//!
//! The size of a message includes its framing. A message of exactly the limit is accepted. Complete messages before one
//! that is too long are still returned (docs/builders/signalr-protocol.md#4.9).

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::msgpack::token_reader::TokenReader;
use super::{Protocol, ProtocolError, json};
use crate::exception::Exception;

/// Ends each JSON message, and both handshake messages (docs/builders/signalr-protocol.md#2.1).
pub(crate) const RECORD_SEPARATOR: u8 = 0x1e;

/// The maximum size of a length prefix: 31 bits, seven bits per byte (docs/builders/signalr-protocol.md#3.2).
pub(crate) const MAX_PREFIX_BYTES: usize = 5;

/// Removes the first record from `buffer` and returns it without its separator. Returns `None` if it is incomplete.
///
/// `scanned` is the number of bytes at the front that are known to contain no separator. Keep it between calls with the
/// same buffer, so that a long record that arrives in many pieces is searched only once.
pub(crate) fn take_record(
    buffer: &mut BytesMut,
    limit: Option<usize>,
    scanned: &mut usize,
) -> Result<Option<Bytes>, ProtocolError> {
    let window = limit.map_or(buffer.len(), |limit| limit.min(buffer.len()));
    let known = (*scanned).min(window);
    if let Some(found) = memchr(RECORD_SEPARATOR, &buffer[known..window]) {
        *scanned = 0;
        let record = buffer.split_to(known + found).freeze();
        buffer.advance(1);
        return Ok(Some(record));
    }
    *scanned = window;
    match limit {
        Some(limit) if buffer.len() > limit => Err(too_large(limit)),
        _ => Ok(None),
    }
}

/// Removes the first length-prefixed body from `buffer` and returns it without its prefix. Returns `None` if it is
/// incomplete.
///
/// A length over the limit is refused as soon as it is known, without waiting for the body.
pub(crate) fn take_prefixed(buffer: &mut BytesMut, limit: Option<usize>) -> Result<Option<Bytes>, ProtocolError> {
    let Some((prefix, length)) = read_prefix(buffer)? else {
        return match limit {
            Some(limit) if buffer.len() > limit => Err(too_large(limit)),
            _ => Ok(None),
        };
    };
    let total = prefix + length;
    if let Some(limit) = limit.filter(|limit| total > *limit) {
        return Err(too_large(limit));
    }
    if buffer.len() < total {
        return Ok(None);
    }
    buffer.advance(prefix);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// What is wrong with bytes that should be complete messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessages {
    /// Their framing is wrong or incomplete, or one of them does not begin like a message.
    Framing,
    /// A string in them is not Unicode text.
    Text,
}

/// Checks whether `bytes` may be sent to clients of `protocol` unchanged: the framing must delimit complete messages,
/// each of them must begin like a message, and every string in them must be Unicode text. Nothing else is checked.
pub fn check_messages(protocol: Protocol, bytes: &[u8]) -> Result<(), BadMessages> {
    match protocol {
        Protocol::Json => {
            if bytes.first() != Some(&b'{') || bytes.last() != Some(&RECORD_SEPARATOR) {
                return Err(BadMessages::Framing);
            }
            json::strings::check(bytes).map_err(|_| BadMessages::Text)
        }
        Protocol::MessagePack => {
            let mut rest = bytes;
            while let Ok(Some((prefix, length))) = read_prefix(rest) {
                let body = rest.get(prefix..prefix + length).ok_or(BadMessages::Framing)?;
                if !matches!(body, [0x90..=0x9f | 0xdc | 0xdd, ..]) {
                    return Err(BadMessages::Framing);
                }
                match TokenReader::new(body).skip_any_depth_text() {
                    Ok(true) => rest = &rest[prefix + length..],
                    Ok(false) => return Err(BadMessages::Text),
                    Err(_) => return Err(BadMessages::Framing),
                }
            }
            if bytes.is_empty() || !rest.is_empty() { Err(BadMessages::Framing) } else { Ok(()) }
        }
    }
}

/// The length of the prefix, and the length that it encodes. `None` if the prefix is incomplete.
fn read_prefix(bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut length = 0usize;
    for (index, byte) in bytes.iter().take(MAX_PREFIX_BYTES).enumerate() {
        if index == MAX_PREFIX_BYTES - 1 && *byte > 7 {
            return Err(ProtocolError {
                exception: Exception::Format.name(),
                detail: "Messages over 2GB in size are not supported.".to_owned(),
            });
        }
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 1, length)));
        }
    }
    Ok(None)
}

/// Encodes the prefix of a body. Returns a buffer, and how many bytes of it are used.
pub(crate) fn write_prefix(mut length: usize) -> ([u8; MAX_PREFIX_BYTES], usize) {
    let mut prefix = [0; MAX_PREFIX_BYTES];
    let mut used = 0;
    loop {
        let more = length > 0x7f && used < MAX_PREFIX_BYTES - 1;
        prefix[used] = (length & 0x7f) as u8 | if more { 0x80 } else { 0 };
        used += 1;
        length >>= 7;
        if !more {
            return (prefix, used);
        }
    }
}

/// The error has exactly ASP.NET Core's text (docs/builders/signalr-protocol.md#4.9).
fn too_large(limit: usize) -> ProtocolError {
    ProtocolError::invalid_data(format!(
        "The maximum message size of {limit}B was exceeded. The message size can be configured in AddHubOptions."
    ))
}

#[cfg(test)]
mod tests;
