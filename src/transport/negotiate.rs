//! Answers `POST PATH/negotiate`: the negotiate version, a connection id, a connection token and the transports that
//! the endpoint offers (docs/builders/signalr-protocol.md#1.2, #1.3).

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, Uri};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::rejection::typed;
use super::{access_control, query};
use crate::ids::{ConnectionId, ConnectionToken};
use crate::protocol::TransportKind;

/// The newest version of the negotiate protocol.
const MAX_NEGOTIATE_VERSION: i32 = 1;

/// Answers the request, and adds the client to the connection table.
pub(super) fn answer(endpoint: &Endpoint, request: &Request) -> Response {
    if let Err(rejection) = endpoint.connection_limit.check() {
        return endpoint.logged(rejection, request).response();
    }
    let uri = request.uri();
    let version = match version(uri, endpoint.options.minimum_protocol_version) {
        Ok(version) => version,
        Err(error) => return json(format!(r#"{{"error":"{error}"}}"#)),
    };
    // Not with version 0, where the connection id is also the connection token: any client that knows the id could take
    // over the connection. ASP.NET Core grants it there too, but no client that uses version 0 asks for it.
    let stateful = version > 0 && endpoint.grants_stateful_reconnect() && query::flag(uri, "useStatefulReconnect");
    let id = ConnectionId::random();
    let token = if version > 0 { ConnectionToken::random() } else { ConnectionToken::from(&id) };
    let body = response_body(stateful, version, &id, &token, &endpoint.options.transports);
    endpoint.table.insert_negotiated(token.clone(), id, stateful, Instant::now());
    endpoint.table.set_owner(&token, access_control::principal(request.extensions()).as_deref());
    json(body)
}

/// The version to use with a client, or the error to answer with.
fn version(uri: &Uri, minimum: i32) -> Result<i32, String> {
    let asked = match query::value(uri, "negotiateVersion") {
        None => 0,
        Some(text) => {
            query::integer(&text).ok_or_else(|| "The client requested a non-integer protocol version.".to_owned())?
        }
    };
    if asked < minimum {
        return Err(format!("The client requested version '{asked}', but the server does not support this version."));
    }
    Ok(asked.min(MAX_NEGOTIATE_VERSION))
}

/// The body of the answer, with the fields in ASP.NET Core's order. None of the values needs escaping.
fn response_body(
    stateful: bool,
    version: i32,
    id: &ConnectionId,
    token: &ConnectionToken,
    transports: &[TransportKind],
) -> String {
    // Left out unless it is granted, because clients that did not ask for it reject the field.
    let granted = if stateful { r#""useStatefulReconnect":true,"# } else { "" };
    let mut body = format!(r#"{{{granted}"negotiateVersion":{version},"connectionId":"{id}""#);
    if version > 0 {
        let _ = write!(body, r#","connectionToken":"{}""#, token.as_str());
    }
    body.push_str(r#","availableTransports":["#);
    let offered = TransportKind::ALL.into_iter().filter(|kind| transports.contains(kind));
    for (index, kind) in offered.enumerate() {
        let formats = if kind.carries_binary() { r#""Text","Binary""# } else { r#""Text""# };
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(body, r#"{comma}{{"transport":"{}","transferFormats":[{formats}]}}"#, kind.name());
    }
    body.push_str("]}");
    body
}

fn json(body: String) -> Response {
    typed(StatusCode::OK, "application/json", Body::from(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_response_body_matches_the_reference() {
        let (id, token) = (ConnectionId::from("I"), ConnectionToken::from("T"));
        assert_eq!(
            response_body(false, 1, &id, &token, &TransportKind::ALL),
            concat!(
                r#"{"negotiateVersion":1,"connectionId":"I","connectionToken":"T","availableTransports":["#,
                r#"{"transport":"WebSockets","transferFormats":["Text","Binary"]},"#,
                r#"{"transport":"ServerSentEvents","transferFormats":["Text"]},"#,
                r#"{"transport":"LongPolling","transferFormats":["Text","Binary"]}]}"#
            )
        );
        assert_eq!(
            response_body(false, 0, &id, &token, &[TransportKind::LongPolling, TransportKind::ServerSentEvents]),
            concat!(
                r#"{"negotiateVersion":0,"connectionId":"I","availableTransports":["#,
                r#"{"transport":"ServerSentEvents","transferFormats":["Text"]},"#,
                r#"{"transport":"LongPolling","transferFormats":["Text","Binary"]}]}"#
            )
        );
    }

    #[test]
    fn versions_are_checked_and_clamped() {
        let asked = |query: &str, minimum| version(&format!("/chat/negotiate{query}").parse().unwrap(), minimum);
        assert_eq!(asked("", 0), Ok(0));
        assert_eq!(asked("?negotiateVersion=2147483647", 0), Ok(1));
        let unsupported =
            |n| Err(format!("The client requested version '{n}', but the server does not support this version."));
        assert_eq!(asked("?negotiateVersion=-1", 0), unsupported(-1));
        assert_eq!(asked("", 1), unsupported(0));
        assert_eq!(
            asked("?negotiateVersion=", 0),
            Err("The client requested a non-integer protocol version.".to_owned())
        );
    }
}
