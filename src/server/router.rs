//! [`Server::into_router`]: the server as a router for the axum application of its host.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;
use tower::Service;

use super::Server;
use super::request_handler::RequestHandler;

impl Server {
    /// Turns the server into a router for any axum application: under a path with `nest`, or at the root with `merge`,
    /// beside other routes, behind middleware, and with any listener, including TLS. The hubs are below the path at
    /// which the router is nested.
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
    /// - The router has a route for every hub, raw connection and page (`/healthz`, `/readyz`, `/metrics` and the demo
    ///   page; [`super::Builder`] can turn them off), and a fallback. The fallback matches hub paths in any case, and
    ///   serves the host's [`super::Builder::routes`]. axum's `merge` panics if the application has a fallback too.
    ///   Then nest the router, or give the application to `Builder::routes`, or merge `into_router().reset_fallback()`,
    ///   which matches hub paths only in the case in which they were given.
    /// - `cors_origins`, the limits of a request's body (30 MB, `request_timeout`) and [`super::Builder::headers`]
    ///   apply to what this router answers. `listen` has no effect. Timeouts of connections and of the heads of
    ///   requests are those of the host's listener.
    /// - Hubs see the address of the peer if the application is served with
    ///   `into_make_service_with_connect_info::<SocketAddr>()`, or if a layer adds `ConnectInfo<SocketAddr>`.
    /// - WebSockets need HTTP/1.1 and a server that allows upgrades: `axum::serve`, or hyper's
    ///   `serve_connection_with_upgrades`. Hubs must not be behind a timeout layer: polls wait for messages, and event
    ///   streams do not end.
    /// - [`super::ServerHandle::shutdown`] stops the server.
    pub fn into_router(self) -> Router {
        let service = RouterService(self.handler);
        let mut router = Router::new();
        for path in service.0.paths().iter().filter(|path| is_literal(path)) {
            router = router.route_service(path, service.clone());
        }
        router.fallback_service(service)
    }
}

/// Whether axum matches a path literally: it has no captures, and requests contain it as it is. Other paths are left to
/// the fallback.
fn is_literal(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}'));
    plain && !path.split('/').any(|segment| segment.starts_with([':', '*']))
}

/// Answers requests in the same way as the server's own listener.
#[derive(Clone)]
struct RouterService(Arc<RequestHandler>);

impl Service<Request> for RouterService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let handler = self.0.clone();
        Box::pin(async move { Ok(handler.answer(request).await) })
    }
}
