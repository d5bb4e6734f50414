//! One path that clients connect to, with its application, options and connections. It decides which transport a
//! request belongs to (docs/builders/signalr-protocol.md#1.1).

use std::fmt;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::Method;
use http::header::ACCEPT;
use tokio_util::task::TaskTracker;

use super::access_control::{self, AccessControl, AccessDenied};
use super::connection_limit::ConnectionLimit;
use super::connection_table::ConnectionTable;
use super::raw_connection::RawConnection;
use super::rejection::Rejection;
use super::{long_polling, negotiate, post, query, sse, websocket};
use crate::close::CloseSignal;
use crate::config::HubOptions;
use crate::connection::HubHost;
use crate::logging::LogRateLimiter;
use crate::outbox::Outbox;
use crate::outgoing::{Encoding, Framing};
use crate::protocol::{Protocol, TransportKind};

/// The application that serves the clients of a path.
#[derive(Clone)]
pub(crate) enum App {
    /// A hub, with the hub protocol.
    Hub(Arc<HubHost>),
    /// Bytes without a hub protocol.
    Raw(Arc<dyn RawConnection>),
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(host) => f.debug_tuple("App::Hub").field(&host.name).finish(),
            Self::Raw(_) => f.write_str("App::Raw"),
        }
    }
}

/// A path with everything that is needed to serve it.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The name of the hub, or the path of a raw connection; used in logs.
    pub(super) name: String,
    pub(super) app: App,
    pub(super) options: HubOptions,
    pub(super) access_control: AccessControl,
    /// Limits the log lines about this endpoint; for a hub, it is shared with the rest of the hub.
    pub(super) log: Arc<LogRateLimiter>,
    pub(super) table: ConnectionTable,
    /// Shared by all endpoints.
    pub(super) connection_limit: Arc<ConnectionLimit>,
    /// Owns the tasks of all connections; shared by all endpoints.
    pub(super) tasks: TaskTracker,
}

impl Endpoint {
    /// Whether the endpoint offers a transport.
    pub(super) fn offers(&self, kind: TransportKind) -> bool {
        self.options.transports.contains(&kind)
    }

    /// Whether clients that ask for stateful reconnect get it. Raw connections never do, because stateful reconnect
    /// counts hub messages.
    pub(super) fn grants_stateful_reconnect(&self) -> bool {
        self.options.allow_stateful_reconnects && matches!(self.app, App::Hub(_))
    }

    /// Creates an empty outbox with the endpoint's limits, for the connection that `close` belongs to.
    pub(super) fn outbox(&self, framing: Framing, close: &CloseSignal) -> Arc<Outbox> {
        match &self.app {
            App::Hub(host) => host.outbox(framing, close),
            App::Raw(_) => {
                let encoding = Encoding { protocol: Protocol::Json, framing };
                let HubOptions { outgoing_buffer_size, outgoing_buffer_messages, .. } = self.options;
                Arc::new(Outbox::new(encoding, outgoing_buffer_size, outgoing_buffer_messages, close.clone()))
            }
        }
    }

    /// Answers a request to the path itself.
    pub(super) async fn transport(self: &Arc<Self>, mut request: Request) -> Response {
        // Before authentication, because a page of another origin makes the browser send its visitor's cookies.
        let opens_socket = *request.method() == Method::GET && websocket::is_upgrade_request(&request);
        if opens_socket && !self.access_control.origins.admit(request.headers()) {
            self.log_denied(&request, &AccessDenied::Origin);
            post::discard(self, request).await;
            return AccessDenied::Origin.response();
        }
        if let Err(answer) = self.authorize(&mut request).await {
            post::discard(self, request).await;
            return answer;
        }
        match *request.method() {
            Method::GET if accepts_events(&request) => sse::connect(self, request),
            Method::GET if websocket::is_upgrade_request(&request) => websocket::connect(self, request),
            Method::GET => long_polling::poll(self, request).await,
            Method::POST => post::post(self, request).await,
            Method::DELETE => post::delete(self, request).await,
            _ => post::reject(self, request, Rejection::MethodNotAllowed).await,
        }
    }

    /// Authenticates a request and checks that the connection it names belongs to its user. A request with another
    /// user's access token is answered with 403; the connection is not affected.
    async fn authorize(&self, request: &mut Request) -> Result<(), Response> {
        self.admitted(request).await.map_err(|denied| {
            self.log_denied(request, &denied);
            denied.response()
        })
    }

    async fn admitted(&self, request: &mut Request) -> Result<(), AccessDenied> {
        self.access_control.authorize(request).await?;
        if self.access_control.authenticator.is_some()
            && let Some(token) = query::value(request.uri(), "id")
        {
            let principal = access_control::principal(request.extensions());
            // The connection takes over the expiry of a poll's access token, but not that of a POST's.
            let is_transport_request = request.method() == Method::GET;
            if !self.table.is_allowed(&token, principal.as_deref(), is_transport_request) {
                return Err(AccessDenied::OtherUser);
            }
        }
        Ok(())
    }

    /// Answers a request to `PATH/negotiate`.
    pub(super) async fn negotiate(self: &Arc<Self>, mut request: Request) -> Response {
        if let Err(denied) = self.access_control.authorize(&mut request).await {
            self.log_denied(&request, &denied);
            post::discard(self, request).await;
            return denied.response();
        }
        if request.method() != Method::POST {
            return post::reject(self, request, Rejection::MethodNotAllowed).await;
        }
        let answer = negotiate::answer(self, &request);
        post::discard(self, request).await;
        answer
    }
}

/// Whether `Accept` lists event streams: case-insensitive, but an item with parameters does not match
/// (tests/probes/FINDINGS.md#2, HTTP).
fn accepts_events(request: &Request) -> bool {
    let values = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case("text/event-stream"))
}
