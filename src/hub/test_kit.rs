//! What this floor's tests share: a caller without a server, values in either protocol.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Uri};

use super::{Caller, RequestInfo};
use crate::close::CloseSignal;
use crate::config::steps::{Part, Placeholder, Template};
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

/// A template in the notation of the configuration: the parameters, and `connection_id`, `user_id`, `hub`.
pub(super) fn template(params: &[&str], text: &str) -> Template {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a closing brace");
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Placeholder(match name {
            "connection_id" => Placeholder::ConnectionId,
            "user_id" => Placeholder::UserId,
            "hub" => Placeholder::Hub,
            name => Placeholder::Param(params.iter().position(|param| *param == name).expect("a known parameter")),
        }));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Template(parts)
}
