//! Who calls: the connection behind a call, its HTTP request, and the way to everybody else.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Uri};

use super::clients::{Clients, Groups};
use super::invocation_slot::ResultPermission;
use crate::auth::Principal;
use crate::close::{CloseReason, CloseSignal};
use crate::delivery::Delivery;
use crate::ids::{ConnectionId, UserId};
use crate::protocol::TransportKind;

/// The connection that a call came from. Cheap to clone; may be kept, and does not keep the connection alive.
#[derive(Clone, Debug)]
pub struct Caller {
    inner: Arc<CallerInner>,
    permission: ResultPermission,
}

#[derive(Debug)]
struct CallerInner {
    id: ConnectionId,
    user: Option<UserId>,
    request: Arc<RequestInfo>,
    close: CloseSignal,
    delivery: Arc<Delivery>,
}

/// The HTTP request a connection began with: the WebSocket's or event stream's, or the first poll's.
#[derive(Clone)]
pub struct RequestInfo {
    /// The transport it asked for.
    pub transport: TransportKind,
    /// Path and query. The query may hold a token (`access_token`): do not log it.
    pub uri: Uri,
    /// All headers. They may hold tokens: do not log them.
    pub headers: HeaderMap,
    /// The peer's address, a load balancer's perhaps.
    pub remote: Option<std::net::SocketAddr>,
    /// Who sent it, as its token says; None for an anonymous one.
    pub principal: Option<Arc<Principal>>,
}

impl RequestInfo {
    /// The first value of a query key; letter case of the key does not count, as in ASP.NET Core.
    pub fn query(&self, key: &str) -> Option<String> {
        let query = self.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.into_owned())
    }

    /// A header's first value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A cookie's value, read leniently: clients send what browsers would not.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all(http::header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

impl fmt::Debug for RequestInfo {
    /// Neither the query nor the values of headers: both may hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestInfo")
            .field("transport", &self.transport)
            .field("path", &self.uri.path())
            .field("headers", &self.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>())
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) fn new(
        id: ConnectionId,
        user: Option<UserId>,
        request: Arc<RequestInfo>,
        close: CloseSignal,
        delivery: Arc<Delivery>,
    ) -> Self {
        Self {
            inner: Arc::new(CallerInner { id, user, request, close, delivery }),
            permission: ResultPermission::Allowed,
        }
    }

    /// The same caller, where asking a client means something else.
    pub(crate) fn with_permission(&self, permission: ResultPermission) -> Self {
        Self { inner: self.inner.clone(), permission }
    }

    /// The public id of the connection.
    pub fn connection_id(&self) -> &ConnectionId {
        &self.inner.id
    }

    /// Whom it belongs to; None for an anonymous one.
    pub fn user_id(&self) -> Option<&UserId> {
        self.inner.user.as_ref()
    }

    /// Who it is, with roles and claims; None for an anonymous one. The token was checked when the connection began.
    pub fn principal(&self) -> Option<&Principal> {
        self.inner.request.principal.as_deref()
    }

    /// Its HTTP request: headers, cookies, query.
    pub fn request(&self) -> &RequestInfo {
        &self.inner.request
    }

    /// The transport it is on.
    pub fn transport(&self) -> TransportKind {
        self.inner.request.transport
    }

    /// Whom messages can be sent to.
    pub fn clients(&self) -> Clients {
        Clients::of_caller(self.inner.delivery.clone(), self.inner.id.clone(), self.permission.clone())
    }

    /// Who is in which group.
    pub fn groups(&self) -> Groups {
        Groups::of(self.inner.delivery.clone())
    }

    /// For a hub that needs more than `Clients` and `Groups` offer.
    pub(super) fn delivery(&self) -> &Arc<Delivery> {
        &self.inner.delivery
    }

    /// Closes the connection; its client is told not to come back by itself (docs/builders/signalr-protocol.md#4.9).
    pub fn abort(&self) {
        self.inner.close.close(CloseReason::Aborted);
    }

    /// Closes it because its client does not take what is sent, or does not acknowledge it.
    pub(crate) fn close_as_slow(&self) {
        self.inner.close.close(CloseReason::SlowClient);
    }

    /// Ends when the connection is closing: for long work that nobody will hear of any more.
    pub async fn closed(&self) {
        self.inner.close.closed().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]
    use http::HeaderValue;

    use super::*;
    use crate::hub::test_kit::{caller, request};

    #[test]
    fn the_first_query_value_counts_whatever_the_keys_case() {
        let request = request("/chat?id=1&User=a%20b&user=c&empty=");
        assert_eq!(request.query("user").as_deref(), Some("a b"));
        assert_eq!(request.query("empty").as_deref(), Some(""));
        assert_eq!(request.query("none"), None);
    }

    #[test]
    fn cookies_are_found_in_every_line() {
        let mut request = request("/chat");
        request.headers.append("cookie", HeaderValue::from_static("a=1; session=x=y"));
        request.headers.append("cookie", HeaderValue::from_static("bare;  last=\"q\""));
        assert_eq!(request.cookie("a"), Some("1"));
        assert_eq!(request.cookie("session"), Some("x=y"));
        assert_eq!(request.cookie("last"), Some("\"q\""));
        assert_eq!(request.cookie("A"), None);
        assert_eq!(request.cookie("bare"), None);
    }

    #[test]
    fn a_request_does_not_print_its_tokens() {
        let mut request = request("/chat?access_token=SECRET");
        request.headers.insert("authorization", HeaderValue::from_static("Bearer SECRET"));
        let shown = format!("{request:?}");
        assert!(shown.contains("/chat") && shown.contains("authorization"), "{shown}");
        assert!(!shown.contains("SECRET"), "{shown}");
    }

    #[tokio::test]
    async fn an_abort_closes_the_connection() {
        let caller = caller("me", None).await;
        caller.abort();
        caller.closed().await;
        assert_eq!(caller.inner.close.reason(), Some(&CloseReason::Aborted));
    }
}
