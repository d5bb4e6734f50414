//! What this floor's tests share: a caller without a server, values in either protocol.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Uri};

use super::{Caller, RequestInfo};
use crate::close::CloseSignal;
use crate::delivery::Delivery;
use crate::ids::{ConnectionId, UserId};
use crate::protocol::{Protocol, RawValue, TransportKind};

/// A caller whose sends reach nobody.
pub(super) fn caller(id: &str, user: Option<&str>) -> Caller {
    Caller::new(
        ConnectionId::new(id),
        user.map(UserId::from),
        Arc::new(request("/chat")),
        CloseSignal::default(),
        Arc::new(Delivery {}),
    )
}

/// A WebSocket request without headers.
pub(super) fn request(uri: &'static str) -> RequestInfo {
    RequestInfo {
        transport: TransportKind::WebSockets,
        uri: Uri::from_static(uri),
        headers: HeaderMap::new(),
        remote: None,
    }
}

/// A JSON value as a client wrote it.
pub(super) fn json(text: &str) -> RawValue {
    RawValue::from_scanned(Protocol::Json, Bytes::copy_from_slice(text.as_bytes()))
}

/// A MessagePack value as a client wrote it.
pub(super) fn pack(bytes: &[u8]) -> RawValue {
    RawValue::from_scanned(Protocol::MessagePack, Bytes::copy_from_slice(bytes))
}
