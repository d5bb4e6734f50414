//! A hub inside an axum application, next to its routes, its state and its middleware, on one listener.
//! Run it with `cargo run --example axum_app`, connect a SignalR client to http://127.0.0.1:8080/realtime/news, and
//! send an announcement with `curl -d 'hello' http://127.0.0.1:8080/announce`.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use hubplane::config::Config;
use hubplane::hub::{Caller, HubContext, HubRoute, Methods};
use hubplane::server::Server;
use tokio::net::TcpListener;

/// The state that the application's handlers share.
#[derive(Clone)]
struct App {
    /// Sends to the hub's clients from anywhere.
    news: HubContext,
}

async fn announce(State(app): State<App>, text: String) -> Result<&'static str, StatusCode> {
    let sent = app.news.clients().all().send("Announced", (text,)).await;
    sent.map(|()| "sent\n").map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

async fn log(request: Request, next: Next) -> Response {
    // The query is not logged, because it may contain a client's access token.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::debug!(%method, path, status = %response.status(), "answered");
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = App { news: HubContext::new() };
    let hub = Methods::new().method("Subscribe", |caller: Caller, topic: String| async move {
        caller.groups().add(caller.connection_id(), topic).await?;
        Ok(())
    });
    let route = HubRoute::new("/news", hub).context(&app.news);
    let server = Server::builder(Config::default()).hub(route).build().await?;
    let handle = server.handle();

    let app = Router::new()
        .route("/", get(async || "a page of the application\n"))
        .route("/announce", post(announce))
        .with_state(app)
        // Clients use /realtime/news, load balancers /realtime/readyz.
        .nest("/realtime", server.into_router())
        .layer(middleware::from_fn(log));

    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    // With connect info, hub methods can see the addresses of their clients.
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            // Clients are disconnected first, then axum stops listening.
            handle.shutdown().await;
        })
        .await?;
    Ok(())
}
