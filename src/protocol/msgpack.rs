//! The MessagePack hub protocol (reference/signalr-protocol.md 3.2).

use bytes::{Bytes, BytesMut};

use super::{HubMessage, ProtocolError, ValueError};

/// See [`super::Protocol::decode`].
pub fn decode(_buffer: &mut BytesMut, _limit: Option<usize>) -> Result<Option<HubMessage>, ProtocolError> {
    Ok(None)
}

/// See [`super::Protocol::encode`].
pub fn encode(_message: &HubMessage) -> Result<Bytes, ValueError> {
    Ok(Bytes::new())
}
