//! The MessagePack hub protocol (docs/builders/signalr-protocol.md#3.2).
//!
//! A body is decoded in one pass. Arguments, results and stream items are slices of its bytes. As in ASP.NET Core, all
//! strings that are not UTF-8 are read with U+FFFD in place of the invalid bytes.

mod read;
mod repair;
pub(crate) mod token_reader;
pub(crate) mod write;

use bytes::BytesMut;

use super::{HubMessage, ProtocolError, framing};

pub(crate) use write::encode;

/// See [`super::Protocol::decode`].
pub(crate) fn decode(buffer: &mut BytesMut, limit: Option<usize>) -> Result<Option<HubMessage>, ProtocolError> {
    while let Some(body) = framing::take_prefixed(buffer, limit)? {
        if let Some(message) = read::message(&body)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
