//! A server as an axum router, to be put into the application of its host.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;
use tower::Service;

use super::Server;
use super::site::Site;

impl Server {
    /// The server as a router, which goes into any axum application: under a path with `nest`, or at the root with
    /// `merge`; beside other routes, behind middleware, and under whatever listener, TLS included, serves the
    /// application. Paths of hubs are below the path it is nested at.
    ///
    /// ```no_run
    /// # async fn run(server: hubplane::server::Server, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    /// use axum::routing::get;
    ///
    /// let handle = server.handle();
    /// let app = axum::Router::new()
    ///     .route("/", get(async || "my application"))
    ///     // Clients connect to /realtime/chat.
    ///     .nest("/realtime", server.into_router());
    /// axum::serve(listener, app).with_graceful_shutdown(async move {
    ///     let _ = tokio::signal::ctrl_c().await;
    ///     handle.shutdown().await;
    /// }).await
    /// # }
    /// ```
    ///
    /// - The router has a route for each path of a hub, a raw connection and a page (`/healthz`, `/readyz`, `/metrics`
    ///   and the demo page; [`super::Builder`] can turn them off), and a fallback: hub paths are matched without
    ///   regard to case, and the host's [`super::Builder::routes`] are there. An application with a fallback of its own
    ///   gets a panic from axum's `merge`: nest the router, give that application to `Builder::routes`, or merge
    ///   `into_router().reset_fallback()`, which knows hub paths in the case they were given in alone.
    /// - `cors_origins`, the bounds of a request's body (30 MB, `request_timeout`) and [`super::Builder::headers`]
    ///   count for what this router answers. `listen` counts for nothing: time-outs of connections and of the heads of
    ///   requests are those of the host's listener.
    /// - Hubs see the peer's address if the application is served with
    ///   `into_make_service_with_connect_info::<SocketAddr>()`, or if a layer adds `ConnectInfo<SocketAddr>`.
    /// - WebSockets need HTTP/1.1 and a server that allows upgrades: `axum::serve`, or hyper's
    ///   `serve_connection_with_upgrades`. No timeout layer may be put around hubs: polls and event streams are
    ///   answered when they are due.
    /// - The server stops when [`Server::handle`] says so; see [`super::ServerHandle::shutdown`].
    pub fn into_router(self) -> Router {
        let service = SiteService(self.site);
        let mut router = Router::new();
        for path in service.0.paths().iter().filter(|path| is_literal(path)) {
            router = router.route_service(path, service.clone());
        }
        router.fallback_service(service)
    }
}

/// Whether axum takes a path for itself: nothing in it captures, and requests have it as it stands. The fallback has
/// all others.
fn is_literal(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}'));
    plain && !path.split('/').any(|segment| segment.starts_with([':', '*']))
}

/// Answers requests as the server's own listener would.
#[derive(Clone)]
struct SiteService(Arc<Site>);

impl Service<Request> for SiteService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let site = self.0.clone();
        Box::pin(async move { Ok(site.answer(request).await) })
    }
}
