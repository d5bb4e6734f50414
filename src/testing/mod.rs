//! Floor 8: tests of a host's own hub, without a socket and without HTTP. Clients are connected in memory to the code that
//! serves real ones: handshake, JSON protocol, calls in flight, groups, the end of a connection.
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
//! Whatever is waited for is waited for 5 s at most ([`TestHub::timeout`]); then the error says what it was, and what has
//! come instead. Where a test pauses Tokio's clock, that time passes at once when nothing else is left to do.
//!
//! What is not here: transports, negotiate, pings and time-outs of clients, stateful reconnect, other nodes. A test that
//! needs HTTP serves [`crate::server::Server::into_router`].
//!
//! | file | what is in it |
//! | --- | --- |
//! | this one | [`TestHub`], [`Connect`]: a hub under test, and a client that is about to come |
//! | [`client`] | [`TestClient`]: calls, and what the hub calls |
//! | `received` | what has come to a client, and waiting for it |
//! | [`call`], [`stream`] | [`ReceivedCall`], [`TestStream`] |
//! | [`error`] | [`TestError`] |
//! | `link` | the wire in memory |

pub mod call;
pub mod client;
pub mod error;
mod link;
mod received;
pub mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use tokio_util::task::TaskTracker;

pub use call::ReceivedCall;
pub use client::{Ended, TestClient};
pub use error::TestError;
pub use stream::TestStream;

use crate::auth::{Principal, policy};
use crate::backplane::{InboundReceiver, memory};
use crate::config::Authorize;
use crate::connection::HubHost;
use crate::hub::{Hub, HubContext, HubRoute, RequestInfo};
use crate::ids::{NodeId, UserId};
use crate::metrics::HubMetrics;
use crate::protocol::TransportKind;

/// How long anything is waited for, unless [`TestHub::timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A hub under test, on a node that stands alone. Dropped, it serves the clients that it has to their end.
pub struct TestHub {
    host: HubHost,
    path: String,
    authorize: Option<Arc<Authorize>>,
    timeout: Duration,
    /// Nothing comes from other nodes; the backplane wants a receiver all the same.
    _inbound: InboundReceiver,
}

impl TestHub {
    /// A hub with the default options. Fails where [`crate::server::Builder::build`] would.
    pub fn new(hub: impl Hub) -> Result<Self, TestError> {
        Self::route(HubRoute::new("/hub", hub))
    }

    /// A hub as a server would serve it: with its options, its rule, and the contexts that send to it.
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
        if let Some(why) = options.problem() {
            return Err(TestError::Options(why));
        }
        let (backplane, inbound) = memory::single();
        let user_id = Arc::new(|request: &RequestInfo| request.principal.as_ref()?.user.clone());
        let host = HubHost::new(&route, options, user_id, NodeId::from("test"), backplane, HubMetrics::default());
        for context in &route.contexts {
            if !context.attach(host.delivery.clone()) {
                return Err(TestError::Context);
            }
        }
        Ok(Self { host, path: route.path, authorize: route.authorize, timeout: TIMEOUT, _inbound: inbound })
    }

    /// How long anything is waited for; 5 s unless this says otherwise.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Says who the user of a connection is, as [`crate::server::Builder::user_id`]. Default: whom
    /// [`Connect::user`] or [`Connect::principal`] says.
    #[must_use]
    pub fn user_id(mut self, provider: impl Fn(&RequestInfo) -> Option<UserId> + Send + Sync + 'static) -> Self {
        self.host.user_id = Arc::new(provider);
        self
    }

    /// Sends to the hub's clients from outside of its methods.
    pub fn context(&self) -> HubContext {
        HubContext::of(self.host.delivery.clone())
    }

    /// Connects a client, anonymous unless more is said. Await it.
    pub fn connect(&self) -> Connect<'_> {
        Connect { hub: self, principal: None, query: String::new(), headers: HeaderMap::new() }
    }
}

impl fmt::Debug for TestHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHub").field("path", &self.path).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A client that is about to connect: who it is, and what its HTTP request says. Awaited, it connects and shakes hands.
///
/// As with a real client, the hub's `connected` may still run then; what the client calls comes after it.
#[derive(Debug)]
#[must_use = "a client connects when this is awaited"]
pub struct Connect<'a> {
    hub: &'a TestHub,
    principal: Option<Principal>,
    query: String,
    headers: HeaderMap,
}

impl Connect<'_> {
    /// As this user, without roles and claims.
    pub fn user(mut self, id: impl Into<UserId>) -> Self {
        self.principal = Some(Principal::named(id));
        self
    }

    /// As somebody with roles and claims, as a token would say.
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// With a key in the query of its URL.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        let pair = form_urlencoded::Serializer::new(String::new()).append_pair(key, value).finish();
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(&pair);
        self
    }

    /// With a header.
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
            // A path that is no URI is refused by a server; here it is of no interest.
            let uri = format!("{}{query}", hub.path).parse::<Uri>().unwrap_or_default();
            let transport = TransportKind::WebSockets;
            let principal = principal.map(Arc::new);
            let request = RequestInfo { transport, uri, headers, remote: None, principal };
            // Of its own, so that the end of this client can be waited for.
            let host = HubHost { tasks: TaskTracker::new(), ..hub.host.clone() };
            TestClient::connect(Arc::new(host), request, hub.timeout).await
        })
    }
}

#[cfg(test)]
mod tests;
