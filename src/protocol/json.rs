//! The JSON hub protocol (docs/builders/signalr-protocol.md#3.1).
//!
//! Reading is one pass over the bytes of a record. Arguments, results and items become slices of those bytes; text
//! is copied only where a message holds it as text.

mod escape_table;
pub(crate) mod read;
pub(crate) mod scanner;
pub(crate) mod strings;
mod write;

use bytes::BytesMut;

use super::{HubMessage, ProtocolError, framing};

pub(crate) use write::encode;

/// See [`super::Protocol::decode`].
pub(crate) fn decode(buffer: &mut BytesMut, limit: Option<usize>) -> Result<Option<HubMessage>, ProtocolError> {
    decode_from(buffer, limit, &mut 0)
}

/// The same, knowing how far `buffer` was searched before ([`framing::take_record`]).
pub(super) fn decode_from(
    buffer: &mut BytesMut,
    limit: Option<usize>,
    scanned: &mut usize,
) -> Result<Option<HubMessage>, ProtocolError> {
    while let Some(record) = framing::take_record(buffer, limit, scanned)? {
        if let Some(message) = read::message(&record)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
