//! [`Caller`]: the connection that invokes a hub method, its HTTP request, and access to the hub's clients and groups.

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

/// The connection that invokes a hub method, or that has connected or disconnected.
///
/// It is the first thing that most hub methods take. It identifies the client and its user, and gives access to the
/// hub's [`Clients`] and [`Groups`]. It is cheap to clone. It may be kept after the call and does not keep the
/// connection open.
///
/// ```
/// use hubplane::hub::{Caller, Methods};
///
/// let hub = Methods::new().method("Say", |caller: Caller, text: String| async move {
///     let name = caller.user_id().map_or("anonymous", |user| user.as_str());
///     caller.clients().others().send("Said", (name, text)).await?;
///     Ok(())
/// });
/// # drop(hub);
/// ```
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

/// The HTTP request that started a connection: that of its WebSocket or event stream, or its first poll.
#[derive(Clone)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The transport that the request is for.
    pub transport: TransportKind,
    /// Path and query. Do not log the query: it may contain an access token (`access_token=`).
    pub uri: Uri,
    /// All headers. Do not log them: they may contain tokens.
    pub headers: HeaderMap,
    /// The address of the peer, which may be a proxy.
    pub remote: Option<std::net::SocketAddr>,
    /// The authenticated user; `None` if the request is anonymous.
    pub principal: Option<Arc<Principal>>,
}

impl RequestInfo {
    /// The first value of a key in the query, decoded. The key is case-insensitive, as in ASP.NET Core.
    pub fn query(&self, key: &str) -> Option<String> {
        let query = self.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.into_owned())
    }

    /// The first value of a header; `None` if there is none or if it is not visible ASCII text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a cookie. The name is case-sensitive. Cookies are parsed leniently, because clients that are not
    /// browsers may send invalid ones.
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
    /// Leaves out the query and the values of headers, since both may contain tokens.
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

    /// The same connection with another permission to await client results.
    pub(crate) fn with_permission(&self, permission: ResultPermission) -> Self {
        Self { inner: self.inner.clone(), permission }
    }

    /// The public id of the connection.
    pub fn connection_id(&self) -> &ConnectionId {
        &self.inner.id
    }

    /// The id of the connection's user; `None` if there is none, as for an anonymous connection.
    ///
    /// By default it comes from the access token; [`crate::server::Builder::user_id`] changes that.
    pub fn user_id(&self) -> Option<&UserId> {
        self.inner.user.as_ref()
    }

    /// The authenticated user with roles and claims; `None` for an anonymous connection. The token was verified when
    /// the connection was opened.
    pub fn principal(&self) -> Option<&Principal> {
        self.inner.request.principal.as_deref()
    }

    /// The HTTP request that started the connection, with its headers, cookies and query.
    pub fn request(&self) -> &RequestInfo {
        &self.inner.request
    }

    /// The transport of the connection.
    pub fn transport(&self) -> TransportKind {
        self.inner.request.transport
    }

    /// The hub's clients, to send messages to.
    pub fn clients(&self) -> Clients {
        Clients::of_caller(self.inner.delivery.clone(), self.inner.id.clone(), self.permission.clone())
    }

    /// The hub's groups, to add connections to them and remove them.
    pub fn groups(&self) -> Groups {
        Groups::of(self.inner.delivery.clone())
    }

    /// For declared hubs, which need more than `Clients` and `Groups` offer.
    pub(super) fn delivery(&self) -> &Arc<Delivery> {
        &self.inner.delivery
    }

    /// Closes the connection. The close message tells the client not to reconnect automatically
    /// (docs/builders/signalr-protocol.md#4.9).
    pub fn abort(&self) {
        self.inner.close.close(CloseReason::Aborted);
    }

    /// Closes the connection because its client does not read or acknowledge messages fast enough.
    pub(crate) fn close_as_slow(&self) {
        self.inner.close.close(CloseReason::SlowClient);
    }

    /// Completes when the connection is closing. A long-running method can use it to stop work whose result nobody will
    /// receive.
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
    fn query_keys_are_case_insensitive_and_the_first_value_wins() {
        let request = request("/chat?id=1&User=a%20b&user=c&empty=");
        assert_eq!(request.query("user").as_deref(), Some("a b"));
        assert_eq!(request.query("empty").as_deref(), Some(""));
        assert_eq!(request.query("none"), None);
    }

    #[test]
    fn cookies_are_found_in_every_cookie_header() {
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
    fn debug_output_of_a_request_hides_tokens() {
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
