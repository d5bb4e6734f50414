//! The JSON hub protocol (docs/builders/signalr-protocol.md#3.1).
//!
//! A record is decoded in one pass. Arguments, results and stream items are slices of the record's bytes; only the
//! strings that a message holds as `String` are copied.

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

/// Like [`decode`], with the number of bytes of `buffer` that have already been searched ([`framing::take_record`]).
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
