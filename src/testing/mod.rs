//! Layer 8: tools for testing a hub without sockets and HTTP. In-memory clients connect to the same code that serves
//! real ones: the handshake, the JSON protocol, invocations, groups, and the end of a connection.
//!
//! ```
//! use hubplane::hub::{Caller, Methods};
//! use hubplane::testing::{TestError, TestHub};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), TestError> {
//! let chat = Methods::new()
//!     .method("Add", |_: Caller, a: i64, b: i64| async move { Ok(a + b) })
//!     .method("Say", |caller: Caller, text: String| async move {
//!         let user = caller.user_id().map(|user| user.to_string());
//!         caller.clients().others().send("Said", (user, text)).await?;
//!         Ok(())
//!     });
//! let hub = TestHub::new(chat)?;
//! let ann = hub.connect().user("ann").await?;
//! let bob = hub.connect().user("bob").await?;
//!
//! assert_eq!(ann.invoke::<i64>("Add", (1, 2)).await?, 3);
//! ann.send("Say", ("hello",)).await?;
//! let call = bob.next_call().await?;
//! assert_eq!(call.target, "Said");
//! assert_eq!(call.arguments, ["ann", "hello"]);
//! bob.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every wait has a timeout of 5 s ([`TestHub::timeout`]); its error says what was waited for and what was received
//! instead. In a test that pauses Tokio's clock, the timeout expires at once when nothing else is left to do.
//!
//! Transports, negotiate, pings, client timeouts, stateful reconnect and other nodes are not simulated. A test that
//! needs HTTP can serve [`crate::server::Server::into_router`].
//!
//! | file | contents |
//! | --- | --- |
//! | this file | [`TestHub`], [`Connect`]: a hub under test, and a client that is about to connect |
//! | `test_client` | [`TestClient`]: invocations in both directions |
//! | `inbox` | storing what a client has received, and waiting for it |
//! | `received_call`, `test_stream` | [`ReceivedCall`], [`TestStream`] |
//! | `test_error` | [`TestError`] |
//! | `duplex` | the in-memory transport |

mod duplex;
mod inbox;
mod received_call;
mod test_client;
mod test_error;
mod test_stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use tokio_util::task::TaskTracker;

pub use received_call::ReceivedCall;
pub use test_client::{Ended, TestClient};
pub use test_error::TestError;
pub use test_stream::TestStream;

use crate::auth::{Principal, policy};
use crate::backplane::{InboundReceiver, memory};
use crate::config::Authorize;
use crate::connection::HubHost;
use crate::hub::{Hub, HubContext, HubRoute, RequestInfo};
use crate::ids::{NodeId, UserId};
use crate::metrics::HubMetrics;
use crate::protocol::TransportKind;

/// The timeout of every wait, unless [`TestHub::timeout`] sets another.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A hub under test, on a node of its own. Connected clients stay connected when it is dropped.
pub struct TestHub {
    host: HubHost,
    path: String,
    authorize: Option<Arc<Authorize>>,
    timeout: Duration,
    /// There are no other nodes to receive from, but the backplane fails if its receiver is dropped.
    _inbound: InboundReceiver,
}

impl TestHub {
    /// Creates a hub with the default options.
    ///
    /// # Errors
    ///
    /// Fails if the hub has mistakes that [`crate::server::Builder::build`] would report.
    pub fn new(hub: impl Hub) -> Result<Self, TestError> {
        Self::route(HubRoute::new("/hub", hub))
    }

    /// Creates a hub with the options, the rule and the contexts of a route, as a server would serve it.
    ///
    /// ```
    /// use hubplane::config::Authorize;
    /// use hubplane::hub::{HubContext, HubRoute, Methods};
    /// use hubplane::testing::{TestError, TestHub};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), TestError> {
    /// let context = HubContext::new();
    /// let route = HubRoute::new("/news", Methods::new()).authorize(Authorize::user()).context(&context);
    /// let hub = TestHub::route(route)?;
    /// assert!(matches!(hub.connect().await, Err(TestError::Refused(401))));
    ///
    /// let ann = hub.connect().user("ann").await?;
    /// context.clients().user("ann").send("Notice", ("up",)).await.unwrap();
    /// assert_eq!(ann.next_call().await?.arguments, ["up"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn route(route: HubRoute) -> Result<Self, TestError> {
        route.validate()?;
        let options = route.options.clone().unwrap_or_default();
        options.validate()?;
        let (backplane, inbound) = memory::standalone();
        let user_id = Arc::new(|request: &RequestInfo| request.principal.as_ref()?.user.clone());
        let host = HubHost::new(&route, options, user_id, NodeId::from("test"), backplane, HubMetrics::default());
        for context in &route.contexts {
            if !context.attach(host.delivery.clone()) {
                return Err(TestError::Context);
            }
        }
        Ok(Self { host, path: route.path, authorize: route.authorize, timeout: TIMEOUT, _inbound: inbound })
    }

    /// Sets the timeout of every wait. Default: 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how the user of a connection is determined, like [`crate::server::Builder::user_id`]. Default: the user of
    /// [`Connect::user`] or [`Connect::principal`].
    #[must_use]
    pub fn user_id(mut self, provider: impl Fn(&RequestInfo) -> Option<UserId> + Send + Sync + 'static) -> Self {
        self.host.user_id = Arc::new(provider);
        self
    }

    /// A context for sending to the hub's clients from outside its methods.
    pub fn context(&self) -> HubContext {
        HubContext::of(self.host.delivery.clone())
    }

    /// Creates a client, which connects when the result is awaited. It is anonymous unless [`Connect::user`] or
    /// [`Connect::principal`] is called.
    pub fn connect(&self) -> Connect<'_> {
        Connect { hub: self, principal: None, query: String::new(), headers: HeaderMap::new() }
    }
}

impl fmt::Debug for TestHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHub").field("path", &self.path).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A client that is about to connect, with its user and its HTTP request. Awaiting it connects the client and performs
/// the handshake.
///
/// As with a real client, the hub's `connected` handler may still be running afterwards; the client's invocations wait
/// for it.
#[derive(Debug)]
#[must_use = "a client connects when this is awaited"]
pub struct Connect<'a> {
    hub: &'a TestHub,
    principal: Option<Principal>,
    query: String,
    headers: HeaderMap,
}

impl Connect<'_> {
    /// Connects as this user, without roles or claims.
    pub fn user(mut self, id: impl Into<UserId>) -> Self {
        self.principal = Some(Principal::named(id));
        self
    }

    /// Connects as this principal, with the roles and claims that an access token would have.
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Adds a parameter to the query of the client's URL.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        let pair = form_urlencoded::Serializer::new(String::new()).append_pair(key, value).finish();
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(&pair);
        self
    }

    /// Adds a header to the client's request.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

impl<'a> IntoFuture for Connect<'a> {
    type Output = Result<TestClient, TestError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { hub, principal, query, headers } = self;
            if let Some(rule) = &hub.authorize
                && !policy::permits(rule, principal.as_ref())
            {
                return Err(TestError::Refused(if principal.is_some() { 403 } else { 401 }));
            }
            // A server would refuse a path that is not a valid URI; here the path has no effect.
            let uri = format!("{}{query}", hub.path).parse::<Uri>().unwrap_or_default();
            let transport = TransportKind::WebSockets;
            let principal = principal.map(Arc::new);
            let request = RequestInfo { transport, uri, headers, remote: None, principal };
            // Each client has its own task tracker, so that a test can wait for the end of this client alone.
            let host = HubHost { tasks: TaskTracker::new(), ..hub.host.clone() };
            TestClient::connect(Arc::new(host), request, hub.timeout).await
        })
    }
}

#[cfg(test)]
mod tests;
