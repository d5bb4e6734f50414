//! Where one message ends: 0x1E records and varint lengths, with the size limit.
//!
//! The limit counts a message with its framing. A message exactly as long passes; whole messages in front of one
//! that is too long are still handed out (docs/builders/signalr-protocol.md#4.9).

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::msgpack::token_reader::TokenReader;
use super::{Protocol, ProtocolError, json};

/// Ends each JSON message, and both handshake messages (docs/builders/signalr-protocol.md#2.1).
pub(crate) const RECORD_SEPARATOR: u8 = 0x1e;

/// The most bytes a length prefix may have: 31 bits, seven a byte (docs/builders/signalr-protocol.md#3.2).
pub(crate) const MAX_PREFIX_BYTES: usize = 5;

/// Takes the first record off `buffer`, without its separator. None: it is not whole yet.
///
/// `scanned` is how many bytes at the front are known to hold no separator; keep it between calls on the same
/// buffer, so that a long record which comes in many pieces is searched once.
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

/// Takes the first length-prefixed body off `buffer`, without its prefix. None: it is not whole yet.
///
/// A length over the limit is refused as soon as it is known; the body is not waited for.
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

/// What is wrong with bytes that should be whole messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessages {
    /// By their framing they are not whole messages, or one does not begin as a message does.
    Framing,
    /// A string in them is not Unicode text.
    Text,
}

/// Whether `bytes` may go to clients of `protocol` as they are: whole messages by their framing, each of which begins
/// as a message does, and every string in them Unicode text. Nothing else inside is checked.
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

/// The length of the prefix and the length it says. None: the prefix is not whole.
fn read_prefix(bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut length = 0usize;
    for (index, byte) in bytes.iter().take(MAX_PREFIX_BYTES).enumerate() {
        if index == MAX_PREFIX_BYTES - 1 && *byte > 7 {
            return Err(ProtocolError {
                exception: "FormatException",
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

/// The prefix of a body, and how many of its bytes count.
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

/// Exactly the reference's text (docs/builders/signalr-protocol.md#4.9).
fn too_large(limit: usize) -> ProtocolError {
    ProtocolError::invalid_data(format!(
        "The maximum message size of {limit}B was exceeded. The message size can be configured in AddHubOptions."
    ))
}

#[cfg(test)]
mod tests;
